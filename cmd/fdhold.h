/* SPDX-License-Identifier: ISC */
/* fdhold's parts: fdhold.c has the command line, the loop and what is held, fdhold_answers.c what others get of it. */
#ifndef FDHOLD_H
#define FDHOLD_H

#include "cli.h"

/* What the command line says. */
struct options {
	struct cli cli;
	struct command command; /* only for our own limit of descriptors */
	struct endpoint at;
	struct listening addresses;
	struct allow put, get;
	int64_t expire;
	long most, most_per_uid; /* the latter 0 where it is not given */
	bool nonblock, list;
	const char *drop;
};

/* What the loop knows. */
struct holder {
	struct options *o;
	struct store store;
	struct inbox in;
	struct closer closer;
	int sigfd;
	int watch;              /* epoll(7): signals, and hang-ups of what is held */
	size_t hung;            /* entries of which it is to be asked whether something is unread, */
	size_t asked;           /* and processes that ask */
	struct reader *reader;  /* connections that have not got, or not read, what they asked for */
	size_t readers;
	size_t share;           /* descriptors that one uid may leave unread */
	int64_t later;          /* when to go on with them */
	int pause;
};

/* ---- fdhold_answers.c ---- */

/* One uid may leave as many descriptors unread as a quarter of our table, SHARE, or 4096 if that is less. */
void answers_share(struct holder *h, size_t share);

/* Answer D, which asks for descriptors or for a list; what cannot be sent at once follows. Takes D's names. */
void answers_begin(struct holder *h, struct delivery *d);

/* Has CONNECTION still to be sent something? */
bool answers_owed(const struct holder *h, uint64_t connection);

/* Go on with those that can take more. Returns when to do so again, NEVER if nobody waits. */
int64_t answers_go_on(struct holder *h);

#endif
