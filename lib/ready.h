/* SPDX-License-Identifier: ISC
 *
 * Telling others that we are ready. */
#ifndef READY_H
#define READY_H

/* s6's convention: write a newline to FD and close it; a standard stream becomes /dev/null. FD -1: do nothing.
 * Returns 0; errno as write(2), open(2). */
int ready_fd(int fd);

/* sd_notify(3): send STATE to NOTIFY_SOCKET, if that is set, without waiting. Returns 0; errno ENAMETOOLONG, or as
 * socket(2) and sendto(2). */
int ready_notify(const char *state);

#endif
