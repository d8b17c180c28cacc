/* SPDX-License-Identifier: ISC
 *
 * COMMAND begun, in place of the tool or as a new process. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "env.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct closer;
struct command;
struct delivery;

enum { ACK_ROOM = 320 };

/* All that a new process needs to become COMMAND; it shares our memory until it has. */
struct launch {
	const struct command *command;
	struct env env;
	int *fds;               /* COUNT numbers: the acknowledging socket's if there is one, and the set's; ours or, once it has */
	size_t count, room;     /* received them, the process's */
	bool single;            /* the set is one descriptor, which goes to every place */
	int *from, *to;         /* placements */
	size_t places;
	bool connection;        /* the environment says whose connection it is */
	bool leads;             /* COMMAND leads a group of processes; its descriptors in the set, or -1: */
	int dir, tty;           /* the directory to work in; the terminal in whose foreground it is */
	pid_t parent;           /* it gets HUP at the end of this process, ours */
	sigset_t no_signals;
	char ack[ACK_ROOM];     /* the process says this first: ACK_LEN 0 for nothing */
	ssize_t ack_len;
	int copy;               /* of the acknowledging socket, for the process; or -1 */
	int slot, feed;         /* a pair of sockets that carries the set into the process's own table; FEED -1: there is none, */
	bool copies;            /* and the process has a copy of our table; so it has this time, */
	bool forks;             /* and SLOT -1: of our memory */
	pid_t busy;             /* not 0: the process uses this; */
	pid_t forked;           /* this one by launch_fork */
	size_t closed;          /* so many of the numbers it has closed in the table that we share, */
	bool received;          /* and received in its own */
	int *error;             /* it writes the reason of a failure here */
	char *stack;
};

/* Can a process leave our table (Linux 5.9)? For a tool that does not share it just now. */
bool launch_shares(void);

/* COMMAND's environment is ours, less what fdkit sets. SLOT and FEED, unless -1, are open descriptors, which the
 * launch's sockets replace; at SLOT and below no stranger's descriptor may lie. Without FEED a process has a copy of our table,
 * and SLOT is not used; without SLOT it has one of our memory, too. On -1 (ENOMEM, EMFILE) nothing has changed. A launch lasts
 * as long as the tool. */
int launch_open(struct launch *l, const struct command *c, int slot, int feed);

/* Forget what was set before, and set the placements FROM to TO, of which the first is told to COMMAND. errno ENOMEM. */
int launch_set(struct launch *l, const int *from, const int *to, size_t count);

/* The same for a delivery, with its environment: at WHERE or, if that is NULL, where command_places puts it. errno
 * ENOMEM. */
int launch_delivery(struct launch *l, const struct delivery *d, const int *where);

/* Have the process say OWED, records of fewer than ANSWERS_ROOM bytes, and acknowledge the set ID on SOCK before anything else.
 * Call launch_start next. */
void launch_acknowledge(struct launch *l, int sock, uint64_t id, const char *owed);

/* Have the process, which launch_start then waits for until it has executed COMMAND, lead a group of its own, work in
 * DIR, unless -1, and stand in the foreground of the terminal that is the set's descriptor TTY, unless -1; before
 * launch_acknowledge. If that fails, it acknowledges nothing, and *ERROR is negative. */
void launch_lead(struct launch *l, int dir, int tty);

/* Start the process, which the caller reaps. The set's numbers are the process's from here on, which closes them; or,
 * where it .copies, the caller's, who may close them. *ERROR, in memory that a fork shares, holds after the process was
 * reaped why COMMAND did not begin, errno's value or 0; the process exits with exec_status. ECANCELED: it could not
 * acknowledge. On -1 (errno as clone(2)) there is no process, and the set is the caller's. */
pid_t launch_start(struct launch *l, int *error);

/* fork(2), but the new process has only those of our descriptors that lie below its slot, and *SOCK, which is closed
 * here; its number there is returned in *SOCK. L must lie in memory that a fork shares. Where L .copies, the process has
 * a copy of all, and *SOCK stays open. *ERROR as above, if the process ends at once. */
pid_t launch_fork(struct launch *l, int *sock, int *error);

/* After the process was reaped: close what it has left of its set, since it was killed, or had no memory. CLOSER gets
 * it. */
void launch_recover(struct launch *l, struct closer *closer);

/* Become COMMAND. Returns only on failure, errno's value. */
int launch_become(struct launch *l);

#endif
