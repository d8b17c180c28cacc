/* SPDX-License-Identifier: ISC
 *
 * Closing what may block. */
#ifndef CLOSER_H
#define CLOSER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct set;

/* All zero: nothing to close, nothing started. A process that was forked has one of its own from then on. */
struct closer {
	struct closing *shared;
	pid_t supervisor;
};

/* Close FD, which is the closer's from here on, without ever waiting for it. FROM is the uid that had a hand in it,
 * NOBODY where that is unknown. A TCP socket without SO_LINGER, from our own uid or root, is closed at once, all else
 * by a helper process. Where there can be no helper, it is closed at once; where too many wait, it stays open. errno stays. */
void closer_close(struct closer *c, int fd, uid_t from);

/* The same as closer_close for all of SET but the first KEEP. */
void closer_trim(struct closer *c, struct set *set, size_t keep, uid_t from);

/* Close SOCK, a connected Unix socket that we accepted: at once if its queue is empty. */
void closer_hang_up(struct closer *c, int sock, uid_t from);

/* Wait, MS milliseconds at most, until no number that the closer has is in our table. */
void closer_settle(struct closer *c, int ms);

/* Before exec: the same, and leave to the helpers that are stuck a table of their own, so that they keep nothing open that
 * is COMMAND's, and are none of its children. */
void closer_wait(struct closer *c, int ms);

/* The tool ends, and has closed what is its own and unlinked its files. If helpers were used, or it HELD strangers'
 * descriptors, these helpers close every number of the table, so that peers see end of file and standard streams end
 * though one is stuck for ever. Returns after half a second at most; then exit at once: no descriptor is open. */
void closer_end(struct closer *c, bool held);

/* The highest number in our table; where that cannot be read, the highest that can be. */
int highest_open(void);

#endif
