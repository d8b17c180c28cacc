/* SPDX-License-Identifier: ISC */
#include "queue.h"

void queue_leave(struct link *link)
{
	struct queue *q = link->queue;
	if (!q)
		return;
	*(link->before ? &link->before->next : &q->first) = link->next;
	*(link->next ? &link->next->before : &q->last) = link->before;
	link->queue = NULL;
	q->count--;
}

void queue_add(struct queue *q, struct link *link)
{
	queue_leave(link);
	link->queue = q;
	link->next = NULL;
	link->before = q->last;
	*(q->last ? &q->last->next : &q->first) = link;
	q->last = link;
	q->count++;
}

void *queue_first(const struct queue *q)
{
	return q->first ? q->first->item : NULL;
}
