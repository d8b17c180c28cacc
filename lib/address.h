/* SPDX-License-Identifier: ISC
 *
 * ADDRESS. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A listening socket for connections from the network, or on a Unix socket; or a bound UDP one. */
struct addrinfo;

struct listener {
	const char *arg;        /* as the user wrote it */
	struct endpoint at;     /* .fd is the socket in every case; the rest for unix: and fd: */
	bool local;             /* a Unix socket: its peers can be checked */
	bool wildcard;          /* every address of the machine */
	struct addrinfo *found; /* what HOST:PORT resolved to */
};

/* Parse, and resolve names: nothing is bound yet. */
const char *listener_parse(struct listener *l, const char *arg);

/* Bind and listen. On failure returns the reason (a constant string: from getaddrinfo or errno). */
const char *listener_open(struct listener *l, mode_t mode, int backlog);

/* The address really bound, as -A writes it: HOST:PORT, [::1]:PORT, *:PORT, unix:PATH. errno EAFNOSUPPORT: it is of
 * another family; ENAMETOOLONG: LEN bytes do not hold it. */
int listener_name(const struct listener *l, char *buf, size_t len);

/* Make a listening socket that we opened, and which others will have, blocking: as systemd's are. */
int listener_blocking(const struct listener *l);

/* Connections in the queue of a socket that is only ours, at most; 0 for an inherited one.
 * Kernel: a listening socket's tcpi_unacked is its queue's length (tcp_get_info, net/ipv4/tcp.c). */
size_t listener_queue(const struct listener *l);

void listener_close(struct listener *l);

#endif
