/* SPDX-License-Identifier: ISC
 *
 * The kind of a stranger's descriptor, in words. No call here waits for the descriptor. */
#ifndef KIND_H
#define KIND_H

#include <stdbool.h>
#include <stddef.h>

/* What FD is: a constant string such as tcp-listener, unix-connection, memfd, file, pipe. *CONNECTED: is it a stream
 * socket that has a peer? */
const char *kind_of(int fd, bool *connected);

/* Write the address that the socket FD has itself into TEXT, printable. TRUSTED: did our own uid or root pass it? A
 * stranger's Internet socket may be locked, and is not asked. Returns 0, or -1 if there is none to tell. */
int kind_address(int fd, bool trusted, char *text, size_t size);

/* Write all of it into TEXT: the kind, and an address; or a name and, for what has one, the size in bytes. */
void kind_describe(int fd, bool trusted, char *text, size_t size);

#endif
