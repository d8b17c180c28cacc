/* SPDX-License-Identifier: ISC
 *
 * A lease: a TCP port kept for a server that binds it itself. */
#ifndef LEASE_H
#define LEASE_H

#include <stdbool.h>

struct listener;

/* Bind a socket to L, which is parsed as HOST:PORT, and do not listen: L's socket then keeps the port from all but those
 * that set SO_REUSEADDR before they bind to this port by its number. Returns NULL or the reason. */
const char *lease_open(struct listener *l);

/* A descriptor, the caller's, that lease_served asks by. -1 if the kernel does not answer such questions (sock_diag(7));
 * lease_served then works without it. */
int lease_watch(void);

/* Does a process listen where clients of L connect, whatever address it has bound? WATCH is lease_watch's. */
bool lease_served(const struct listener *l, int watch);

#endif
