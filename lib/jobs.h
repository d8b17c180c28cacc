/* SPDX-License-Identifier: ISC
 *
 * Commands that run. */
#ifndef JOBS_H
#define JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct closer;
struct command;
struct delivery;
struct launch;
struct share;

struct job {
	pid_t pid;              /* 0: a free place */
	uid_t uid;              /* whom it was started for, */
	uint64_t connection;    /* and for which delivery */
	uint64_t id;
	struct share *source;   /* the caller's, who may set it */
	bool keeps;             /* jobs_fork made it: a second TERM is KILL for the command that it keeps */
	int error;              /* once reaped: why COMMAND could not be begun, errno's value, or 0 */
};

struct jobs {
	struct job *job;        /* LIMIT of them, in memory that a fork shares */
	size_t limit, running;
	size_t vacant;          /* no place before this one is free, */
	size_t used;            /* and none from this one on was ever used */
	uint64_t started;
	size_t failures;        /* starts that failed since one did not */
	struct closer *closer;
	struct launch *launch;  /* one for each slot, opened when it is needed, and one without; in memory that a fork shares */
	size_t slots;
	int slot;               /* the first one's number; after the last come as many for their other ends */
	bool strangers;         /* our table may have strangers' descriptors, so that no process has a copy of it */
};

/* errno ENOMEM. The jobs last as long as the tool. */
int jobs_open(struct jobs *j, size_t limit);

/* For jobs_start, once all is open that the tool opens, and before strangers' descriptors come: keep numbers for slots,
 * and fill whatever is free below them. Without STRANGERS none will come but what closes without waiting: nothing is
 * filled, and each process has a copy of our table. CLOSER gets what cannot be closed without waiting. errno ENOMEM. */
int jobs_reserve(struct jobs *j, struct closer *closer, bool strangers);

/* How many run for UID. */
size_t jobs_of(const struct jobs *j, uid_t uid);

/* Run C with the descriptors of D in a new process: its places, its environment without NOTIFY_SOCKET, its place among
 * the jobs; after jobs_reserve. The descriptors are the process's from here on, and D has none; or the process has a
 * copy, and D has them still, to be closed. If D wants an answer, the process acknowledges by itself. On NULL there was
 * no process or no memory, D is as it was, and it is worth another try. jobs_reap returns whether COMMAND began:
 * ECANCELED, the peer does not want it any more, or has it still. It says OWED before it acknowledges, as
 * launch_acknowledge. */
struct job *jobs_start(struct jobs *j, const struct command *c, struct delivery *d, const char *owed);

/* The same, but the process is a copy of ours that goes on here, as fork(2): it has only those descriptors that were
 * open at jobs_reserve, and D's only one, the number of which is in *SOCK; and *ERROR is its job's. */
pid_t jobs_fork(struct jobs *j, const struct command *c, struct delivery *d, int *sock, int **error);

/* Reap a child that has ended, a job or not: what it was (a pid alone if no job) and its wait(2)
 * status. False when none has. */
bool jobs_reap(struct jobs *j, struct job *ended, int *status);

void jobs_kill(const struct jobs *j, int sig);

#endif
