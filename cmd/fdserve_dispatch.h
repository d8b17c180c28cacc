/* SPDX-License-Identifier: ISC
 *
 * Connections to workers, each to exactly one. */
#ifndef FDSERVE_DISPATCH_H
#define FDSERVE_DISPATCH_H

#include "queue.h"
#include "table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct closer;
struct pollfd;
struct share;

/* All zero but for the first four: no workers, no connections. */
struct dispatch {
	bool plain;             /* the workers speak the plain form: no slots, no acknowledgements */
	struct share **sources; /* of connections; NULL: not counted */
	struct closer *closer;
	int64_t patience;       /* ms that a worker has for an acknowledgement, NEVER for ever */
	struct worker **worker;
	size_t workers, room;
	struct share *shares;   /* of the uids that have workers */
	struct table tickets;   /* connections that wait, are handed over or, if that is counted, run */
	struct queue waiting;   /* those that no worker has */
	size_t pending;         /* those that no worker has acknowledged */
	size_t turn;            /* the worker to look at first */
	uint64_t handed, acknowledged, returned; /* figures */
	uint64_t turned_away;   /* workers that went before they took anything */
};

/* Take a connected worker: SOCK is the dispatcher's from here on, also on -1. */
int dispatch_add(struct dispatch *d, int sock);

/* Is there a worker that has taken something, or has not been silent for all its patience? */
bool dispatch_hopeful(const struct dispatch *d);

/* Connections that could be handed to a worker at once. */
size_t dispatch_room(const struct dispatch *d);

/* Free slots of all workers. */
size_t dispatch_slots(const struct dispatch *d);

/* Hand CONNECTION over to a worker that is free, now or when there is one. It is the dispatcher's from
 * here on, which closes its copy once a worker has acknowledged it, and leaves SOURCE, unless that is NULL, when it has ended; on
 * -1 (ENOMEM) both are still the caller's. */
int dispatch_give(struct dispatch *d, int connection, struct share *source);

/* Fill one pollfd for each worker. */
void dispatch_poll(const struct dispatch *d, struct pollfd *p);

/* Read what workers say, notice those that are gone or keep silent for too long, and hand on what
 * comes back from them. P as dispatch_poll filled it, and poll(2) answered. */
void dispatch_run(struct dispatch *d, const struct pollfd *p);

/* When to call dispatch_run though no descriptor is ready. */
int64_t dispatch_deadline(const struct dispatch *d);

/* Did a worker that was greeted never say how much it takes, for as long as its patience? Told once. */
bool dispatch_mute(struct dispatch *d);

void dispatch_close(struct dispatch *d);

#endif
