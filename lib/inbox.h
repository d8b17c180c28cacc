/* SPDX-License-Identifier: ISC
 *
 * Messages from whoever connects to a SOCKET. */
#ifndef INBOX_H
#define INBOX_H

#include "connection.h"
#include "door.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct allow;
struct closer;
struct endpoint;

struct inbox {
	struct endpoint *at;            /* open */
	struct door door;               /* where it listens */
	struct closer *closer;
	size_t gather;                  /* plain form: descriptors that make one delivery; 0: one message's */
	bool requests;                  /* are understood: get, list, drop */
	bool runs;                      /* so is run */
	size_t share;                   /* descriptors that one uid's connections and unfinished sets may take up,
	                                   and these for so long; 0: any number, for ever */
	uid_t paused;                   /* whose connections that were accepted here are left unread; or NOBODY */
	int besides;                    /* the caller's: a descriptor to watch besides connections; -1 for none */
	struct connections connections;
	size_t channels;                /* dispatchers among them */
	uint64_t owed_to;                /* a connection to which these answers are to be sent, a string: */
	char owed[ANSWERS_ROOM];
	int64_t check;                  /* when the first unfinished set may be late, 0 for never */
	unsigned turn;                  /* whom to look at first */
	unsigned late;                  /* rounds since DEADLINE came */
};

enum inbox_event {
	INBOX_NOTHING,   /* inbox_next never returns it */
	INBOX_DELIVERY,  /* .set, .text, .len, .peer */
	INBOX_REQUEST,   /* .request, .set, .peer */
	INBOX_RUN,       /* .peer asks to run a command: its connection, no more ours, is the only descriptor of .set */
	INBOX_HELLO,     /* .peer is a dispatcher, on .connection: channel_offer it something */
	INBOX_BESIDES,   /* the descriptor to watch besides is readable */
	INBOX_TIMEOUT,   /* DEADLINE came */
	INBOX_REFUSED,   /* .peer was not allowed and is closed; reported once in a flood */
	INBOX_EXCESS,    /* .peer was closed since its uid is over its quota; reported once in a flood */
	INBOX_EMPTY,     /* .peer closed without a descriptor */
	INBOX_SHORT,     /* .peer closed before it had sent `gather` descriptors */
	INBOX_ENDED,     /* a connection that had delivered was closed */
	INBOX_GONE,      /* the listening socket accepts no more: somebody has shut it down */
	INBOX_FAILED,    /* .peer's connection failed: .error; EMFILE: descriptors did not fit;
	                    .text where the peer said why */
};

/* AT, CLOSER and ALLOW stay the caller's, and must stay. On -1 there is nothing to close. */
int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, struct closer *closer, int besides);

/* The next event, waiting until DEADLINE. HOLD: take no messages. */
enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline);

/* Add the endpoint's socket, connected again. */
int inbox_attach(struct inbox *in);

/* Is CONNECTION still there? */
bool inbox_has(const struct inbox *in, uint64_t connection);

/* Answer CONNECTION: the set ID (0 in the plain form) is taken, or done, or refused and WHY. A peer that lets
 * answers pile up loses its connection. -1 if it could not be told: the connection is gone, or the peer reads no more
 * (whoever hands connections over has then taken the set back, and may give it to another). */
int inbox_answer(struct inbox *in, uint64_t connection, enum record_word word, uint64_t id, const char *why);

/* Close CONNECTION. */
void inbox_drop(struct inbox *in, uint64_t connection);

/* Can nothing come any more: a connected socket has reached end of file, or the listening one is gone? */
bool inbox_over(const struct inbox *in);

/* Close every connection; the endpoint stays the caller's. */
void inbox_close(struct inbox *in);

#endif
