/* SPDX-License-Identifier: ISC */
/* fdserve's workers: connecting to them, accepting them, and reporting them. */
#include "fdserve.h"
#include "closer.h"
#include "door.h"
#include "fdserve_dispatch.h"
#include "messages.h"
#include "peer.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* SOCKET is connected to a worker, or the first message to it failed: say once why. */
static void no_worker(struct server *s, const char *why)
{
	struct endpoint *w = &s->o->worker;
	if (!s->told)
		say(&s->o->cli, "%s: waiting for a worker: %s", w->arg, why);
	s->told = true;
	endpoint_close(w);
	if (w->kind == END_FD)
		errx(FAILED, "%s: the worker is gone", w->arg);
	s->pause = longer(s->pause, DIAL_MOST_MS);
	s->dial = deadline_in(s->pause);
}

/* A worker that closes at once may not want our uid. */
static void turned_away_by(struct server *s)
{
	char why[120];
	snprintf(why, sizeof why, "closed before it took anything (uid %lu there; its -a may refuse uid %lu)",
	         (unsigned long)s->worker_uid, (unsigned long)geteuid());
	no_worker(s, s->worker_uid == geteuid() ? "closed before it took anything" : why);
}

void dial_worker(struct server *s)
{
	struct endpoint *w = &s->o->worker;
	struct peer peer = {.uid = geteuid()};
	char why[120];
	int result = endpoint_dial(w);
	if (result != -1)
		peer_of(w->fd, &peer);
	s->worker_uid = peer.uid;
	if (result == -1) {
		no_worker(s, errno == ENOENT ? "No such file or directory (if it is a COMMAND, -- stands before it)" : reason(errno));
	} else if (!peer_fits(&s->o->cli, w, why, sizeof why)) {
		no_worker(s, why);
	} else if (dispatch_add(&s->dispatch, w->fd) == -1) {
		w->fd = -1; /* the dispatcher has closed it */
		if (errno == EPIPE)
			turned_away_by(s);
		else
			no_worker(s, reason(errno));
	} else {
		w->fd = -1;
		note(&s->o->cli, "%s: worker is there", w->arg);
		/* Not at once again, if it turns us away or acknowledges nothing. */
		s->dial = deadline_in(s->pause);
		s->pause = longer(s->pause, DIAL_MOST_MS);
		s->give_up = NEVER;
	}
}

void accept_worker(struct server *s)
{
	struct peer peer;
	const struct share *share;
	int sock = door_accept(&s->workers, &peer);
	if (sock == -1) {
		s->resting = s->workers.resting;
		say_not_accepted(&s->o->cli, s->o->worker.arg, &peer);
	} else if ((share = share_find(s->dispatch.shares, source_of_uid(peer.uid))) && share->connections >= connections_of_uid()) {
		closer_hang_up(&s->closer, sock, peer.uid);
		if (!s->told_share)
			say_excess(&s->o->cli, s->o->worker.arg, peer.uid);
		s->told_share = true;
	} else if (dispatch_add(&s->dispatch, sock) == 0) {
		note(&s->o->cli, "%s: worker pid %ld is there, %zu in all", s->o->worker.arg, (long)peer.pid,
		     s->dispatch.workers);
		s->give_up = NEVER;
	}
}

void run_dispatch(struct server *s, const struct pollfd *p)
{
	size_t before = s->dispatch.workers;
	uint64_t turned_away = s->dispatch.turned_away, acknowledged = s->dispatch.acknowledged;
	dispatch_run(&s->dispatch, p);
	if (s->dispatch.acknowledged > acknowledged)
		s->pause = DIAL_MS;
	if (s->dispatch.turned_away > turned_away) {
		if (s->o->listen)
			say(&s->o->cli, "%s: a worker closed before it took anything", s->o->worker.arg);
		else
			turned_away_by(s);
	} else if (s->dispatch.workers < before) {
		say(&s->o->cli, "%s: worker is gone, %zu left", s->o->worker.arg, s->dispatch.workers);
		s->told = false;
		s->told_share = false;
	}
	if (dispatch_mute(&s->dispatch))
		say(&s->o->cli, "%s: worker does not answer (it is busy, or speaks only the plain form: -P)",
		    s->o->worker.arg);
}
