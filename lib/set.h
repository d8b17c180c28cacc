/* SPDX-License-Identifier: ISC
 *
 * Sets of descriptors. */
#ifndef SET_H
#define SET_H

#include <stddef.h>

/* A growing set of descriptors that its holder owns. All zero is the empty set. */
struct fds {
	int *fd;
	size_t count, room;
};

/* Append FD. On -1 (ENOMEM) FD is still the caller's. */
int fds_add(struct fds *set, int fd);

/* Append the first COUNT of FROM, which loses them. On -1 (ENOMEM) those that did not fit are closed. */
int fds_move(struct fds *to, struct fds *from, size_t count);

/* Close all but the first KEEP descriptors. */
void fds_trim(struct fds *set, size_t keep);

/* Close all and free the memory; the set is empty afterwards. */
void fds_free(struct fds *set);

#endif
