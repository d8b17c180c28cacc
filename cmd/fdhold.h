/* SPDX-License-Identifier: ISC */
/* fdhold's parts: fdhold.c has the command line, the loop and the store, fdhold_answers.c the answers to clients. */
#ifndef FDHOLD_H
#define FDHOLD_H

#include "cli.h"
#include "closer.h"
#include "command.h"
#include "fdhold_store.h"
#include "inbox.h"
#include "listening.h"

/* The command line. */
struct options {
	struct cli cli;
	struct command command; /* only for our own RLIMIT_NOFILE */
	struct endpoint at;
	struct listening addresses;
	struct allow put, get;
	int64_t expire;
	long most, most_per_uid; /* the latter 0 if not given */
	bool nonblock, list;
	const char *drop;
};

/* The state of the loop. */
struct holder {
	struct options *o;
	struct store store;
	struct inbox in;
	struct closer closer;
	int sigfd;
	int watch;              /* epoll(7): signals, and hang-ups of held descriptors */
	size_t hung;            /* entries that hung up and may have unread bytes, */
	size_t asked;           /* and processes that find that out */
	struct reader *reader;  /* connections with an answer that is not sent or not read */
	size_t readers;
	size_t share;           /* descriptors that one uid may leave unread */
	int64_t later;          /* when to go on with them */
	int pause;
};

/* ---- fdhold_answers.c ---- */

/* One uid may leave as many descriptors unread as a quarter of our table, SHARE, or 4096 if that is less. */
void answers_share(struct holder *h, size_t share);

/* Answer D, a request for descriptors or for a list; send the rest later if necessary. Takes D's names. */
void answers_begin(struct holder *h, struct delivery *d);

/* Is an answer to CONNECTION unfinished? */
bool answers_owed(const struct holder *h, uint64_t connection);

/* Continue the answers whose readers can take more. Returns the next deadline, NEVER if there is none. */
int64_t answers_go_on(struct holder *h);

#endif
