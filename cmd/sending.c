/* SPDX-License-Identifier: ISC */
/* Send a set to the peer at SOCKET or, listening there, to the first peer or to all: for fdsend and fdserve -L. */
#include "sending.h"
#include "door.h"
#include "messages.h"
#include "peer.h"
#include "ready.h"
#include "rights.h"
#include "transfer.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	YIELD_MS = 1000,        /* a transfer that is older may have to make room for another */
	SERVED_AT_ONCE = 4 * CONNECTIONS_OF_UID,
};

/* All transfers at SOCKET. */
struct service {
	struct sending *s;
	struct door door;       /* fd -1: nobody else comes */
	int sigfd;
	int64_t deadline;       /* for the first peer to come; with -k, for the last transfers to end */
	struct transfer *transfer; /* COUNT of them, with room for ROOM */
	struct pollfd *poll;    /* signals, the door, and each transfer */
	size_t count, room;
	struct share *shares;
	size_t share;           /* peers of one uid at once, 0 for any number */
	int status;             /* of the last transfer */
};

enum { SIGNALS, DOOR, TRANSFERS };

void sending_check(struct sending *s)
{
	/* Names need the record form, and a set of more than a message's worth that is one; nothing else does. */
	bool several = s->set.count > FDS_PER_MESSAGE && !s->one_each && !s->plain;
	s->records = set_named(&s->set) || several;
	s->at.type = s->cli->type;
	if (s->listen && s->at.type == SOCK_DGRAM)
		errx(FAILED, "-T dgram: with -l there is nobody to send a datagram to");
	if (set_named(&s->set) && (s->one_each || s->plain))
		errx(FAILED, "%s cannot be combined with names", s->one_each ? "-1" : "-P");
	if (s->at.type == SOCK_DGRAM && several)
		errx(FAILED, "-T dgram: a datagram takes %d descriptors", FDS_PER_MESSAGE);
	if (s->records && s->text.len > SET_TEXT_MAX)
		errx(FAILED, "-m: beside names or more than %d descriptors, a message has at most %d bytes",
		     FDS_PER_MESSAGE, SET_TEXT_MAX);
}

/* ---- transfers ---- */

static void end(struct service *v, size_t i)
{
	struct transfer *t = &v->transfer[i];
	transfer_end(t);
	share_leave(&v->shares, t->share);
	*t = v->transfer[--v->count];
}

static void go_on(struct service *v, size_t i)
{
	int status = transfer_continue(&v->transfer[i]);
	if (status == UNFINISHED)
		return;
	v->status = status;
	end(v, i);
}

/* End the oldest transfer of the uid that has most, unless it is younger than YIELD_MS. Returns whether it did. */
static bool yield(struct service *v)
{
	const struct transfer *oldest = v->transfer;
	for (const struct transfer *t = oldest; t < v->transfer + v->count; t++) {
		size_t has = t->share->connections, most = oldest->share->connections;
		if (has > most || (has == most && t->begun < oldest->begun))
			oldest = t;
	}
	if (!v->count || time_left(oldest->begun + YIELD_MS))
		return false;
	end(v, (size_t)(oldest - v->transfer));
	return true;
}

/* Send to the peer at SOCK, which is the service's from here on. On failure, which is reported (no memory, or its uid is
 * over its quota), SOCK is still the caller's. */
static int start(struct service *v, int sock, uid_t uid, int64_t until)
{
	struct share *share = share_join(&v->shares, source_of_uid(uid));
	if (!share) {
		warn("%s", v->s->at.arg);
		return -1;
	}
	bool excess = (v->count == v->room || share_exceeds(share, v->share)) && !yield(v);
	if (share_reports(share, v->share, excess))
		say_excess(v->s->cli, v->s->at.arg, uid);
	if (excess) {
		share_leave(&v->shares, share);
		return -1;
	}
	v->transfer[v->count] = transfer_begin(v->s, sock, uid, until);
	v->transfer[v->count].share = share;
	v->s->served++;
	go_on(v, v->count++);
	return 0;
}

/* ---- the loop ---- */

static void admit(struct service *v)
{
	struct sending *s = v->s;
	struct peer peer;
	int sock = door_accept(&v->door, &peer);
	if (sock == -1) {
		say_not_accepted(s->cli, s->at.arg, &peer);
		if (v->door.resting)
			yield(v);
		return;
	}
	/* The socket file is gone before anything else can go wrong. */
	if (!s->keep) {
		door_close(&s->at, &s->closer);
		v->door.fd = -1;
	}
	if (start(v, sock, peer.uid, s->keep ? deadline_in(s->cli->timeout) : v->deadline) == -1)
		closer_hang_up(&s->closer, sock, peer.uid);
}

/* Wait for something to do, and do it. Returns a signal that came, or 0. */
static int serve_once(struct service *v)
{
	bool rests = door_rests(&v->door);
	int64_t until = sooner(v->deadline, rests ? v->door.resting : NEVER);
	v->poll[SIGNALS] = (struct pollfd){.fd = v->sigfd, .events = POLLIN};
	v->poll[DOOR] = (struct pollfd){.fd = rests ? -1 : v->door.fd, .events = POLLIN};
	for (size_t i = 0; i < v->count; i++) {
		const struct transfer *t = &v->transfer[i];
		v->poll[TRANSFERS + i] = (struct pollfd){.fd = t->events ? t->sock : -1, .events = t->events};
		until = sooner(until, sooner(t->again, t->until));
	}
	bool ready = await_any(v->poll, TRANSFERS + v->count, until) > 0;
	bool arrived = ready && v->poll[DOOR].revents;
	for (size_t i = v->count; i-- > 0;) {
		const struct transfer *t = &v->transfer[i];
		if ((ready && v->poll[TRANSFERS + i].revents) || !time_left(t->again) || !time_left(t->until))
			go_on(v, i);
	}
	if (arrived)
		admit(v);
	return ready && v->poll[SIGNALS].revents ? signals_next(v->sigfd) : 0;
}

/* Serve all peers, until nobody is left and nobody can come any more. Returns a signal that ends us, or 0. */
static int serve(struct service *v)
{
	int sig = 0;
	while (!ends(sig) && (v->count || (v->door.fd != -1 && time_left(v->deadline))))
		sig = serve_once(v);
	return sig;
}

/* Stop listening, and give connected peers a moment to take their set. */
static void finish(struct service *v, int sig)
{
	struct sending *s = v->s;
	ready_notify("STOPPING=1");
	door_close(&s->at, &s->closer);
	v->door.fd = -1;
	say(s->cli, "%s: ended by %s, %llu served", s->at.arg, sig ? signal_name(sig) : "the end of its socket", s->served);
	v->deadline = deadline_in(YIELD_MS);
	while (v->count && time_left(v->deadline))
		serve_once(v);
	v->status = FAILED;
}

/* Connect, or listen. Returns 0 or the exit status. */
static int open_socket(struct service *v)
{
	struct sending *s = v->s;
	char why[120];
	/* Signals first: we must remove the socket file from the moment that it exists. */
	if (s->listen && ((v->sigfd = signals_open(s->keep)) == -1 ||
	                  endpoint_listen(&s->at, socket_mode(s->cli, true), s->cli->backlog) == -1))
		return say_not_listening(s->at.arg, "connect without -l");
	if (!s->listen && endpoint_connect(&s->at, wait_deadline(s->cli), v->deadline) == -1)
		return say_unconnected(s->at.arg);
	if (!s->listen && !peer_fits(s->cli, &s->at, why, sizeof why)) {
		warnx("%s: %s", s->at.arg, why);
		return FAILED;
	}
	s->keep = s->keep && s->at.listens;
	if (s->at.listens) {
		door_open(&v->door, &s->at, &s->cli->allow, &s->closer);
		be_ready(s->cli, s->keep);
	} else if (start(v, s->at.fd, NOBODY, v->deadline) == -1) {
		return FAILED;
	} else if (s->at.kind != END_FD) {
		s->at.fd = -1; /* the transfer's */
	}
	return 0;
}

/* Serve, and close everything. Returns the exit status. */
static int run(struct service *v)
{
	struct sending *s = v->s;
	if (s->keep) {
		v->deadline = NEVER;
		signal(SIGPIPE, SIG_IGN); /* standard output may have lost its reader */
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	int sig = serve(v);
	if (s->keep) {
		finish(v, sig);
	} else if (v->door.fd != -1 && !sig) {
		warnx("%s: timed out: nobody came for the descriptors", s->at.arg);
		v->status = TIMED_OUT;
	}
	door_close(&s->at, &s->closer);
	if (v->sigfd != -1)
		close(v->sigfd);
	closer_end(&s->closer, v->count);
	if (sig && !s->keep)
		die_of(sig);
	return sig ? 0 : v->status;
}

int sending_run(struct sending *s)
{
	size_t room = s->keep ? SERVED_AT_ONCE : 1;
	struct service v = {.s = s, .door.fd = -1, .sigfd = -1, .status = FAILED, .deadline = deadline_in(s->cli->timeout),
	                    .transfer = calloc(room, sizeof *v.transfer), .poll = calloc(TRANSFERS + room, sizeof *v.poll),
	                    .room = room, .share = s->keep ? share_of_uid() : 0};
	int status = v.transfer && v.poll ? open_socket(&v) : say_failed(s->at.arg);
	if (!status)
		status = run(&v);
	free(v.transfer);
	free(v.poll);
	return status;
}
