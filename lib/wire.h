/* SPDX-License-Identifier: ISC
 *
 * A connection that brings descriptors, in the plain or the record form: for dispatchers and receivers. */
#ifndef WIRE_H
#define WIRE_H

#include "peer.h"
#include "record.h"
#include "set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct closer;

enum { ANSWERS_ROOM = 256 };    /* bytes of answers that are kept, to be sent with the next */

/* A message: a set of descriptors, or a request, and its sender. The receiver owns it. */
struct delivery {
	struct set set;                 /* a request: the names asked for, without descriptors */
	char *text;                     /* the bytes that came with the first descriptors, LEN of them */
	size_t len;
	struct peer peer;               /* pid 0: unknown */
	int error;                      /* of a failed connection or request: errno */
	enum record_word request;       /* RECORD_GET, RECORD_LIST or RECORD_DROP */
	uint64_t id;                    /* record form: an answer is wanted; else 0 */
	uint64_t connection;            /* its id in the inbox */
	int sock;                       /* its socket, still the inbox's */
};

/* Close D's descriptors by C, for its sender, and free the rest. D is empty afterwards. */
void delivery_close(struct delivery *d, struct closer *c);

/* All zero but for .sock, .peer and .frugal: new. */
struct wire {
	int sock;                       /* borrowed */
	struct peer peer;
	enum { FORM_UNKNOWN, FORM_PLAIN, FORM_RECORD } form;
	bool frugal;                    /* read no more at once than .records has room for: a lack of memory loses nothing */
	struct records records;         /* record form: what is not parsed yet */
	struct delivery begun;          /* the set that has come so far */
};

enum wire_event {
	WIRE_NONE,      /* nothing has come */
	WIRE_PART,      /* nothing whole */
	WIRE_SET,       /* .begun is a whole set: take it */
	WIRE_RECORD,    /* another record */
	WIRE_END,       /* end of file */
	WIRE_FAILED,    /* errno, as rights_receive; EPROTO: neither form */
};

/* Read one message without waiting. In the plain form a set has GATHER descriptors at least; 0: those of one message. FROM as
 * rights_receive. R is valid until the next call; more records may be there: see wire_next. */
enum wire_event wire_read(struct wire *w, size_t gather, struct record *r, struct peer *from);

/* The next of the records that were read: never WIRE_END. */
enum wire_event wire_next(struct wire *w, struct record *r);

/* How many descriptors, and bytes that are no whole record yet, have come and belong to no whole set. */
size_t wire_fds(const struct wire *w);
size_t wire_bytes(const struct wire *w);

/* Send R without waiting. errno as record_send: a peer that lets answers pile up gets no more. */
int wire_send(const struct wire *w, const struct record *r);

/* Close by C, for the peer, what has come. The socket stays open. */
void wire_clear(struct wire *w, struct closer *c);

#endif
