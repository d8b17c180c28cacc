/* SPDX-License-Identifier: ISC */
#include "inbox.h"
#include "closer.h"
#include "connection.h"
#include "rights.h"
#include "socket.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SETTLE_MS = 100,        /* for descriptors of a datagram that is not taken */
	UNFINISHED_MS = 10000,  /* for the rest of a set: it may hold the very end whose closing we wait for */
	LATE_MOST = 64,         /* rounds after the deadline: a peer that keeps sending cannot postpone it */
};

static void drop(struct inbox *in, struct connection *c, bool read)
{
	in->channels -= c->channel;
	connection_drop(&in->connections, c, read);
}

/* C is over. A datagram socket stays: each datagram stands alone, and the next may be another sender's. */
static void connection_end(struct inbox *in, struct connection *c)
{
	if (in->at->type != SOCK_DGRAM) {
		drop(in, c, false);
		return;
	}
	wire_clear(&c->wire, in->closer);
	connection_charge(c);
	c->wire.form = FORM_UNKNOWN;
	if (c->link.queue == &in->connections.ahead)
		queue_leave(&c->link);
}

int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, struct closer *closer, int besides)
{
	*in = (struct inbox){.at = at, .closer = closer, .paused = NOBODY, .besides = besides,
	                     .connections = {.closer = closer, .epoll = -1}};
	door_open(&in->door, at, allow, closer);
	if (at->listens || at->fd == -1 || inbox_attach(in) == 0)
		return 0;
	int error = errno;
	inbox_close(in);
	errno = error;
	return -1;
}

int inbox_attach(struct inbox *in)
{
	struct peer peer = {.uid = NOBODY};
	/* The peer of a socket that the caller gave is not checked, but COMMAND may know it. */
	if (in->at->kind != END_EXEC && in->at->type != SOCK_DGRAM && peer_of(in->at->fd, &peer) == -1)
		return -1;
	return connection_add(&in->connections, in->at->fd, false, peer) ? 0 : -1;
}

bool inbox_over(const struct inbox *in)
{
	return (!in->at->listens || in->door.fd == -1) && !in->connections.table.count;
}

void inbox_close(struct inbox *in)
{
	connections_close(&in->connections);
	*in = (struct inbox){.at = in->at, .connections.epoll = -1, .besides = -1};
}

static enum inbox_event admit(struct inbox *in, struct delivery *d)
{
	int sock = door_accept(&in->door, &d->peer);
	if (sock == -1)
		return errno == ESHUTDOWN ? INBOX_GONE : errno == EACCES ? INBOX_REFUSED : INBOX_NOTHING;
	struct connection *c = connection_add(&in->connections, sock, true, d->peer);
	if (!c) {
		door_rest(&in->door);
		closer_hang_up(in->closer, sock, d->peer.uid);
		return INBOX_NOTHING;
	}
	bool excess = share_exceeds(c->share, in->share), tell = share_reports(c->share, in->share, excess);
	if (excess)
		drop(in, c, false);
	return tell ? INBOX_EXCESS : INBOX_NOTHING;
}

/* ---- answers ---- */

bool inbox_has(const struct inbox *in, uint64_t connection)
{
	return table_find(&in->connections.table, connection);
}

int inbox_answer(struct inbox *in, uint64_t connection, enum record_word word, uint64_t id, const char *why)
{
	struct connection *c = table_find(&in->connections.table, connection);
	if (!c)
		return -1;
	if (wire_send(&c->wire, &(struct record){.word = word, .id = id, .why = why}) == 0)
		return 0;
	connection_end(in, c);
	return -1;
}

void inbox_drop(struct inbox *in, uint64_t connection)
{
	struct connection *c = table_find(&in->connections.table, connection);
	if (c)
		connection_end(in, c);
}

/* ---- what has come: each returns the event, and fills D; C may be gone then, but not at INBOX_NOTHING ---- */

/* Close C, and tell it WHY, whichever form it speaks. */
static enum inbox_event turn_away(struct inbox *in, struct connection *c, const char *why, enum inbox_event event)
{
	wire_send(&c->wire, &(struct record){.word = RECORD_REFUSED, .why = why});
	connection_end(in, c);
	return event;
}

static enum inbox_event failed(struct inbox *in, struct connection *c, int error, struct delivery *d)
{
	d->error = error;
	return turn_away(in, c, strerror(error), INBOX_FAILED);
}

/* Nothing whole has come. The rest may, for a while, unless C's uid has no share for what is there. */
static enum inbox_event await_rest(struct inbox *in, struct connection *c)
{
	connection_charge(c);
	if (!in->share || !c->ours)
		return INBOX_NOTHING;
	if (!c->fds)
		c->until = 0;
	else if (!c->until)
		c->until = deadline_in(UNFINISHED_MS);
	if (c->until)
		in->check = in->check ? sooner(in->check, c->until) : c->until;
	if (!share_exceeds(c->share, in->share))
		return INBOX_NOTHING;
	return turn_away(in, c, c->share->bytes > BYTES_OF_UID ? "too many bytes of your uid wait here"
	                                                       : "too many descriptors of your uid wait here", INBOX_EXCESS);
}

static enum inbox_event ended(struct inbox *in, struct connection *c)
{
	enum inbox_event event = wire_fds(&c->wire) ? INBOX_SHORT : c->delivered ? INBOX_ENDED : INBOX_EMPTY;
	if (event == INBOX_SHORT)
		wire_send(&c->wire, &(struct record){.word = RECORD_REFUSED, .why = "too few descriptors came"});
	drop(in, c, true);
	return event;
}

/* The caller gets EVENT of C, and more may have been read. */
static enum inbox_event deliver(struct inbox *in, struct connection *c, enum inbox_event event)
{
	c->delivered = true;
	connection_charge(c);
	if (c->wire.form == FORM_RECORD && c->link.queue != &in->connections.parked)
		queue_add(&in->connections.ahead, &c->link);
	return event;
}

/* The names that R asks for go into SET. Returns 0 or errno's value. */
static int take_names(struct set *set, const struct record *r)
{
	const char *twice;
	for (const char *p = r->names; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (set_add(set, -1, NULL) == -1)
			return ENOMEM;
	return r->names && (set_name(set, 0, r->names) == -1 || set_repeats(set, false, &twice)) ? EPROTO : 0;
}

/* Release the connection C to the caller. */
static enum inbox_event release(struct inbox *in, struct connection *c, struct delivery *d)
{
	int sock = c->ours ? c->wire.sock : fcntl(c->wire.sock, F_DUPFD_CLOEXEC, 0);
	if (sock == -1 || set_add(&d->set, sock, NULL) == -1)
		return failed(in, c, errno, d);
	d->request = RECORD_RUN;
	c->ours = false;
	drop(in, c, false);
	return INBOX_RUN;
}

static enum inbox_event obey(struct inbox *in, struct connection *c, const struct record *r, struct delivery *d)
{
	bool request = r->word == RECORD_GET || r->word == RECORD_LIST || r->word == RECORD_DROP;
	if (r->word == RECORD_REFUSED) { /* what we asked for */
		d->text = strdup(r->why ? r->why : "refused");
		d->error = EACCES;
		connection_end(in, c);
		return INBOX_FAILED;
	}
	if (r->word == RECORD_HELLO && !c->wire.begun.set.count) {
		in->channels += !c->channel;
		c->channel = true;
		c->late = r->late;
		return deliver(in, c, INBOX_HELLO); /* a dispatcher may come and go without giving anything */
	}
	if (in->runs && r->word == RECORD_RUN && !r->fds && !wire_fds(&c->wire) && !wire_bytes(&c->wire))
		return release(in, c, d);
	if (!in->requests || !request || c->wire.begun.set.count)
		return failed(in, c, EPROTO, d);
	d->request = r->word;
	d->id = r->id;
	if ((d->error = take_names(&d->set, r)))
		set_forget(&d->set);
	return deliver(in, c, INBOX_REQUEST);
}

static enum inbox_event handle(struct inbox *in, struct connection *c, enum wire_event event, const struct record *r,
                               struct delivery *d)
{
	int error = errno;
	*d = (struct delivery){.peer = c->wire.peer, .connection = c->id, .sock = c->wire.sock};
	if (event == WIRE_FAILED)
		return failed(in, c, error, d);
	if (event == WIRE_END)
		return ended(in, c);
	if (event == WIRE_RECORD)
		return obey(in, c, r, d);
	if (event == WIRE_NONE || event == WIRE_PART)
		return await_rest(in, c);
	const struct delivery came = *d;
	*d = c->wire.begun;
	d->peer = came.peer;
	d->connection = came.connection;
	d->sock = came.sock;
	c->wire.begun = (struct delivery){0};
	c->until = 0;
	return deliver(in, c, INBOX_DELIVERY);
}

/* Each datagram is judged alone, by its sender's credentials first. */
static enum inbox_event read_datagram(struct inbox *in, struct connection *c, struct delivery *d)
{
	struct record r;
	bool given = endpoint_given(in->at);
	c->wire.peer = (struct peer){.uid = given ? 0 : NOBODY};
	enum wire_event came = wire_read(&c->wire, in->gather, &r, &c->wire.peer);
	enum inbox_event event = INBOX_NOTHING;
	/* Where nothing was received there is nobody to judge. */
	if (!given && c->wire.peer.uid != NOBODY && !peer_allowed(in->door.allow, &c->wire.peer, -1)) {
		*d = (struct delivery){.peer = c->wire.peer};
		event = door_tells(&in->door, c->wire.peer.uid) ? INBOX_REFUSED : INBOX_NOTHING;
	} else if (came == WIRE_SET || came == WIRE_RECORD || came == WIRE_FAILED) {
		event = handle(in, c, came, &r, d);
	}
	bool unwanted = wire_fds(&c->wire);
	connection_end(in, c);
	/* The next datagram may be an honest one, for whose descriptors there must be room. */
	if (unwanted)
		closer_settle(in->closer, SETTLE_MS);
	return event;
}

/* Read once from C. */
static enum inbox_event read_one(struct inbox *in, struct connection *c, struct delivery *d)
{
	struct record r;
	if (in->at->type == SOCK_DGRAM)
		return read_datagram(in, c, d);
	enum wire_event came = wire_read(&c->wire, in->gather, &r, NULL);
	return handle(in, c, came, &r, d);
}

/* Handle the next record of C that was read before. */
static enum inbox_event read_on(struct inbox *in, struct connection *c, struct delivery *d)
{
	struct record r;
	enum wire_event came = wire_next(&c->wire, &r);
	return handle(in, c, came, &r, d);
}

/* ---- the loop ---- */

/* Is nothing to be taken from C now? */
static bool held(const struct inbox *in, const struct connection *c, bool hold)
{
	return hold || (c->ours && c->wire.peer.uid == in->paused);
}

/* Read from C, which is parked: first what was read of it before. */
static enum inbox_event read_parked(struct inbox *in, struct connection *c, struct delivery *d)
{
	queue_add(&in->connections.parked, &c->link);
	enum inbox_event event = wire_bytes(&c->wire) ? read_on(in, c, d) : INBOX_NOTHING;
	if (!event && !(event = read_one(in, c, d))) {
		queue_leave(&c->link);
		connection_watch(&in->connections, c, false);
	}
	return event;
}

/* C has something for us, or has closed. While no message is to be taken: a peer that has closed, and has nothing more
 * for us, is waiting for our end of file, which says that what it sent was taken. */
static enum inbox_event look(struct inbox *in, struct connection *c, bool hold, struct delivery *d)
{
	if (!held(in, c, hold))
		return c->link.queue == &in->connections.parked ? read_parked(in, c, d) : read_one(in, c, d);
	if (c->parked)
		return wire_bytes(&c->wire) || rights_waiting(c->wire.sock) ? INBOX_NOTHING : read_one(in, c, d);
	queue_add(&in->connections.parked, &c->link);
	connection_watch(&in->connections, c, true);
	return INBOX_NOTHING;
}

/* The first of Q that is not held. */
static struct connection *first_of(const struct inbox *in, const struct queue *q, bool hold)
{
	const struct link *l = hold ? NULL : q->first;
	while (l && held(in, l->item, hold))
		l = l->next;
	return l ? l->item : NULL;
}

/* A connection whose set should have been finished by now. While nobody reads it, it is not late. */
static enum inbox_event unfinished(struct inbox *in, bool hold, struct delivery *d)
{
	if (!in->check || time_left(in->check))
		return INBOX_NOTHING;
	in->check = 0;
	for (size_t i = 0; i < in->connections.table.room; i++) {
		struct connection *c = in->connections.table.slot[i].item;
		if (!c || !c->until)
			continue;
		if (c->parked || held(in, c, hold))
			c->until = deadline_in(UNFINISHED_MS);
		in->check = in->check ? sooner(in->check, c->until) : c->until;
		if (time_left(c->until))
			continue;
		d->peer = c->wire.peer;
		return failed(in, c, ETIMEDOUT, d);
	}
	return INBOX_NOTHING;
}

enum { PARKED, READY, ARRIVING, SOURCES };

/* Wait, and look at each source of events in turn. IDLE: nothing had come. */
static enum inbox_event look_around(struct inbox *in, bool hold, int64_t until, struct delivery *d, bool *idle)
{
	struct connection *parked = first_of(in, &in->connections.parked, hold), *c;
	bool accepts = !door_rests(&in->door) && in->at->listens && !hold;
	struct pollfd p[] = {{.fd = in->besides, .events = POLLIN}, {.fd = accepts ? in->door.fd : -1, .events = POLLIN},
	                     {.fd = connections_fd(&in->connections), .events = POLLIN}};
	until = sooner(until, sooner(in->door.resting ? in->door.resting : NEVER, in->check ? in->check : NEVER));
	int ready = await_any(p, 3, parked ? 0 : until);
	*idle = ready == 0 && !parked;
	if (ready > 0 && p[0].revents)
		return INBOX_BESIDES;
	/* Connections that have closed, before others come in their place; but whoever is busy cannot keep others out. */
	unsigned first = in->turn % 8 == 0 ? ARRIVING : in->turn % 2 ? READY : PARKED;
	enum inbox_event event = INBOX_NOTHING;
	in->turn++;
	for (unsigned k = 0; ready >= 0 && !event && k < SOURCES; k++) {
		unsigned source = (first + k) % SOURCES;
		if (source == PARKED && (parked = first_of(in, &in->connections.parked, hold)))
			event = read_parked(in, parked, d);
		else if (source == ARRIVING && p[1].revents)
			event = admit(in, d);
		else if (source == READY && p[2].revents && (c = connections_ready(&in->connections)))
			event = look(in, c, hold, d);
	}
	return event;
}

enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline)
{
	enum inbox_event event = INBOX_NOTHING;
	struct connection *c;
	*d = (struct delivery){0};
	while (!event && (c = first_of(in, &in->connections.ahead, hold))) {
		queue_leave(&c->link);
		event = read_on(in, c, d);
	}
	while (!event) {
		bool late = !time_left(deadline), idle = false;
		in->late = late ? in->late + 1 : 0;
		if (in->late > LATE_MOST)
			return INBOX_TIMEOUT;
		event = unfinished(in, hold, d);
		if (!event)
			event = look_around(in, hold, deadline, d, &idle);
		if (!event && idle && late)
			return INBOX_TIMEOUT;
	}
	return event;
}
