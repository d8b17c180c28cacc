/* SPDX-License-Identifier: ISC */
/* Connections to workers: each to exactly one, whatever happens to workers.
 *
 * A connection that was accepted is a ticket until a worker has acknowledged it, and our copy of it is
 * open that long. The acknowledgement is sent by the process that will be the command, before it
 * executes it. So there are two cases when a worker's channel ends, and no third:
 *   - its acknowledgement is in our queue: the process exists, and the ticket is done with;
 *   - it is not: whoever would send it now gets EPIPE and does not execute anything, so the ticket can
 *     go to another worker.
 * Kernel: a stream's queue is read to its end before end of file or ECONNRESET shows, and end of file
 * shows only when every process's copy of the other end is closed (unix_stream_read_generic,
 * unix_release_sock). shutdown(SHUT_RD) and the peer's send exclude each other by the socket's lock
 * (unix_shutdown, unix_stream_sendmsg), so the cases cannot overlap when we end the channel. */
#include "fdserve_dispatch.h"
#include "closer.h"
#include "peer.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct worker {
	int sock;
	uint64_t serial;
	uid_t uid;
	size_t slots;           /* sets that it takes more; plain form: always 1 */
	size_t runs;            /* sets that it has taken, and not said to be done */
	size_t owes;            /* acknowledgements that all workers of its uid owe, */
	uint64_t turn;          /* and when one of them was last given something */
	bool full;              /* its socket is: wait for POLLOUT */
	int64_t crowded;        /* until then too many descriptors are in flight; no event tells */
	bool gone;
	bool over;              /* at end of file: nothing is queued any more */
	bool broken;            /* nothing can be sent to it, but it may still say something */
	bool given_up;          /* by us: it may still have what it has not acknowledged in its queue */
	bool mute;              /* has never said how much it takes */
	bool proved;            /* has said so, or was given something */
	bool takes;             /* has acknowledged something */
	int64_t greeted;
	struct records in;
};

struct ticket {
	int fd;                 /* our copy; -1 once acknowledged, unless doubled */
	uint64_t id;            /* its place in the array, and a number that never comes back; 0: free */
	size_t next;            /* of a free place: the next one, counted from 1 */
	bool acknowledged;      /* and kept only to be counted, or to be ended */
	bool doubled;           /* a worker that it was taken back from has another copy in its queue */
	bool returned;          /* by a worker */
	uint64_t worker;        /* serial, 0 for nobody yet */
	int64_t sent;
	struct source source;
};

enum { CROWDED_MS = 20, PLACE_BITS = 20, SLOTS_MOST = 1 << PLACE_BITS };

static void *grow(void *array, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return array;
	size_t more = *room ? 2 * *room : 16;
	void *grown = realloc(array, more * size);
	if (grown)
		*room = more;
	return grown;
}

static int say(const struct worker *w, const struct record *r, const int *fd)
{
	return record_send(w->sock, r, fd, AT_ONCE);
}

int dispatch_add(struct dispatch *d, int sock)
{
	static const struct record hello = {.word = RECORD_HELLO};
	struct peer peer = {.uid = NOBODY};
	peer_of(sock, &peer);
	struct worker *grown = grow(d->worker, d->workers, &d->worker_room, sizeof *grown);
	if (grown) {
		d->worker = grown;
		struct worker *w = &grown[d->workers];
		*w = (struct worker){.sock = sock, .serial = ++d->last_id, .uid = peer.uid, .slots = d->plain,
		                     .mute = !d->plain, .greeted = now()};
		for (size_t i = 0; i < d->workers; i++)
			if (d->worker[i].uid == w->uid) {
				w->owes = d->worker[i].owes;
				w->turn = d->worker[i].turn;
			}
		if (d->plain || say(w, &hello, NULL) == 0) {
			d->workers++;
			return 0;
		}
	}
	closer_close(d->closer, sock, peer.uid);
	return -1;
}

size_t dispatch_of_uid(const struct dispatch *d, uid_t uid)
{
	size_t n = 0;
	for (size_t i = 0; i < d->workers; i++)
		n += d->worker[i].uid == uid;
	return n;
}

bool dispatch_hopeful(const struct dispatch *d)
{
	for (size_t i = 0; i < d->workers; i++)
		if (d->worker[i].proved || d->patience == NEVER || time_left(d->worker[i].greeted + d->patience))
			return true;
	return false;
}

static bool can_take(const struct worker *w)
{
	return w->slots && !w->full && !w->broken && !w->gone && (!w->crowded || !time_left(w->crowded));
}

size_t dispatch_slots(const struct dispatch *d)
{
	size_t slots = 0;
	for (size_t i = 0; i < d->workers && slots < SLOTS_MOST; i++)
		if (can_take(&d->worker[i]))
			slots += d->worker[i].slots;
	return slots < SLOTS_MOST ? slots : SLOTS_MOST;
}

size_t dispatch_room(const struct dispatch *d)
{
	size_t slots = dispatch_slots(d);
	return slots > d->waiting ? slots - d->waiting : 0;
}

size_t dispatch_pending(const struct dispatch *d)
{
	return d->pending;
}

size_t dispatch_from(const struct dispatch *d, const struct source *source)
{
	size_t n = 0;
	for (size_t i = 0; i < d->tickets; i++)
		n += d->ticket[i].id && memcmp(&d->ticket[i].source, source, sizeof *source) == 0;
	return n;
}

/* A free place among the tickets. On failure (ENOMEM) NULL. */
static struct ticket *ticket_new(struct dispatch *d)
{
	size_t i = d->tickets;
	if (d->vacant) {
		i = d->vacant - 1;
		d->vacant = d->ticket[i].next;
	} else {
		struct ticket *grown = i >> PLACE_BITS ? NULL : grow(d->ticket, i, &d->ticket_room, sizeof *grown);
		if (!grown)
			return NULL;
		d->ticket = grown;
		d->tickets++;
	}
	d->ticket[i] = (struct ticket){.id = ++d->last_id << PLACE_BITS | i};
	return &d->ticket[i];
}

/* Close our copy, which may be the last one. Whoever had another may have set SO_LINGER: W, where not NULL, and those
 * that gave it back. */
static void ticket_close(struct dispatch *d, struct ticket *t, const struct worker *w)
{
	if (t->fd != -1)
		closer_close(d->closer, t->fd, t->returned ? NOBODY : w ? w->uid : geteuid());
	t->fd = -1;
}

static void ticket_end(struct dispatch *d, struct ticket *t, const struct worker *w)
{
	ticket_close(d, t, w);
	t->id = 0;
	t->next = d->vacant;
	d->vacant = (size_t)(t - d->ticket) + 1;
}

/* A connection waits no longer for an acknowledgement. */
static void settled(struct dispatch *d)
{
	if (--d->pending == 0)
		d->check = 0;
}

/* UID's workers owe one acknowledgement MORE, or less. */
static void owe(struct dispatch *d, uid_t uid, bool more)
{
	for (size_t i = 0; i < d->workers; i++)
		if (d->worker[i].uid == uid)
			d->worker[i].owes += more ? 1 : (size_t)-1;
}

/* Is A rather than B the one for T? One that has acknowledged something comes first where another worker has given T
 * back; then a uid that owes less; then uids in turn: so promises alone keep nothing from others. Of one uid's
 * workers the one with the most free slots. */
static bool better(const struct ticket *t, const struct worker *a, const struct worker *b)
{
	if (t->returned && a->takes != b->takes)
		return a->takes;
	if (a->uid != b->uid && a->owes != b->owes)
		return a->owes < b->owes;
	return a->uid != b->uid ? a->turn < b->turn : a->slots > b->slots;
}

/* The best worker for T; among equals, each in turn. */
static struct worker *best_for(struct dispatch *d, const struct ticket *t)
{
	struct worker *best = NULL;
	for (size_t k = 0; k < d->workers; k++) {
		struct worker *w = &d->worker[(d->turn + k) % d->workers];
		if (can_take(w) && (!best || better(t, w, best)))
			best = w;
	}
	if (best)
		d->turn = (size_t)(best - d->worker) + 1;
	return best;
}

/* Hand ticket T to a worker, if one has a slot. Returns false if none has. */
static bool hand(struct dispatch *d, struct ticket *t)
{
	struct worker *w;
	while ((w = best_for(d, t))) {
		const struct record set = {.word = RECORD_SET, .fds = 1, .id = t->id};
		int result = d->plain ? (rights_send(w->sock, &t->fd, 1, "", 1) == 1 ? 0 : -1) : say(w, &set, &t->fd);
		if (result == -1) {
			if (errno == EAGAIN)
				w->full = true;
			else if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM)
				w->crowded = deadline_in(CROWDED_MS);
			else
				w->broken = true;
			continue;
		}
		d->handed++;
		d->waiting--;
		w->proved = true;
		for (size_t i = 0; i < d->workers; i++)
			if (d->worker[i].uid == w->uid)
				d->worker[i].turn = d->handed;
		if (d->plain) {
			settled(d);
			ticket_end(d, t, w);
			return true;
		}
		w->slots--;
		owe(d, w->uid, true);
		t->worker = w->serial;
		t->sent = now();
		if (!d->check && d->patience != NEVER)
			d->check = t->sent + d->patience;
		return true;
	}
	return false;
}

int dispatch_give(struct dispatch *d, int connection, const struct source *source)
{
	struct ticket *t = ticket_new(d);
	if (!t)
		return -1;
	t->fd = connection;
	t->source = *source;
	d->waiting++;
	d->pending++;
	hand(d, t);
	return 0;
}

/* Worker W has given T back. It gets another number: none is sent twice on a channel. */
static void give_back(struct dispatch *d, const struct worker *w, struct ticket *t)
{
	t->id = ++d->last_id << PLACE_BITS | (size_t)(t - d->ticket);
	t->worker = 0;
	t->returned = true;
	d->waiting++;
	d->returned++;
	owe(d, w->uid, false);
}

/* What worker W has not acknowledged is to be handed on. What it has is not our matter any more. */
static void take_back(struct dispatch *d, const struct worker *w)
{
	for (size_t i = 0; i < d->tickets; i++) {
		struct ticket *t = &d->ticket[i];
		if (!t->id || t->worker != w->serial)
			continue;
		if (t->acknowledged) {
			ticket_end(d, t, w);
		} else {
			t->doubled = t->doubled || w->given_up;
			give_back(d, w, t);
		}
	}
}

static void acknowledge(struct dispatch *d, struct worker *w, struct ticket *t)
{
	settled(d);
	owe(d, w->uid, false);
	d->acknowledged++;
	w->takes = true;
	w->runs++;
	t->acknowledged = true;
	if (!t->doubled && d->track)
		ticket_close(d, t, w);
	else if (!t->doubled)
		ticket_end(d, t, w);
}

/* The command of ticket T has ended. Where a stopped worker's queue holds the connection too, the client
 * would not see its end before that worker goes on: so it is ended here. */
static void finish(struct dispatch *d, const struct worker *w, struct ticket *t)
{
	if (t->doubled)
		shutdown(t->fd, SHUT_RDWR);
	ticket_end(d, t, w);
}

/* W takes N sets more. */
static void add_slots(struct worker *w, size_t n)
{
	w->slots = n < SLOTS_MOST && w->slots < SLOTS_MOST - n ? w->slots + n : SLOTS_MOST;
}

/* What worker W says of ticket ID. Of what it has taken not every number is known here, but the count. */
static void answered(struct dispatch *d, struct worker *w, const struct record *r)
{
	size_t i = r->id & (((uint64_t)1 << PLACE_BITS) - 1);
	struct ticket *t = r->id && i < d->tickets && d->ticket[i].id == r->id && d->ticket[i].worker == w->serial
	                   ? &d->ticket[i] : NULL;
	bool held = t && !t->acknowledged;
	if (r->word == RECORD_TAKEN && held) {
		acknowledge(d, w, t);
	} else if (r->word == RECORD_REFUSED && held) {
		give_back(d, w, t);
	} else if (r->word == RECORD_DONE && !held && w->runs) {
		w->runs--;
		add_slots(w, 1);
		if (t)
			finish(d, w, t);
	}
}

/* W is not to say anything more; what it has said can still be read. */
static void silence(struct worker *w)
{
	shutdown(w->sock, SHUT_RD);
	w->given_up = true;
}

/* Obey the records that are there. Whoever sends what is none is silenced. */
static void obey(struct dispatch *d, struct worker *w)
{
	struct record r;
	int got;
	while ((got = records_next(&w->in, &r)) != 0) {
		bool answer = got == 1 && (r.word == RECORD_DONE || r.word == RECORD_TAKEN || r.word == RECORD_REFUSED);
		if (!answer && (got == -1 || r.word != RECORD_SLOTS)) {
			silence(w);
			continue;
		}
		w->mute = false;
		w->proved = true;
		if (answer)
			answered(d, w, &r);
		else
			add_slots(w, r.slots);
	}
}

/* Read what W has said: once, or all if it is not to be asked again. */
static void listen_to(struct dispatch *d, struct worker *w, bool all)
{
	char data[4096];
	struct set fds = {0};
	do {
		ssize_t n = rights_receive(w->sock, &fds, data, sizeof data, NULL);
		if (n == -1 && errno == EAGAIN)
			return;
		if (fds.count)
			silence(w); /* a worker has no descriptors for us */
		closer_trim(d->closer, &fds, 0, w->uid);
		set_forget(&fds);
		w->over = n == 0;
		w->gone = n <= 0 || (!d->plain && records_add(&w->in, data, (size_t)n, &fds) == -1);
		if (!w->gone && !d->plain)
			obey(d, w);
	} while (all && !w->gone);
}

/* Is an acknowledgement of W's overdue? */
static bool overdue(const struct dispatch *d, const struct worker *w)
{
	for (size_t i = 0; i < d->tickets; i++) {
		const struct ticket *t = &d->ticket[i];
		if (t->id && t->worker == w->serial && !t->acknowledged && time_left(t->sent + d->patience) == 0)
			return true;
	}
	return false;
}

/* When the first acknowledgement that is awaited will be overdue; 0 for never. */
static int64_t next_check(const struct dispatch *d)
{
	int64_t next = NEVER;
	for (size_t i = 0; d->patience != NEVER && i < d->tickets; i++) {
		const struct ticket *t = &d->ticket[i];
		if (t->id && t->worker && !t->acknowledged)
			next = sooner(next, t->sent + d->patience);
	}
	return next == NEVER ? 0 : next;
}

static void worker_end(struct dispatch *d, size_t i)
{
	struct worker *w = &d->worker[i];
	take_back(d, w);
	d->turned_away += !w->proved;
	if (w->over)
		close(w->sock);
	else
		closer_close(d->closer, w->sock, w->uid);
	records_free(&w->in);
	*w = d->worker[--d->workers];
}

void dispatch_poll(const struct dispatch *d, struct pollfd *p)
{
	for (size_t i = 0; i < d->workers; i++)
		p[i] = (struct pollfd){.fd = d->worker[i].sock,
		                       .events = (short)(d->worker[i].full ? POLLIN | POLLOUT : POLLIN)};
}

void dispatch_run(struct dispatch *d, const struct pollfd *p)
{
	bool check = d->check && !time_left(d->check);
	for (size_t i = 0; i < d->workers; i++) {
		struct worker *w = &d->worker[i];
		if (p[i].revents & POLLOUT)
			w->full = false;
		if (p[i].revents & ~POLLOUT)
			listen_to(d, w, false);
		if (w->crowded && !time_left(w->crowded))
			w->crowded = 0;
		bool ended = w->broken && p[i].revents & POLLHUP; /* by itself: what it said is all being read */
		if (!w->gone && !ended && (w->broken || (check && overdue(d, w)))) {
			/* From here on no acknowledgement can be sent; those that were are read. */
			silence(w);
			listen_to(d, w, true);
			w->gone = true;
		}
	}
	for (size_t i = d->workers; i-- > 0;)
		if (d->worker[i].gone)
			worker_end(d, i);
	if (check)
		d->check = next_check(d);
	for (size_t i = 0; d->waiting && i < d->tickets; i++)
		if (d->ticket[i].id && !d->ticket[i].worker && !hand(d, &d->ticket[i]))
			break;
}

int64_t dispatch_deadline(const struct dispatch *d)
{
	int64_t next = d->check ? d->check : NEVER;
	/* A plain worker is ready from the start: nothing it says tells that it can be given what waits. */
	if (d->waiting && dispatch_slots(d))
		return now();
	for (size_t i = 0; i < d->workers; i++) {
		const struct worker *w = &d->worker[i];
		if (w->gone || w->broken)
			return now();
		if (w->crowded)
			next = sooner(next, w->crowded);
		if (w->mute && d->patience != NEVER)
			next = sooner(next, w->greeted + d->patience);
	}
	return next;
}

bool dispatch_mute(struct dispatch *d)
{
	bool found = false;
	for (size_t i = 0; i < d->workers; i++) {
		struct worker *w = &d->worker[i];
		if (w->mute && d->patience != NEVER && time_left(w->greeted + d->patience) == 0) {
			w->mute = false;
			found = true;
		}
	}
	return found;
}

void dispatch_close(struct dispatch *d)
{
	while (d->workers)
		worker_end(d, d->workers - 1);
	for (size_t i = 0; i < d->tickets; i++)
		if (d->ticket[i].id)
			ticket_end(d, &d->ticket[i], NULL);
	free(d->worker);
	free(d->ticket);
	d->worker = NULL;
	d->ticket = NULL;
}
