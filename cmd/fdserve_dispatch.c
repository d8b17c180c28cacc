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
#include "fdserve_choice.h"
#include "fdserve_dispatch.h"
#include "closer.h"
#include "door.h"
#include "peer.h"
#include "rights.h"
#include "wait.h"
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CROWDED_MS = 20 };

/* ---- workers ---- */

static int make_room(struct dispatch *d)
{
	if (d->workers < d->room)
		return 0;
	size_t room = d->room ? 2 * d->room : 4;
	struct worker **grown = realloc(d->worker, room * sizeof(void *));
	if (!grown)
		return -1;
	d->room = room;
	d->worker = grown;
	return 0;
}

int dispatch_add(struct dispatch *d, int sock)
{
	/* The ends of commands are wanted at once where they are counted. */
	const struct record hello = {.word = RECORD_HELLO, .late = !d->sources};
	struct peer peer = {.uid = NOBODY};
	peer_of(sock, &peer);
	struct worker *w = make_room(d) == 0 ? malloc(sizeof *w) : NULL;
	struct share *share = w ? share_join(&d->shares, source_of_uid(peer.uid)) : NULL;
	if (share) {
		*w = (struct worker){.wire = {.sock = sock, .peer = peer, .frugal = true}, .share = share, .slots = d->plain, .greeted = now()};
		/* A lack of memory later would lose an acknowledgement that was read. */
		if (d->plain || (records_reserve(&w->wire.records) == 0 && wire_send(&w->wire, &hello) == 0)) {
			d->worker[d->workers++] = w;
			return 0;
		}
		records_free(&w->wire.records);
		share_leave(&d->shares, share);
	}
	free(w);
	closer_close(d->closer, sock, peer.uid);
	return -1;
}

/* When W's answer to our greeting is late; NEVER if it came, or is not expected. */
static int64_t mute_from(const struct dispatch *d, const struct worker *w)
{
	return d->plain || w->trust != STRANGE || w->reported || d->patience == NEVER ? NEVER : w->greeted + d->patience;
}

bool dispatch_hopeful(const struct dispatch *d)
{
	for (size_t i = 0; i < d->workers; i++)
		if (d->worker[i]->trust != STRANGE || d->patience == NEVER || time_left(d->worker[i]->greeted + d->patience))
			return true;
	return false;
}

/* ---- tickets ---- */

/* Close our copy, which may be the last one. A process that had another may have set SO_LINGER: W's, where not NULL, and that of
 * a worker that gave it back. */
static void ticket_close(struct dispatch *d, struct ticket *t, const struct worker *w)
{
	if (t->fd != -1)
		closer_close(d->closer, t->fd, t->returned ? NOBODY : w ? w->wire.peer.uid : geteuid());
	t->fd = -1;
}

static void ticket_end(struct dispatch *d, struct ticket *t, const struct worker *w)
{
	ticket_close(d, t, w);
	if (t->source)
		share_leave(d->sources, t->source);
	queue_leave(&t->link);
	table_remove(&d->tickets, t->id);
	free(t);
}

/* Send T's connection to W. */
static int send_ticket(const struct dispatch *d, const struct worker *w, const struct ticket *t)
{
	const struct record set = {.word = RECORD_SET, .fds = 1, .id = t->id};
	if (d->plain)
		return rights_send(w->wire.sock, &t->fd, 1, "", 1) == 1 ? 0 : -1;
	return record_send(w->wire.sock, &set, &t->fd, AT_ONCE);
}

/* Hand T to a worker, if one has a slot. Returns false if none has. */
static bool hand(struct dispatch *d, struct ticket *t)
{
	struct worker *w;
	while ((w = best_for(d, t)) && send_ticket(d, w, t) == -1)
		if (errno == EAGAIN)
			w->full = true;
		else if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM)
			w->crowded = deadline_in(CROWDED_MS);
		else
			w->state = BROKEN;
	if (!w)
		return false;
	w->share->turn = ++d->handed;
	if (w->trust == STRANGE)
		w->trust = PROVED;
	if (d->plain) {
		d->pending--;
		ticket_end(d, t, w);
		return true;
	}
	w->slots--;
	w->share->owed++;
	t->worker = w;
	t->sent = now();
	queue_add(&w->unanswered, &t->link);
	return true;
}

int dispatch_give(struct dispatch *d, int connection, struct share *source)
{
	struct ticket *t = malloc(sizeof *t);
	if (t)
		*t = (struct ticket){.link.item = t, .fd = connection, .source = source};
	if (!t || !(t->id = table_add(&d->tickets, t))) {
		free(t);
		return -1;
	}
	queue_add(&d->waiting, &t->link);
	d->pending++;
	hand(d, t);
	return 0;
}

/* T's worker gives it back. It gets another id: none is sent twice on a channel. */
static void give_back(struct dispatch *d, struct ticket *t)
{
	t->id = table_renew(&d->tickets, t->id);
	t->worker->share->owed--;
	t->worker = NULL;
	t->returned = true;
	d->returned++;
	queue_add(&d->waiting, &t->link);
}

static void acknowledge(struct dispatch *d, struct worker *w, struct ticket *t)
{
	d->pending--;
	d->acknowledged++;
	w->share->owed--;
	w->trust = TAKES;
	w->runs++;
	if (!t->doubled)
		ticket_close(d, t, w);
	if (t->doubled || t->source)
		queue_add(&w->running, &t->link);
	else
		ticket_end(d, t, w);
}

/* The command of T has ended. Where a stopped worker's queue holds the connection too, the client would not see its end
 * before that worker goes on: so it is ended here. */
static void finish(struct dispatch *d, const struct worker *w, struct ticket *t)
{
	if (t->doubled)
		shutdown(t->fd, SHUT_RDWR);
	ticket_end(d, t, w);
}

/* ---- what workers say ---- */

/* W takes N sets more. */
static void add_slots(struct worker *w, size_t n)
{
	w->slots = n < SLOTS_MOST && w->slots < SLOTS_MOST - n ? w->slots + n : SLOTS_MOST;
}

/* Worker W answers for a set. Of the sets that it has taken, we know the count, but not every id. */
static void answered(struct dispatch *d, struct worker *w, const struct record *r)
{
	struct ticket *t = table_find(&d->tickets, r->id);
	if (t && t->worker != w)
		t = NULL;
	bool unanswered = t && t->link.queue == &w->unanswered;
	if (r->word == RECORD_TAKEN && unanswered) {
		acknowledge(d, w, t);
	} else if (r->word == RECORD_REFUSED && unanswered) {
		give_back(d, t);
	} else if (r->word == RECORD_DONE && !unanswered && w->runs) {
		w->runs--;
		add_slots(w, 1);
		if (t)
			finish(d, w, t);
	}
}

/* Returns false for a word that is not a worker's to say. */
static bool obey(struct dispatch *d, struct worker *w, const struct record *r)
{
	if (d->plain)
		return true;
	if (r->word == RECORD_SLOTS)
		add_slots(w, r->n);
	else if (r->word == RECORD_TAKEN || r->word == RECORD_REFUSED || r->word == RECORD_DONE)
		answered(d, w, r);
	else
		return false;
	if (w->trust == STRANGE)
		w->trust = PROVED;
	return true;
}

/* W can say nothing more; what it has said can still be read. */
static void silence(struct worker *w)
{
	shutdown(w->wire.sock, SHUT_RD);
	w->silenced = true;
}

/* Read what W has said: once, or ALL if it is not to be asked again. A worker that says what is no answer is silenced; it has
 * no descriptors for us either. */
static void listen_to(struct dispatch *d, struct worker *w, bool all)
{
	struct record r;
	enum wire_event event;
	do {
		event = wire_read(&w->wire, 0, &r, NULL);
		for (; event >= WIRE_SET && event != WIRE_END; event = wire_next(&w->wire, &r)) {
			if (event == WIRE_FAILED && errno != EPROTO) {
				w->state = GONE;
				return;
			}
			if (event != WIRE_RECORD || !obey(d, w, &r))
				silence(w);
		}
		if (event == WIRE_END)
			w->state = OVER;
	} while (all && event == WIRE_PART);
}

/* ---- the loop ---- */

/* When W's oldest acknowledgement is overdue; NEVER if none is awaited. */
static int64_t overdue_from(const struct dispatch *d, const struct worker *w)
{
	const struct ticket *oldest = queue_first(&w->unanswered);
	return oldest && d->patience != NEVER ? oldest->sent + d->patience : NEVER;
}

/* End worker I. Sets that it has not acknowledged go to other workers. */
static void worker_end(struct dispatch *d, size_t i)
{
	struct worker *w = d->worker[i];
	struct ticket *t;
	while ((t = queue_first(&w->unanswered))) {
		t->doubled = t->doubled || w->silenced;
		give_back(d, t);
	}
	while ((t = queue_first(&w->running)))
		ticket_end(d, t, w);
	d->turned_away += w->trust == STRANGE;
	wire_clear(&w->wire, d->closer);
	if (w->state == OVER)
		close(w->wire.sock);
	else
		closer_close(d->closer, w->wire.sock, w->wire.peer.uid);
	share_leave(&d->shares, w->share);
	free(w);
	d->worker[i] = d->worker[--d->workers];
}

void dispatch_poll(const struct dispatch *d, struct pollfd *p)
{
	for (size_t i = 0; i < d->workers; i++)
		p[i] = (struct pollfd){.fd = d->worker[i]->wire.sock,
		                       .events = (short)(d->worker[i]->full ? POLLIN | POLLOUT : POLLIN)};
}

void dispatch_run(struct dispatch *d, const struct pollfd *p)
{
	for (size_t i = 0; i < d->workers; i++) {
		struct worker *w = d->worker[i];
		if (p[i].revents & POLLOUT)
			w->full = false;
		if (p[i].revents & ~POLLOUT)
			listen_to(d, w, false);
		if (w->state == OVER && !(p[i].revents & POLLHUP)) /* it has shut down one direction, and may be there still */
			w->silenced = true;
		if (w->crowded && !time_left(w->crowded))
			w->crowded = 0;
		bool ended = w->state == BROKEN && p[i].revents & POLLHUP; /* by itself: what it said is all being read */
		if (w->state < GONE && !ended && (w->state == BROKEN || time_left(overdue_from(d, w)) == 0)) {
			/* From here on no acknowledgement can be sent; those that were are read. */
			silence(w);
			listen_to(d, w, true);
			w->state = w->state == OVER ? OVER : GONE;
		}
	}
	for (size_t i = d->workers; i-- > 0;)
		if (d->worker[i]->state >= GONE)
			worker_end(d, i);
	while (d->waiting.count && hand(d, queue_first(&d->waiting)))
		;
}

int64_t dispatch_deadline(const struct dispatch *d)
{
	int64_t next = NEVER;
	/* A plain worker is ready from the start: nothing it says tells that it can be given what waits. */
	if (d->waiting.count && dispatch_slots(d))
		return now();
	for (size_t i = 0; i < d->workers; i++) {
		const struct worker *w = d->worker[i];
		if (w->state != WORKS)
			return now();
		next = sooner(next, sooner(overdue_from(d, w), mute_from(d, w)));
		if (w->crowded)
			next = sooner(next, w->crowded);
	}
	return next;
}

bool dispatch_mute(struct dispatch *d)
{
	bool found = false;
	for (size_t i = 0; i < d->workers; i++)
		if (time_left(mute_from(d, d->worker[i])) == 0)
			found = d->worker[i]->reported = true;
	return found;
}

void dispatch_close(struct dispatch *d)
{
	while (d->workers)
		worker_end(d, d->workers - 1);
	for (size_t i = 0; i < d->tickets.room; i++)
		if (d->tickets.slot[i].item)
			ticket_end(d, d->tickets.slot[i].item, NULL);
	table_free(&d->tickets);
	free(d->worker);
	d->worker = NULL;
	d->room = 0;
}
