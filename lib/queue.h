/* SPDX-License-Identifier: ISC
 *
 * Items in the order in which they came; an item stands in one queue at a time. */
#ifndef QUEUE_H
#define QUEUE_H

#include <stddef.h>

/* All zero is the empty queue. */
struct queue {
	struct link *first, *last;
	size_t count;
};

/* A member of the item. All zero but .item: in no queue. */
struct link {
	struct queue *queue;
	struct link *next, *before;
	void *item;
};

/* Put LINK at the end of Q, out of the queue in which it stands. */
void queue_add(struct queue *q, struct link *link);

/* Take LINK out of its queue, if it stands in one. */
void queue_leave(struct link *link);

/* The first item of Q, NULL if it is empty. */
void *queue_first(const struct queue *q);

#endif
