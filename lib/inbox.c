/* SPDX-License-Identifier: ISC */
/* Messages from whoever connects to a SOCKET: accepts, checks each peer, and gathers the
 * descriptors that each sends, so that a silent or broken peer costs only its own connection. */
#include "inbox.h"
#include "closer.h"
#include "door.h"
#include "peer.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
	int sock;
	uint64_t serial;
	bool ours;              /* accepted here, to be closed here */
	bool delivered;         /* something of it has reached the caller */
	bool parked;            /* it is waited for by its end alone */
	bool channel;           /* a dispatcher's */
	int64_t until;          /* when the rest of a set must have come, 0 for none */
	size_t promised, most;  /* to a dispatcher: sets at once; what it may be promised */
	enum { FORM_UNKNOWN, FORM_PLAIN, FORM_RECORD } form;
	struct peer peer;
	struct share *share;    /* its uid's, and its part of that: */
	size_t fds, bytes;
	struct records records; /* record form: what is not parsed yet */
	struct delivery begun;  /* gathered so far */
	struct queue *queue;    /* the one that it stands in, or NULL */
	struct connection *next, *before;
};

enum {
	REST_MS = 100,
	UNFINISHED_MS = 10000,  /* for the rest of a set: it may hold the very end whose closing we wait for */
	LATE_MOST = 64,         /* rounds after the deadline: a peer that keeps sending cannot postpone it */
	PLACE_BITS = 20,        /* of a serial number: the place among connections */
};

/* ---- connections ---- */

static void leave_queue(struct connection *c)
{
	struct queue *q = c->queue;
	if (!q)
		return;
	*(c->before ? &c->before->next : &q->first) = c->next;
	*(c->next ? &c->next->before : &q->last) = c->before;
	c->queue = NULL;
}

/* C stands last in Q, and in no other. */
static void queue_up(struct queue *q, struct connection *c)
{
	leave_queue(c);
	c->queue = q;
	c->next = NULL;
	c->before = q->last;
	*(q->last ? &q->last->next : &q->first) = c;
	q->last = c;
}

/* Wait for C to have something for us or, PARKED, only for its end, once. */
static int watch(const struct inbox *in, struct connection *c, int operation, bool parked)
{
	struct epoll_event event = {.events = parked ? EPOLLRDHUP | EPOLLET : EPOLLIN, .data.u64 = c->serial};
	c->parked = parked;
	return epoll_ctl(in->epoll, operation, c->sock, &event);
}

static size_t place_of(uint64_t serial)
{
	return serial & (((uint64_t)1 << PLACE_BITS) - 1);
}

static struct connection *find(const struct inbox *in, uint64_t serial)
{
	size_t i = place_of(serial);
	return i < in->room && in->connection[i] && in->connection[i]->serial == serial ? in->connection[i] : NULL;
}

/* Make room for connection number in->vacant. */
static int make_room(struct inbox *in)
{
	while (in->vacant < in->room && in->connection[in->vacant])
		in->vacant++;
	if (in->vacant < in->room)
		return 0;
	size_t room = in->room ? 2 * in->room : 1;
	struct connection **grown = room >> PLACE_BITS ? NULL : realloc(in->connection, room * sizeof(void *));
	if (!grown)
		return -1;
	memset(grown + in->room, 0, (room - in->room) * sizeof(void *));
	in->connection = grown;
	in->room = room;
	return 0;
}

static int connection_add(struct inbox *in, int sock, bool ours, struct peer peer)
{
	struct connection *c = make_room(in) == 0 ? malloc(sizeof *c) : NULL;
	struct share *share = c ? share_join(&in->shares, peer.uid) : NULL;
	if (!share) {
		free(c);
		return -1;
	}
	*c = (struct connection){.sock = sock, .serial = ++in->serial << PLACE_BITS | in->vacant, .ours = ours, .peer = peer,
	                         .share = share};
	if (watch(in, c, EPOLL_CTL_ADD, false) == -1) {
		share_leave(&in->shares, share);
		free(c);
		return -1;
	}
	in->connection[in->vacant] = c;
	in->count++;
	return 0;
}

void delivery_free(struct delivery *d)
{
	set_close(&d->set);
	free(d->text);
	*d = (struct delivery){0};
}

void delivery_close(struct delivery *d, struct closer *c)
{
	closer_trim(c, &d->set, 0, d->peer.uid);
	delivery_free(d);
}

static size_t gathered(const struct connection *c)
{
	return c->begun.set.count + c->records.fds.count;
}

/* Charge to C's uid what C has gathered. */
static void charge(struct connection *c)
{
	size_t fds = gathered(c), bytes = c->records.end - c->records.start;
	c->share->fds += fds - c->fds;
	c->share->bytes += bytes - c->bytes;
	c->fds = fds;
	c->bytes = bytes;
}

static void let_go(const struct inbox *in, struct connection *c)
{
	closer_trim(in->closer, &c->begun.set, 0, c->peer.uid);
	closer_trim(in->closer, &c->records.fds, 0, c->peer.uid);
	delivery_free(&c->begun);
	records_free(&c->records);
	charge(c);
}

/* Forget C. Nothing more can be in its queue if end of file was READ. */
static void connection_drop(struct inbox *in, struct connection *c, bool read)
{
	let_go(in, c);
	leave_queue(c);
	/* Kernel: a socket of which there is another copy, as in a process that begins, stays watched when it is closed (epoll(7)). */
	epoll_ctl(in->epoll, EPOLL_CTL_DEL, c->sock, NULL);
	if (c->ours && read)
		close(c->sock);
	else if (c->ours)
		closer_hang_up(in->closer, c->sock, c->peer.uid);
	in->channels -= c->channel;
	size_t i = place_of(c->serial);
	in->connection[i] = NULL;
	if (i < in->vacant)
		in->vacant = i;
	in->count--;
	share_leave(&in->shares, c->share);
	free(c);
}

/* A datagram stands alone: a set that goes on in another, whose sender may be another, does not exist. */
static void restart_datagram(const struct inbox *in, struct connection *c)
{
	c->form = FORM_UNKNOWN;
	if (c->queue == &in->ahead)
		leave_queue(c);
	let_go(in, c);
}

/* C is over; a datagram socket is everybody's, and stays. */
static void connection_end(struct inbox *in, struct connection *c)
{
	if (in->at->type == SOCK_DGRAM)
		restart_datagram(in, c);
	else
		connection_drop(in, c, false);
}

int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, struct closer *closer, int sigfd)
{
	*in = (struct inbox){.at = at, .closer = closer, .paused = NOBODY, .sigfd = sigfd,
	                     .epoll = epoll_create1(EPOLL_CLOEXEC)};
	door_open(&in->door, at, allow, closer);
	if (in->epoll == -1)
		return -1;
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
	/* A socket that the caller gave needs no check, but COMMAND may know who made it. */
	if (in->at->kind != END_EXEC && in->at->type != SOCK_DGRAM && peer_of(in->at->fd, &peer) == -1)
		return -1;
	return connection_add(in, in->at->fd, false, peer);
}

bool inbox_over(const struct inbox *in)
{
	return (!in->at->listens || in->door.fd == -1) && in->count == 0;
}

void inbox_close(struct inbox *in)
{
	for (size_t i = 0; i < in->room; i++)
		if (in->connection[i])
			connection_drop(in, in->connection[i], false);
	free(in->connection);
	if (in->epoll != -1)
		close(in->epoll);
	*in = (struct inbox){.at = in->at, .epoll = -1, .sigfd = -1};
}

/* ---- shares ---- */

/* Has a uid more than it may have? */
static bool over_share(const struct inbox *in, const struct share *s)
{
	return in->share && (s->connections + s->fds > in->share || s->connections > CONNECTIONS_OF_UID ||
	                     s->bytes > BYTES_OF_UID);
}

/* That is to be told of once, until the uid has less than half of its share again. Is it now? */
static bool tell_share(const struct inbox *in, struct share *s, bool full)
{
	size_t held = s->connections + s->fds;
	bool told = s->told && 2 * held >= (in->share < CONNECTIONS_OF_UID ? in->share : CONNECTIONS_OF_UID);
	s->told = full || told;
	return full && !told;
}

/* ---- answers ---- */

/* Kernel: a line this short is sent as a whole or not at all (unix_stream_sendmsg). */
static int answer(const struct connection *c, const struct record *r)
{
	return record_send(c->sock, r, NULL, AT_ONCE);
}

bool inbox_has(const struct inbox *in, uint64_t serial)
{
	return find(in, serial);
}

int inbox_answer(struct inbox *in, uint64_t serial, enum record_word word, uint64_t id, const char *why)
{
	struct connection *c = find(in, serial);
	if (!c)
		return -1;
	if (answer(c, &(struct record){.word = word, .id = id, .why = why}) == 0)
		return 0;
	connection_end(in, c);
	return -1;
}

bool inbox_is_channel(const struct inbox *in, uint64_t serial)
{
	const struct connection *c = find(in, serial);
	return c && c->channel;
}

static void offer(struct inbox *in, struct connection *c, size_t slots)
{
	c->promised += slots;
	if (answer(c, &(struct record){.word = RECORD_SLOTS, .slots = slots}) == -1)
		connection_end(in, c);
}

void inbox_offer(struct inbox *in, uint64_t serial, size_t slots, size_t most)
{
	struct connection *c = find(in, serial);
	if (!c)
		return;
	size_t left = c->promised < most ? most - c->promised : 0;
	c->most = most;
	offer(in, c, slots < left ? slots : left);
}

void inbox_offer_one(struct inbox *in)
{
	for (size_t i = 0, seen = 0; seen < in->channels; i++) {
		struct connection *c = in->connection[i];
		seen += c && c->channel;
		if (c && c->promised < c->most) {
			offer(in, c, 1);
			return;
		}
	}
}

void inbox_drop(struct inbox *in, uint64_t serial)
{
	struct connection *c = find(in, serial);
	if (c)
		connection_end(in, c);
}

/* ---- reading: each returns true where there is something to tell, in *EVENT and *D; else C is still there ---- */

static bool admit(struct inbox *in, struct delivery *d, enum inbox_event *event)
{
	int sock = door_accept(&in->door, &d->peer);
	if (sock == -1) {
		*event = errno == ESHUTDOWN ? INBOX_GONE : INBOX_REFUSED;
		return errno == ESHUTDOWN || errno == EACCES;
	}
	if (connection_add(in, sock, true, d->peer) == -1) {
		in->door.resting = deadline_in(REST_MS);
		closer_hang_up(in->closer, sock, d->peer.uid);
		return false;
	}
	struct connection *c = in->connection[in->vacant];
	bool full = over_share(in, c->share), tell = tell_share(in, c->share, full);
	if (full)
		connection_drop(in, c, false);
	*event = INBOX_EXCESS;
	return tell;
}

/* Close C, and tell it WHY, whichever form it speaks. */
static void turn_away(struct inbox *in, struct connection *c, const char *why, struct delivery *d)
{
	if (!d->text) /* a refusal is not answered by another */
		answer(c, &(struct record){.word = RECORD_REFUSED, .why = why});
	d->peer = c->peer;
	connection_end(in, c);
}

/* C did, or asked for, what cannot be. */
static bool failed(struct inbox *in, struct connection *c, int error, struct delivery *d, enum inbox_event *event)
{
	turn_away(in, c, strerror(error), d);
	d->error = error;
	*event = INBOX_FAILED;
	return true;
}

/* Has C gathered what its uid has no share for? If not, the rest may come, for a while. */
static bool exceeds(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	charge(c);
	if (!in->share || !c->ours)
		return false;
	if (!gathered(c))
		c->until = 0;
	else if (!c->until)
		c->until = deadline_in(UNFINISHED_MS);
	if (c->until)
		in->check = in->check ? sooner(in->check, c->until) : c->until;
	if (!over_share(in, c->share))
		return false;
	turn_away(in, c, c->share->bytes > BYTES_OF_UID ? "too many bytes of your uid wait here"
	                                                : "too many descriptors of your uid wait here", d);
	*event = INBOX_EXCESS;
	return true;
}

/* The peer has closed. */
static bool ended(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	*event = gathered(c) ? INBOX_SHORT : c->delivered ? INBOX_ENDED : INBOX_EMPTY;
	if (*event == INBOX_SHORT)
		answer(c, &(struct record){.word = RECORD_REFUSED, .why = "too few descriptors came"});
	d->peer = c->peer;
	connection_drop(in, c, true);
	return true;
}

/* Something of C reaches the caller, and more may have been read. */
static void delivered(struct inbox *in, struct connection *c)
{
	c->delivered = true;
	charge(c);
	if (c->form == FORM_RECORD && c->queue != &in->parked)
		queue_up(&in->ahead, c);
}

/* Hand what C has gathered to the caller. */
static bool deliver(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	struct peer peer = d->peer;
	c->until = 0;
	*d = c->begun;
	d->peer = peer;
	d->connection = c->serial;
	d->sock = c->sock;
	c->begun = (struct delivery){0};
	delivered(in, c);
	*event = INBOX_DELIVERY;
	return true;
}

/* Keep the text that came with the first of a set's messages. */
static int keep_text(struct delivery *set, const char *text, size_t len)
{
	if (set->text)
		return 0;
	set->text = malloc(len ? len : 1);
	if (!set->text)
		return -1;
	if (len)
		memcpy(set->text, text, len);
	set->len = len;
	return 0;
}

/* A set's record: its descriptors are the first of C's stream. Returns errno's value or 0. */
static int add_record(struct connection *c, const struct record *r)
{
	struct set *set = &c->begun.set;
	size_t before = set->count;
	const char *twice;
	if (!r->fds || set_move(set, &c->records.fds, r->fds) == -1)
		return r->fds ? ENOMEM : EPROTO;
	if ((r->names && set_name(set, before, r->names) == -1) ||
	    keep_text(&c->begun, r->text ? r->text : "", r->text_len) == -1)
		return errno;
	c->begun.id = r->id;
	return r->more || !set_repeats(set, false, &twice) ? 0 : EPROTO;
}

static bool is_request(const struct record *r)
{
	return r->word == RECORD_GET || r->word == RECORD_LIST || r->word == RECORD_DROP;
}

/* Hand a request to the caller. */
static bool request(struct inbox *in, struct connection *c, const struct record *r, struct delivery *d,
                    enum inbox_event *event)
{
	d->request = (int)r->word;
	const char *twice;
	int result = r->names ? set_add(&d->set, -1, NULL) : 0;
	for (const char *p = r->names; result == 0 && p && (p = strchr(p, ',')); p++)
		result = set_add(&d->set, -1, NULL);
	if (result == -1 || (r->names && set_name(&d->set, 0, r->names) == -1) || set_repeats(&d->set, false, &twice)) {
		set_forget(&d->set);
		d->error = EPROTO;
	}
	d->id = r->id;
	d->connection = c->serial;
	d->sock = c->sock;
	d->peer = c->peer;
	delivered(in, c);
	*event = INBOX_REQUEST;
	return true;
}

/* Parse what C has sent, up to the end of a set. */
static bool read_records(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	struct record r;
	int got, error = 0;
	while ((got = records_next(&c->records, &r)) == 1) {
		if (r.word == RECORD_HELLO && !c->begun.set.count) {
			in->channels += !c->channel;
			c->channel = true;
			d->connection = c->serial;
			d->peer = c->peer;
			delivered(in, c); /* a dispatcher may come and go without giving anything */
			*event = INBOX_HELLO;
			return true;
		}
		if (in->requests && !c->begun.set.count && is_request(&r))
			return request(in, c, &r, d, event);
		if (r.word == RECORD_REFUSED) { /* what we asked for */
			d->text = strdup(r.why ? r.why : "refused");
			return failed(in, c, EACCES, d, event);
		}
		error = r.word == RECORD_SET ? add_record(c, &r) : EPROTO;
		if (error)
			break;
		if (!r.more) {
			d->peer = c->peer;
			return deliver(in, c, d, event);
		}
	}
	return got == 0 ? exceeds(in, c, d, event) : failed(in, c, got == -1 ? EPROTO : error, d, event);
}

/* A message with N bytes of DATA has come from C, and its descriptors are in TO, where BEFORE were already. */
static bool read_message(struct inbox *in, struct connection *c, const char *data, size_t n, struct set *to, size_t before,
                         struct delivery *d, enum inbox_event *event)
{
	if (c->form == FORM_UNKNOWN)
		c->form = is_record(data, n) ? FORM_RECORD : FORM_PLAIN;
	if (c->form == FORM_RECORD) {
		struct set none = {0}, *first = to == &c->begun.set ? to : &none;
		return records_add(&c->records, data, n, first) == -1 ? failed(in, c, errno, d, event)
		                                                      : read_records(in, c, d, event);
	}
	if (c->begun.set.count == before)
		return false;
	if (keep_text(&c->begun, data, n) == -1)
		return failed(in, c, errno, d, event);
	return c->begun.set.count >= in->gather && deliver(in, c, d, event);
}

/* The same from a datagram socket, which stays whatever comes: each one is judged alone, by its sender's credentials first. */
static bool read_datagram(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	char data[MESSAGE_MAX];
	d->peer = (struct peer){.uid = endpoint_given(in->at) ? 0 : NOBODY};
	ssize_t n = rights_receive(c->sock, &c->begun.set, data, sizeof data, &d->peer);
	int error = errno;
	if (n == -1 && error == EAGAIN)
		return false;
	c->peer = d->peer;
	/* Where nothing was received there is nobody to judge. */
	bool allowed = endpoint_given(in->at) || (n == -1 && d->peer.uid == NOBODY) || peer_allowed(in->door.allow, &d->peer, -1);
	bool tell = true;
	if (!allowed) {
		*event = INBOX_REFUSED;
		tell = door_tells(&in->door, d->peer.uid);
	} else if (n == -1) {
		d->error = error;
		*event = INBOX_FAILED;
	} else {
		tell = (n || c->begun.set.count) && read_message(in, c, data, (size_t)n, &c->begun.set, 0, d, event);
	}
	restart_datagram(in, c);
	return tell;
}

/* Read once from C. */
static bool read_one(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	struct set *to = c->form == FORM_RECORD ? &c->records.fds : &c->begun.set;
	size_t before = to->count;
	char data[MESSAGE_MAX];
	if (in->at->type == SOCK_DGRAM)
		return read_datagram(in, c, d, event);
	d->peer = c->peer;
	ssize_t n = rights_receive(c->sock, to, data, sizeof data, NULL);
	if (n == -1 && errno == EAGAIN)
		return false;
	if (n == -1)
		return failed(in, c, errno, d, event);
	/* An empty packet can carry descriptors; without them it looks like end of file. */
	if (n == 0 && to->count == before)
		return ended(in, c, d, event);
	return read_message(in, c, data, (size_t)n, to, before, d, event);
}

/* ---- the loop ---- */

/* Is nothing to be taken from C now? */
static bool held(const struct inbox *in, const struct connection *c, bool hold)
{
	return hold || (c->ours && c->peer.uid == in->paused);
}

/* Read from C, which is parked: first what was read of it before. */
static bool read_parked(struct inbox *in, struct connection *c, struct delivery *d, enum inbox_event *event)
{
	queue_up(&in->parked, c);
	if ((c->records.start != c->records.end && read_records(in, c, d, event)) || read_one(in, c, d, event))
		return true;
	leave_queue(c);
	watch(in, c, EPOLL_CTL_MOD, false);
	return false;
}

/* C has something for us, or has closed. While no message is to be taken: a peer that has closed, and has nothing more
 * for us, is waiting for our end of file, which says that what it sent was taken. */
static bool look(struct inbox *in, struct connection *c, bool hold, struct delivery *d, enum inbox_event *event)
{
	if (!held(in, c, hold))
		return c->queue == &in->parked ? read_parked(in, c, d, event) : read_one(in, c, d, event);
	if (!c->parked) {
		queue_up(&in->parked, c);
		watch(in, c, EPOLL_CTL_MOD, true);
		return false;
	}
	return c->records.start == c->records.end && !rights_waiting(c->sock) && read_one(in, c, d, event);
}

/* One that epoll(7) names: in turn, so that a busy connection delays nobody else for long. */
static bool look_at_one(struct inbox *in, bool hold, struct delivery *d, enum inbox_event *event)
{
	struct epoll_event ready;
	if (epoll_wait(in->epoll, &ready, 1, 0) != 1)
		return false;
	struct connection *c = find(in, ready.data.u64);
	return c && look(in, c, hold, d, event);
}

/* The first of Q that is not held. */
static struct connection *first_of(const struct inbox *in, const struct queue *q, bool hold)
{
	struct connection *c = hold ? NULL : q->first;
	while (c && held(in, c, hold))
		c = c->next;
	return c;
}

/* A connection whose set should have been finished by now. While nobody reads it, it is not late. */
static bool unfinished(struct inbox *in, bool hold, struct delivery *d, enum inbox_event *event)
{
	if (!in->check || time_left(in->check))
		return false;
	in->check = 0;
	for (size_t i = 0; i < in->room; i++) {
		struct connection *c = in->connection[i];
		if (!c || !c->until)
			continue;
		if (c->parked || held(in, c, hold))
			c->until = deadline_in(UNFINISHED_MS);
		in->check = in->check ? sooner(in->check, c->until) : c->until;
		if (!time_left(c->until))
			return failed(in, c, ETIMEDOUT, d, event);
	}
	return false;
}

enum { PARKED, READY, ARRIVING, SOURCES };

/* Wait, and look at each source of events in turn. Returns as poll(2), or 1 where there is something to tell. */
static int look_around(struct inbox *in, bool hold, int64_t until, struct delivery *d, enum inbox_event *event, bool *tell)
{
	struct connection *parked = first_of(in, &in->parked, hold);
	bool accepts = !door_rests(&in->door) && in->at->listens && !hold;
	struct pollfd p[] = {{.fd = in->sigfd, .events = POLLIN}, {.fd = accepts ? in->door.fd : -1, .events = POLLIN},
	                     {.fd = in->epoll, .events = POLLIN}};
	until = sooner(until, sooner(in->door.resting ? in->door.resting : NEVER, in->check ? in->check : NEVER));
	int ready = await_any(p, 3, parked ? 0 : until);
	*event = INBOX_SIGNAL;
	*tell = ready > 0 && p[0].revents;
	/* Connections that have closed, before others come in their place; but whoever is busy cannot keep others out. */
	unsigned first = in->turn % 8 == 0 ? ARRIVING : in->turn % 2 ? READY : PARKED;
	in->turn++;
	for (unsigned k = 0; ready >= 0 && !*tell && k < SOURCES; k++) {
		unsigned source = (first + k) % SOURCES;
		if (source == PARKED && (parked = first_of(in, &in->parked, hold)))
			*tell = read_parked(in, parked, d, event);
		else if (source == ARRIVING && p[1].revents)
			*tell = admit(in, d, event);
		else if (source == READY && p[2].revents)
			*tell = look_at_one(in, hold, d, event);
	}
	return parked ? 1 : ready;
}

enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline)
{
	enum inbox_event event = INBOX_SIGNAL;
	struct connection *c;
	bool tell = false;
	*d = (struct delivery){0};
	while ((c = first_of(in, &in->ahead, hold))) {
		leave_queue(c);
		if (read_records(in, c, d, &event))
			return event;
	}
	for (;;) {
		int left = time_left(deadline);
		in->late = left ? 0 : in->late + 1;
		if (in->late > LATE_MOST)
			return INBOX_TIMEOUT;
		if (unfinished(in, hold, d, &event))
			return event;
		int ready = look_around(in, hold, deadline, d, &event, &tell);
		if (tell)
			return event;
		if (ready == 0 && left == 0)
			return INBOX_TIMEOUT;
	}
}
