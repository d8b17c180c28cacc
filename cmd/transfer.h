/* SPDX-License-Identifier: ISC
 *
 * Sending a set to one peer, without ever waiting for it. */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "record.h"
#include "sending.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct share;

enum { UNFINISHED = -1 };

/* One peer, and how far it has got. */
struct transfer {
	struct sending *sending; /* borrowed */
	int sock;               /* non-blocking */
	uid_t uid;              /* the peer's, NOBODY if unknown */
	struct share *share;    /* of that uid, borrowed: the service counts peers there */
	bool shared;            /* SOCK is the caller's, and others may read from it: we do not, and do not half-close it */
	enum { SENDING, AWAITING_EMPTY_QUEUE, AWAITING_ANSWER, COPYING_REPLY, ENDED } state;
	bool reset;             /* the peer closed, and left something unread */
	size_t sent;            /* descriptors */
	struct records in;      /* what the peer said and we did not judge yet */
	int64_t begun, until;   /* when it began, and its deadline or NEVER */
	/* Go on when poll(2) reports EVENTS or, where these are 0, at AGAIN. */
	short events;
	int64_t again;
	int pause;
};

/* A transfer to the peer at SOCK, of UID, with the deadline UNTIL. The transfer owns SOCK, unless others share it.
 * Nothing is sent yet. */
struct transfer transfer_begin(struct sending *s, int sock, uid_t uid, int64_t until);

/* Do what can be done now. Returns UNFINISHED, or the exit status: 0 (taken), TIMED_OUT or FAILED, already reported. */
int transfer_continue(struct transfer *t);

/* Close the socket, unless others share it, and free the rest. */
void transfer_end(struct transfer *t);

#endif
