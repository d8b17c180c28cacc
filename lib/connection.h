/* SPDX-License-Identifier: ISC
 *
 * The connections of an inbox: which of them has something for us, and what each uid has of ours. */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "door.h"
#include "queue.h"
#include "table.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct closer;

/* All zero but .closer, and -1 for .epoll: none. */
struct connections {
	struct closer *closer;
	struct table table;             /* by id */
	struct share *shares;           /* of their uids */
	struct queue ahead;             /* those of which more is read than the caller has got */
	struct queue parked;            /* those that have something for us, and were not to be read when it came */
	int epoll;                      /* epoll(7); -1 until it is needed */
	struct connection *only;        /* the only one, while it is polled itself */
};

struct connection {
	struct wire wire;
	uint64_t id;
	bool ours;              /* accepted here, to be closed here */
	bool delivered;         /* the caller has got something of it */
	bool channel;           /* a dispatcher's, */
	bool late;              /* which can wait a little for done */
	bool parked;            /* only its end is waited for */
	int64_t until;          /* when the rest of a set must have come, 0 for none */
	size_t promised, most;  /* to a dispatcher: sets at once; what it may be promised */
	struct share *share;    /* its uid's, and its part of that: */
	size_t fds, bytes;
	struct link link;       /* in .ahead, .parked or neither */
};

/* Add SOCK, OURS to be closed or borrowed, of PEER. On failure (ENOMEM, EMFILE) NULL, and SOCK is the caller's. */
struct connection *connection_add(struct connections *all, int sock, bool ours, struct peer peer);

/* Wait for C to have something for us or, PARKED, only for its end, once. Each time it is called the same news comes again. errno
 * as epoll_create1(2): then C is not waited for. */
int connection_watch(struct connections *all, struct connection *c, bool parked);

/* Charge to C's uid what has come on C and belongs to no whole set. */
void connection_charge(struct connection *c);

/* Forget C. If its end of file was READ, nothing more can be in its queue. */
void connection_drop(struct connections *all, struct connection *c, bool read);

/* The descriptor to poll for POLLIN, or -1; and then a connection that has something for us, or NULL: each in turn, so
 * that a busy one delays no other for long. */
int connections_fd(const struct connections *all);
struct connection *connections_ready(const struct connections *all);

/* Drop all. */
void connections_close(struct connections *all);

#endif
