/* SPDX-License-Identifier: ISC */
/* Messages from whoever connects to a SOCKET: accepts, checks each peer, and gathers the
 * descriptors that each sends, so that a silent or broken peer costs only its own connection. */
#include "fdkit.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct connection {
	int sock;
	unsigned serial;
	bool ours;              /* accepted here, to be closed here */
	bool delivered;         /* something of it has reached the caller */
	bool more;              /* what was read of it may hold another record */
	bool unread;            /* it has closed, and messages are left for when there is no HOLD */
	bool channel;           /* a dispatcher's */
	bool told;              /* it was said that its uid has its share */
	int64_t until;          /* when the rest of a set must have come, 0 for none */
	size_t promised, most;  /* to a dispatcher: sets at once; what it may be promised */
	enum { FORM_UNKNOWN, FORM_PLAIN, FORM_RECORD } form;
	struct peer peer;
	struct records records; /* record form: what is not parsed yet */
	struct delivery set;    /* gathered so far */
};

enum {
	REST_MS = 100,
	UNFINISHED_MS = 10000,  /* for the rest of a set: it may hold the very end whose closing we wait for */
	LATE_MOST = 64,         /* rounds after the deadline: who never stops sending does not put it off */
	ACCEPTS_MOST = 64,      /* at a time, of those that get nothing: a flood is to cost others little */
};

static int connection_add(struct inbox *in, int sock, bool ours, struct peer peer)
{
	if (in->count == in->room) {
		size_t room = in->room ? 2 * in->room : 1;
		struct connection *grown = realloc(in->connection, room * sizeof *grown);
		if (!grown)
			return -1;
		in->connection = grown;
		in->room = room;
	}
	in->connection[in->count++] = (struct connection){
		.sock = sock, .serial = ++in->serial, .ours = ours, .peer = peer};
	return 0;
}

void delivery_free(struct delivery *d)
{
	names_free(d->name, d->names);
	fds_free(&d->fds);
	free(d->text);
	*d = (struct delivery){0};
}

static void connection_drop(struct inbox *in, size_t i)
{
	struct connection *c = &in->connection[i];
	delivery_free(&c->set);
	records_free(&c->records);
	if (c->ours)
		close(c->sock);
	*c = in->connection[--in->count];
}

/* A datagram stands alone: a set that goes on in another, whose sender may be another, does not exist. */
static void restart_datagram(struct connection *c)
{
	c->form = FORM_UNKNOWN;
	c->more = false;
	delivery_free(&c->set);
	records_free(&c->records);
}

/* Connection I is over; a datagram socket is everybody's, and stays. */
static void connection_end(struct inbox *in, size_t i)
{
	if (in->at->type == SOCK_DGRAM)
		restart_datagram(&in->connection[i]);
	else
		connection_drop(in, i);
}

int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, int sigfd)
{
	*in = (struct inbox){.at = at, .allow = allow, .paused = NOBODY, .sigfd = sigfd};
	return at->listens || at->fd == -1 ? 0 : inbox_attach(in);
}

int inbox_attach(struct inbox *in)
{
	struct peer peer = {0};
	/* A socket that the caller gave needs no check, but COMMAND may know who made it. */
	if (in->at->kind != END_EXEC && in->at->type != SOCK_DGRAM && peer_of(in->at->fd, &peer) == -1)
		return -1;
	return connection_add(in, in->at->fd, false, peer);
}

bool inbox_over(const struct inbox *in)
{
	return !in->at->listens && in->count == 0;
}

void inbox_close(struct inbox *in)
{
	while (in->count)
		connection_drop(in, in->count - 1);
	free(in->connection);
	*in = (struct inbox){.at = in->at, .sigfd = -1};
}

/* ---- shares ---- */

size_t share_of_uid(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)(limit.rlim_cur / 4) : 0;
}

static size_t gathered(const struct connection *c)
{
	return c->set.fds.count + c->records.fds.count;
}

/* How many of our descriptors UID holds, by connections and by what they have gathered. */
static size_t held_by(const struct inbox *in, uid_t uid)
{
	size_t held = 0;
	for (size_t i = 0; i < in->count; i++)
		if (in->connection[i].ours && in->connection[i].peer.uid == uid)
			held += 1 + gathered(&in->connection[i]);
	return held;
}

/* May UID have no further connection? A flood of them is to be told of once, until UID holds less than half
 * of its share again. */
static bool has_share(struct inbox *in, uid_t uid, bool *tell)
{
	size_t held = in->share ? held_by(in, uid) : 0;
	bool full = in->share && held >= in->share, told = false;
	for (size_t i = 0; in->share && i < in->count; i++) {
		struct connection *c = &in->connection[i];
		if (c->peer.uid != uid)
			continue;
		told = told || c->told;
		c->told = full || (c->told && held >= in->share / 2);
	}
	*tell = full && !told;
	return full;
}

/* ---- answers ---- */

/* Kernel: a line this short is sent as a whole or not at all (unix_stream_sendmsg). */
static int answer(const struct connection *c, const struct record *r)
{
	char line[RECORD_MAX];
	ssize_t len = record_format(line, sizeof line, r);
	return rights_send(c->sock, NULL, 0, line, (size_t)len) == len ? 0 : -1;
}

static size_t find(const struct inbox *in, unsigned serial)
{
	size_t i = 0;
	while (i < in->count && in->connection[i].serial != serial)
		i++;
	return i;
}

bool inbox_has(const struct inbox *in, unsigned serial)
{
	return find(in, serial) < in->count;
}

int inbox_answer(struct inbox *in, unsigned serial, enum record_word word, uint64_t id, const char *why)
{
	size_t i = find(in, serial);
	if (i == in->count)
		return -1;
	if (answer(&in->connection[i], &(struct record){.word = word, .id = id, .why = why}) == 0)
		return 0;
	inbox_drop(in, serial);
	return -1;
}

bool inbox_is_channel(const struct inbox *in, unsigned serial)
{
	size_t i = find(in, serial);
	return i < in->count && in->connection[i].channel;
}

static void offer(struct inbox *in, size_t i, size_t slots)
{
	in->connection[i].promised += slots;
	if (answer(&in->connection[i], &(struct record){.word = RECORD_SLOTS, .slots = slots}) == -1)
		connection_end(in, i);
}

void inbox_offer(struct inbox *in, unsigned serial, size_t slots, size_t most)
{
	size_t i = find(in, serial);
	if (i == in->count)
		return;
	size_t promised = in->connection[i].promised, left = promised < most ? most - promised : 0;
	in->connection[i].most = most;
	offer(in, i, slots < left ? slots : left);
}

void inbox_offer_one(struct inbox *in)
{
	for (size_t i = 0; i < in->count; i++)
		if (in->connection[i].promised < in->connection[i].most) {
			offer(in, i, 1);
			return;
		}
}

void inbox_drop(struct inbox *in, unsigned serial)
{
	size_t i = find(in, serial);
	if (i < in->count)
		connection_end(in, i);
}

/* ---- reading: each returns true where there is something to tell, in *EVENT and *D ---- */

static bool accept_one(struct inbox *in, struct delivery *d, enum inbox_event *event)
{
	for (int i = 0; i < ACCEPTS_MOST; i++) {
		bool tell = true;
		int sock = endpoint_accept(in->at);
		/* Any other error is the one connection's, which is gone. */
		if (sock == -1 && out_of_resources(errno))
			in->resting = deadline_in(REST_MS);
		if (sock == -1)
			return false;
		bool allowed = peer_admitted(in->allow, sock, &d->peer);
		bool excess = allowed && has_share(in, d->peer.uid, &tell);
		if (allowed && !excess && connection_add(in, sock, true, d->peer) == 0)
			return false;
		close(sock);
		if (allowed && !excess) {
			in->resting = deadline_in(REST_MS);
			return false;
		}
		*event = excess ? INBOX_EXCESS : INBOX_REFUSED;
		if (tell)
			return true;
	}
	return false;
}

/* Close connection I, and tell it WHY, whichever form it speaks. */
static void turn_away(struct inbox *in, size_t i, const char *why, struct delivery *d)
{
	const struct connection *c = &in->connection[i];
	if (!d->text) /* a refusal is not answered by another */
		answer(c, &(struct record){.word = RECORD_REFUSED, .why = why});
	d->peer = c->peer;
	connection_end(in, i);
}

/* Connection I did, or asked for, what cannot be. */
static bool failed(struct inbox *in, size_t i, int error, struct delivery *d, enum inbox_event *event)
{
	turn_away(in, i, strerror(error), d);
	d->error = error;
	*event = INBOX_FAILED;
	return true;
}

/* Has connection I gathered what its uid has no share for? If not, the rest may come. */
static bool exceeds(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	struct connection *c = &in->connection[i];
	bool limited = in->share && c->ours && gathered(c);
	c->until = limited ? deadline_in(UNFINISHED_MS) : 0;
	if (!limited || held_by(in, c->peer.uid) <= in->share)
		return false;
	turn_away(in, i, "too many descriptors of your uid wait here", d);
	*event = INBOX_EXCESS;
	return true;
}

/* The peer has closed. */
static bool ended(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	const struct connection *c = &in->connection[i];
	*event = gathered(c) ? INBOX_SHORT : c->delivered ? INBOX_ENDED : INBOX_EMPTY;
	d->peer = c->peer;
	if (*event == INBOX_SHORT)
		turn_away(in, i, "too few descriptors came", d);
	else
		connection_drop(in, i);
	return true;
}

/* Hand what connection C has gathered to the caller. */
static bool deliver(struct connection *c, struct delivery *d, enum inbox_event *event)
{
	struct peer peer = d->peer;
	c->until = 0;
	*d = c->set;
	d->peer = peer;
	d->connection = c->serial;
	d->sock = c->sock;
	c->set = (struct delivery){0};
	c->delivered = true;
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
	struct delivery *set = &c->set;
	size_t before = set->fds.count;
	if (!r->fds || fds_move(&set->fds, &c->records.fds, r->fds) == -1)
		return r->fds ? ENOMEM : EPROTO;
	if (names_append(&set->name, before, r->names, r->fds) == -1)
		return errno;
	set->names = set->name ? set->fds.count : 0;
	set->id = r->id;
	if (keep_text(set, r->text ? r->text : "", r->text_len) == -1)
		return errno;
	const char *twice;
	return r->more || !names_repeat(set->name, set->fds.count, &twice) ? 0 : EPROTO;
}

static bool is_request(const struct record *r)
{
	return r->word == RECORD_GET || r->word == RECORD_LIST || r->word == RECORD_DROP;
}

/* Hand a request to the caller. */
static bool request(struct connection *c, const struct record *r, struct delivery *d, enum inbox_event *event)
{
	d->request = (int)r->word;
	d->names = r->names != NULL;
	for (const char *p = r->names; p && *p; p++)
		d->names += *p == ',';
	const char *twice;
	if (names_append(&d->name, 0, r->names, d->names) == -1 || names_repeat(d->name, d->names, &twice)) {
		names_free(d->name, d->names);
		d->name = NULL;
		d->names = 0;
		d->error = EPROTO;
	}
	d->id = r->id;
	d->connection = c->serial;
	d->sock = c->sock;
	c->delivered = true;
	*event = INBOX_REQUEST;
	return true;
}

/* Parse what connection I has sent, up to the end of a set. */
static bool read_records(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	struct connection *c = &in->connection[i];
	struct record r;
	int got, error = 0;
	c->more = false;
	while ((got = records_next(&c->records, &r)) == 1) {
		if (r.word == RECORD_HELLO && !c->set.fds.count) {
			c->delivered = true; /* a dispatcher may come and go without giving anything */
			c->channel = true;
			c->more = true;
			d->connection = c->serial;
			d->peer = c->peer;
			*event = INBOX_HELLO;
			return true;
		}
		if (in->requests && !c->set.fds.count && is_request(&r)) {
			c->more = true;
			d->peer = c->peer;
			return request(c, &r, d, event);
		}
		if (r.word == RECORD_REFUSED) { /* what we asked for */
			d->text = strdup(r.why ? r.why : "refused");
			c->form = FORM_PLAIN;
			return failed(in, i, EACCES, d, event);
		}
		error = r.word == RECORD_SET ? add_record(c, &r) : EPROTO;
		if (error)
			break;
		if (!r.more) {
			c->more = true;
			d->peer = c->peer;
			return deliver(c, d, event);
		}
	}
	return got == 0 ? exceeds(in, i, d, event) : failed(in, i, got == -1 ? EPROTO : error, d, event);
}

/* Read once from connection I. */
static bool read_one(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	struct connection *c = &in->connection[i];
	bool datagrams = in->at->type == SOCK_DGRAM;
	struct fds *to = c->form == FORM_RECORD ? &c->records.fds : &c->set.fds;
	size_t before = to->count;
	static char data[MESSAGE_MAX]; /* what is not touched costs nothing, and the stack stays shallow */
	d->peer = c->peer;
	data[0] = '\0';
	ssize_t n = rights_receive(c->sock, to, data, MESSAGE_MAX, datagrams ? &d->peer : NULL);
	if (n == -1 && errno == EAGAIN)
		return false;
	if (datagrams)
		c->peer = d->peer;
	if (n == -1) {
		/* The bytes of what did not fit have been read: do they say that somebody waits for an answer? */
		if (errno == EMFILE && !datagrams && is_record(data, MESSAGE_MAX))
			c->form = FORM_RECORD;
		int error = errno;
		if (!datagrams)
			return failed(in, i, error, d, event);
		d->error = error;
		*event = INBOX_FAILED;
		return true;
	}
	/* An empty packet can carry descriptors; without them it looks like end of file, and on a
	 * datagram socket it is just that: empty. */
	if (n == 0 && to->count == before)
		return datagrams ? false : ended(in, i, d, event);
	if (datagrams && !endpoint_given(in->at) && !peer_allowed(in->allow, &d->peer, -1)) {
		fds_trim(to, before);
		*event = INBOX_REFUSED;
		return true;
	}
	if (c->form == FORM_UNKNOWN)
		c->form = is_record(data, (size_t)n) ? FORM_RECORD : FORM_PLAIN;
	if (c->form == FORM_RECORD) {
		struct fds none = {0}, *first = to == &c->set.fds ? to : &none;
		bool tell = records_add(&c->records, data, (size_t)n, first) == -1 ? failed(in, i, errno, d, event)
		                                                                     : read_records(in, i, d, event);
		if (datagrams)
			restart_datagram(&in->connection[i]);
		return tell;
	}
	if (datagrams)
		c->form = FORM_UNKNOWN;
	if (c->set.fds.count == before)
		return false;
	if (keep_text(&c->set, data, (size_t)n) == -1)
		return failed(in, i, errno, d, event);
	return c->set.fds.count >= in->gather && deliver(c, d, event);
}

/* ---- the loop ---- */

/* Is nothing to be taken from C now? */
static bool held(const struct inbox *in, const struct connection *c, bool hold)
{
	return hold || (c->ours && c->peer.uid == in->paused);
}

/* The descriptors to wait for, in P: signals, then the listening socket, then connections. */
static size_t poll_set(struct inbox *in, struct pollfd *p, bool hold)
{
	size_t n = 0;
	p[n++] = (struct pollfd){.fd = in->sigfd, .events = POLLIN};
	bool accepting = in->at->listens && !hold && !in->resting;
	p[n++] = (struct pollfd){.fd = accepting ? in->at->fd : -1, .events = POLLIN};
	for (size_t i = 0; i < in->count; i++) {
		struct connection *c = &in->connection[i];
		bool waits = held(in, c, hold);
		c->unread = c->unread && waits;
		p[n++] = (struct pollfd){.fd = c->unread ? -1 : c->sock, .events = waits ? POLLRDHUP : POLLIN};
	}
	return n;
}

/* While no message is to be taken: whoever has closed, and has nothing more for us, is waiting for our
 * end of file, which says that what it sent was taken. */
static bool look_for_end(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	const struct connection *c = &in->connection[i];
	if (c->records.start == c->records.end && !rights_waiting(c->sock))
		return read_one(in, i, d, event);
	in->connection[i].unread = true;
	return false;
}

/* A connection whose set should have been finished by now. While nobody reads none is late. */
static bool unfinished(struct inbox *in, bool hold, struct delivery *d, enum inbox_event *event)
{
	for (size_t i = 0; i < in->count; i++) {
		struct connection *c = &in->connection[i];
		if (c->until && held(in, c, hold))
			c->until = deadline_in(UNFINISHED_MS);
		if (c->until && !time_left(c->until))
			return failed(in, i, ETIMEDOUT, d, event);
	}
	return false;
}

/* When there is something to do though no descriptor says so. */
static int64_t next_waking(const struct inbox *in)
{
	int64_t next = in->resting ? in->resting : NEVER;
	for (size_t i = 0; i < in->count; i++)
		if (in->connection[i].until)
			next = sooner(next, in->connection[i].until);
	return next;
}

/* Connections of which more is read than was told. */
static bool read_ahead(struct inbox *in, bool hold, struct delivery *d, enum inbox_event *event)
{
	for (size_t i = 0; i < in->count; i++)
		if (in->connection[i].more && !held(in, &in->connection[i], hold) && read_records(in, i, d, event))
			return true;
	return false;
}

enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline)
{
	enum inbox_event event = INBOX_SIGNAL;
	*d = (struct delivery){0};
	if (read_ahead(in, hold, d, &event))
		return event;
	for (;;) {
		struct pollfd few[8], *p = few;
		int left = time_left(deadline);
		in->late = left ? 0 : in->late + 1;
		if (in->late > LATE_MOST)
			return INBOX_TIMEOUT;
		if (unfinished(in, hold, d, &event))
			return event;
		if (in->count + 2 > sizeof few / sizeof *few && !(p = malloc((in->count + 2) * sizeof *p))) {
			nap(REST_MS, deadline);
			continue;
		}
		if (in->resting && !time_left(in->resting))
			in->resting = 0;
		size_t n = poll_set(in, p, hold);
		int ready = await_any(p, n, sooner(deadline, next_waking(in)));
		bool tell = ready > 0 && p[0].revents;
		/* In turn, so that a busy connection, or many new ones, delay nobody else for long. */
		for (size_t k = 1; ready > 0 && !tell && k < n; k++) {
			size_t i = 1 + (in->turn + k) % (n - 1);
			if (!p[i].revents)
				continue;
			if (i == 1)
				tell = accept_one(in, d, &event);
			else if (held(in, &in->connection[i - 2], hold))
				tell = look_for_end(in, i - 2, d, &event);
			else
				tell = read_one(in, i - 2, d, &event);
			if (tell)
				in->turn = i - 1;
		}
		if (p != few)
			free(p);
		if (tell)
			return event;
		if (ready == 0 && left == 0)
			return INBOX_TIMEOUT;
	}
}
