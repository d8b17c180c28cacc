/* SPDX-License-Identifier: ISC
 *
 * The dispatcher's workers and tickets, and the choice of a worker for a ticket. */
#ifndef FDSERVE_CHOICE_H
#define FDSERVE_CHOICE_H

#include "fdserve_dispatch.h"
#include "queue.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SLOTS_MOST = 1 << 20 };

struct worker {
	struct wire wire;
	struct share *share;    /* its uid's */
	enum {
		WORKS,
		BROKEN,         /* nothing can be sent to it, but it may still say something */
		GONE,
		OVER,           /* gone, and nothing of it is unread */
	} state;
	/* PROVED: it has said how much it takes, or got something; TAKES: it has acknowledged something. */
	enum { STRANGE, PROVED, TAKES } trust;
	bool full;              /* its socket is: wait for POLLOUT */
	bool silenced;          /* it can say no more, but what it has not acknowledged may still be in its queue */
	bool reported;          /* that it does not answer */
	int64_t crowded;        /* until then too many descriptors are in flight; no event tells */
	int64_t greeted;
	size_t slots;           /* sets that it takes more; plain form: always 1 */
	size_t runs;            /* sets that it has taken, and not said to be done */
	struct queue unanswered; /* tickets that it has not acknowledged, in the order in which they were sent */
	struct queue running;   /* tickets that it has, and that are kept */
};

/* A connection. */
struct ticket {
	struct link link;       /* in .waiting, or its worker's .unanswered or .running */
	uint64_t id;
	int fd;                 /* our copy; -1 once acknowledged, unless doubled */
	bool doubled;           /* a worker that it was taken back from has another copy in its queue */
	bool returned;          /* by a worker */
	struct worker *worker;  /* NULL: none has it */
	int64_t sent;
	struct share *source;   /* where it comes from, if that is counted */
};

/* The best worker for T among those that have a slot, or NULL; among equals, each in turn. */
struct worker *best_for(struct dispatch *d, const struct ticket *t);

#endif
