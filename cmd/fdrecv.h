/* SPDX-License-Identifier: ISC
 *
 * What fdrecv alone needs. */
#ifndef FDRECV_H
#define FDRECV_H

#include "options.h"
#include "wire.h"

#include <stdint.h>

/* Connect to AT, connect:ADDRESS, and send MESSAGE, if it has any. Returns the connection, no more AT's, as the only descriptor of a
 * delivery, and the peer of a unix: address; exits if that fails. */
struct delivery connected(const struct cli *c, struct endpoint *at, const struct text *message, int64_t deadline);

/* Copy from and to D's descriptors, one after the other, and close them; RAW: --raw. Returns the exit status; exits if that
 * fails. */
int copy_received(struct delivery *d, bool raw, const char *object);

/* The builtin fdread of bash runs fdrecv with --fdread=N before all other arguments. N is a socket, which this removes from
 * ARGV and returns, close-on-exec; without it returns -1. If the shell ends, this process gets TERM. */
int shell_of(int *argc, char ***argv);

/* Send D's descriptors, which stay the caller's, to the shell at SOCK: with FDKIT_MESSAGE and FDKIT_PEER_*, NAME=VALUE and a
 * NUL each, those of the first message; a byte with those of each further message. Returns the exit status. */
int shell_give(int sock, const struct delivery *d, const char *object);

extern const char *const fdread_about;

#endif
