/* SPDX-License-Identifier: ISC
 *
 * Carrying bytes and descriptors between two connections, both ways, until both directions have ended. */
#ifndef FDRELAY_CARRY_H
#define FDRELAY_CARRY_H

#include "closer.h"
#include "set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cli;

/* One of the two connections. */
struct side {
	int fd;                 /* borrowed */
	const char *name;       /* for messages */
	bool local;             /* a Unix socket: descriptors can come and go */
	uid_t uid;              /* the peer's; NOBODY if unknown */
};

/* One of the two directions. It holds one message at most: a packet, or bytes of a stream such that descriptors came with
 * the first of them. */
struct way {
	struct side *from, *to;
	char arrow;             /* in messages: > or < */
	enum { READING, WRITING, OVER } state;
	bool last;              /* its source is gone: it ends when nothing is left to read */
	bool widened;           /* the queue of TO was made larger for the message that is held */
	char *data;
	size_t room, len, sent;
	struct set set;         /* still to be sent */
	int64_t again;          /* do not send before; or NEVER */
	int pause;
};

struct relay {
	const struct cli *cli;
	const char *object;     /* for reports: SOCKET */
	struct side side[2];
	struct way way[2];
	int type;               /* of both sockets: SOCK_... */
	bool passed;            /* descriptors have come, or may be left in a queue */
	size_t closing;         /* descriptors that the closer got since it had closed all */
	struct closer closer;
};

/* Carry until both directions have ended, until DEADLINE, or until SIGFD reads a signal. The sides, .cli, .object and .type
 * are set, all else is zero. Returns the exit status, already reported: 0, TIMED_OUT, FAILED, or 128 + the signal. */
int carry(struct relay *r, int sigfd, int64_t deadline);

#endif
