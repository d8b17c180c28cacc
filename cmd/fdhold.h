/* SPDX-License-Identifier: ISC */
/* fdhold's parts: fdhold.c has the command line and the loop, fdhold_ask.c --list and --drop, fdhold_store.c the table
 * of what is held, fdhold_own.c what we put there ourselves, fdhold_hangups.c connections whose other side is gone,
 * fdhold_answers.c the answers to clients, fdhold_command.c -- COMMAND. */
#ifndef FDHOLD_H
#define FDHOLD_H

#include "child.h"
#include "cli.h"
#include "closer.h"
#include "command.h"
#include "fdhold_store.h"
#include "inbox.h"
#include "listening.h"

/* The command line. */
struct options {
	struct cli cli;
	struct command command; /* argv NULL: hold until a signal */
	struct endpoint at;
	struct listening addresses;
	struct allow put, get;
	int64_t expire;
	long most, most_per_uid; /* the latter 0 if not given */
	bool nonblock, list;
	const char *drop;
};

enum { ASKED_AT_ONCE = 16, ASKED_PER_UID = 4 };

/* The state of the loop. */
struct holder {
	struct options *o;
	struct store store;
	struct inbox in;
	struct closer closer;
	int sigfd;
	struct child child;     /* COMMAND */
	/* Processes that find out whether a connection that hung up has unread bytes. */
	struct asker {
		pid_t pid;      /* 0: none */
		uid_t uid;
		struct entry *entry; /* NULL once it is dropped */
	} asker[ASKED_AT_ONCE];
	struct reader *reader;  /* connections with an answer that is not sent or not read */
	size_t readers;
	size_t unread_per_uid;  /* descriptors that one uid may leave unread */
	int64_t later;          /* when to continue the answers, */
	int pause;              /* and how long it was until then */
};

/* Close the entry E, and forget it. */
void drop(struct holder *h, struct entry *e);

/* ---- fdhold_ask.c ---- */

/* --list and --drop: ask the store at O's SOCKET. Returns 0; exits on failure. */
int ask(struct options *o);

/* ---- fdhold_command.c ---- */

/* Parse what may follow SOCKET from ARGV[FIRST] on: addresses, and COMMAND after --. Returns where the addresses end. */
int command_parse(struct options *o, int argc, char *argv[], int first);

/* Start COMMAND. Returns false on failure, which is reported. */
bool command_begin(struct holder *h);

/* ---- fdhold_own.c ---- */

/* How many descriptors from 3 on a service manager or another store has passed to us (LISTEN_FDS); exits if one is not
 * open. Call it before opening any descriptor of our own. */
int own_adopted(void);

/* Put those ADOPTED, and open the sockets of NAME=ADDRESS and put them. On failure remove our files and exit. */
void own_put(struct holder *h, int adopted);

/* ---- fdhold_hangups.c ---- */

/* E's other side has hung up: drop it, unless it has unread bytes. */
void hangup(struct holder *h, struct entry *e);

/* The process PID has ended with this wait(2) STATUS. If it was to find out about unread bytes, act on that. */
void hangup_answered(struct holder *h, pid_t pid, int status);

/* E is being dropped. */
void hangup_forget(struct holder *h, const struct entry *e);

/* ---- fdhold_answers.c ---- */

/* Answer D, a request for descriptors or for a list; send the rest later if necessary. Takes D's names. */
void answers_begin(struct holder *h, struct delivery *d);

/* Is an answer to CONNECTION unfinished? */
bool answers_owed(const struct holder *h, uint64_t connection);

/* Continue the answers whose readers can take more. Returns the next deadline, NEVER if there is none. */
int64_t answers_continue(struct holder *h);

#endif
