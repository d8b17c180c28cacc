/* SPDX-License-Identifier: ISC
 *
 * The record form. */
#ifndef RECORD_H
#define RECORD_H

#include "rights.h"
#include "set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	RECORD_MAX = MESSAGE_MAX,       /* bytes of a line with its newline */
	RECORDS_ROOM = 2 * RECORD_MAX,
	SET_TEXT_MAX = 8192,            /* bytes of text that a set may have */
};

/* One line. Its pointers are the caller's when writing, the stream's when reading. */
struct record {
	enum record_word {
		RECORD_SET,      /* descriptors: fds, names, text, more, id */
		RECORD_TAKEN,    /* the set ID is taken */
		RECORD_REFUSED,  /* it is not, and why */
		RECORD_HELLO,    /* a dispatcher asks a worker how much it takes; LATE: it can wait a little for done */
		RECORD_SLOTS,    /* a worker takes N sets more */
		RECORD_DONE,     /* what the set ID started has ended: one set more */
		RECORD_GET,      /* fdhold: a set, please, of NAMES or, without, of all */
		RECORD_LIST,     /* fdhold: an entry for each, please */
		RECORD_DROP,     /* fdhold: close what NAMES names */
		RECORD_ENTRY,    /* fdhold: one entry, in TEXT */
		RECORD_RUN,      /* without FDS: what do you take of a client? with FDS: run COMMAND with them */
		RECORD_TAKES,    /* of a client: ARGS, CWD, and the variables of ENV */
		RECORD_SIGNAL,   /* send signal N to COMMAND */
		RECORD_STOPPED,  /* signal N has stopped COMMAND */
		RECORD_ENDED,    /* COMMAND has ended, by STATUS or by SIGNAL */
	} word;
	size_t fds, n;
	bool args, cwd, tty;    /* run: the descriptors bring words, a directory, a terminal to control COMMAND */
	size_t words;           /* run: so many words, before the variables */
	const char *env;        /* takes: names separated by commas, or NULL */
	size_t status, signal;  /* ended: SIZE_MAX and 0 unless given */
	uint64_t id;            /* 0: no answer wanted */
	bool more;              /* the set goes on in the next record */
	bool late;
	const char *names;      /* separated by commas, empty where a descriptor has none */
	const char *text;       /* TEXT_LEN bytes */
	size_t text_len;
	const char *why;
};

/* The part of a stream that was received and not parsed yet. All zero is empty. */
struct records {
	char *data;
	size_t start, end, room;
	struct set fds;
};

/* Do these first bytes of a connection begin a record? */
bool is_record(const char *data, size_t len);

/* Could they, once more have come? */
bool may_be_record(const char *data, size_t len);

/* Write R into LINE, which has room for SIZE bytes. Returns the length; errno EMSGSIZE. */
ssize_t record_format(char *line, size_t size, const struct record *r);

/* Send R with the R->fds descriptors at FD, which stay the caller's, or without any where FD is NULL, by DEADLINE. errno as
 * rights_send_all; EMSGSIZE. */
int record_send(int sock, const struct record *r, const int *fd, int64_t deadline);

/* Send the next record of SET, of which SENT descriptors are sent already, without waiting; TEXT, unless NULL, goes with the
 * first. The descriptors stay the caller's. ANSWERED: ask for an answer, to id 1. Returns how many descriptors it had, or -1;
 * errno as record_send. */
ssize_t set_send(int sock, const struct set *set, size_t sent, const char *text, size_t text_len, bool answered);

/* Have room for most lines. errno ENOMEM. */
int records_reserve(struct records *in);

/* The bytes that records_add takes without more memory. If one line fills all the room, more than it has. */
size_t records_room(const struct records *in);

/* Append what was received, once all that is whole was read; the descriptors move. errno EPROTO: more bytes or
 * descriptors than one line can have. */
int records_add(struct records *in, const char *data, size_t len, struct set *fds);

/* The next whole record: 1; 0 when there is none yet; -1 (EPROTO) for a line that is no record, or names
 * more descriptors than came, which is passed over. A set's descriptors are the first R->fds of in->fds: take them. R
 * points into the stream until the next records_add. */
int records_next(struct records *in, struct record *r);

void records_free(struct records *in);

#endif
