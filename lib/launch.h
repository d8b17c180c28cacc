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

/* Make each FROM appear at TO, without close-on-exec, whatever the order; FROM is used up. Returns
 * errno's value or 0, and leaves errno alone; after a failure the table is half done: exit. */
int place(int *from, const int *to, size_t count);

/* All that a new process needs to become COMMAND, which shares our memory until it has. */
struct launch {
	const struct command *command;
	struct env env;
	int *fds;               /* the acknowledging socket's number, and the COUNT numbers of the set: */
	size_t count, room;     /* ours or, once it has received them, the process's */
	int *from, *to;         /* placements */
	size_t places;
	bool connection;        /* the environment says whose connection it is */
	sigset_t no_signals;
	char ack[64];           /* what the process says first: ACK_LEN 0 for nothing */
	ssize_t ack_len;
	int slot, feed;         /* a socketpair, through which the process gets the set; -1: it has a copy of our table */
	pid_t busy;             /* not 0: the process uses this */
	size_t closed;          /* so many of the set's numbers it has closed in the table that we share, */
	bool received;          /* and this is over */
	int *error;             /* where it says why it failed */
	char *stack;
};

/* Can a process leave our table (Linux 5.9)? For a tool that does not share it just now. */
bool launch_shares(void);

/* COMMAND's environment is ours, less what fdkit sets. SLOT and FEED, unless -1, are open descriptors, to be replaced by the
 * launch's sockets; at SLOT and below no stranger's descriptor may lie. On -1 (ENOMEM, EMFILE) nothing has changed. A launch
 * lasts as long as the tool. */
int launch_open(struct launch *l, const struct command *c, int slot, int feed);

/* Forget what was set before, and set the placements FROM to TO, of which the first is told to COMMAND. errno ENOMEM. */
int launch_set(struct launch *l, const int *from, const int *to, size_t count);

/* The same for a delivery, with its environment: at WHERE or, if that is NULL, where command_places puts it. errno ENOMEM. */
int launch_delivery(struct launch *l, const struct delivery *d, const int *where);

/* Have the process acknowledge the set ID on SOCK before anything else. */
void launch_acknowledge(struct launch *l, int sock, uint64_t id);

/* Start the process, which the caller reaps. With a slot the set's numbers are the process's from here on, which closes
 * them; without, the caller's, who may close them. *ERROR, in memory that a fork shares, holds after the process was
 * reaped why COMMAND was not begun, errno's value or 0; the process exits with exec_status. ECANCELED: it could not
 * acknowledge. On -1 (errno as clone(2) and rights_send) there is no process, and the set is the caller's. CLOSER gets what
 * cannot be closed without waiting. */
pid_t launch_start(struct launch *l, struct closer *closer, int *error);

/* Close what a process was given that was killed before it took it. */
void launch_recover(struct launch *l, struct closer *closer);

/* Become COMMAND. Returns only on failure, errno's value. */
int launch_become(struct launch *l);

#endif
