/* SPDX-License-Identifier: ISC
 *
 * Bytes at the kernel's speed. */
#ifndef COPY_H
#define COPY_H

/* Copying returns 0 at end of file, or -1 with errno and in *SIDE the descriptor that failed. It widens the
 * pipes among its ends, waits where one is non-blocking, and leaves flags as they are. The caller ignores
 * SIGPIPE and keeps all descriptors. errno EDEADLK: IN and OUT are the same file, and it would never end. */

/* Can IN be read and OUT be written? If not, -1 with errno EBADF and *SIDE. */
int copy_possible(int in, int out, int *side);

/* Between BOTH, a connected socket or a pseudo-terminal's master, and the pair IN, OUT, until both
 * directions have ended or BOTH has hung up. End of file on IN is passed on by shutdown(2). */
int copy_both(int both, int in, int out, int *side);

/* As FD's kind says: a socket and a pseudo-terminal's master both ways, a terminal and a write-only
 * descriptor from IN, everything else to OUT. errno EISDIR, EINVAL (a listening socket), EBADF (O_PATH). */
int copy_by_kind(int fd, int in, int out, int *side);

#endif
