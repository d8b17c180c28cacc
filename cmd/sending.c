/* SPDX-License-Identifier: ISC */
/* Send a set of descriptors to the peer at a SOCKET, and make sure that it was taken: for fdsend and fdserve -L. */
#include "sending.h"
#include "closer.h"
#include "door.h"
#include "jobs.h"
#include "listening.h"
#include "messages.h"
#include "peer.h"
#include "ready.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVED_AT_ONCE = 64, SERVED_PER_UID = 48, YIELD_MS = 1000, CLOSE_MS = 200 };

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

/* Is the socket the caller's, which others may share? */
static bool shared(const struct sending *s)
{
	return s->at.kind == END_FD && endpoint_given(&s->at);
}

/* End with STATUS; listening sockets that nobody took have no server from here on. */
static _Noreturn void quit(const struct sending *s, int status)
{
	if (s->untaken)
		listening_close(s->untaken);
	exit(status);
}

/* End with STATUS, though the connection may hold what blocks whoever closes it. Kernel: after SHUT_RD nothing more is
 * queued, and a stream has no empty message, so its length tells (unix_stream_sendmsg). */
static _Noreturn void leave(struct sending *s, int status)
{
	int queued = !shared(s) && s->at.type != SOCK_DGRAM;
	if (queued && s->at.type == SOCK_STREAM && shutdown(s->at.fd, SHUT_RD) == 0)
		ioctl(s->at.fd, FIONREAD, &queued);
	closer_end(&s->closer, queued);
	quit(s, status);
}

static _Noreturn void not_in_time(struct sending *s)
{
	warnx("%s: timed out: not taken in time", s->at.arg);
	leave(s, TIMED_OUT);
}

static _Noreturn void not_taken(struct sending *s)
{
	say_closed(&s->at, "without taking the descriptors");
	leave(s, FAILED);
}

static void reply(struct sending *s, const char *data, size_t len)
{
	if (!len || (fwrite(data, 1, len, stdout) == len && fflush(stdout) == 0))
		return;
	warn("standard output");
	leave(s, FAILED);
}

/* Take in what the receiver says. It may begin with records: a refusal is obeyed in either form, and in the record form
 * an answer must be there. The bytes after them are a reply. Returns whether that has begun. */
static bool hear(struct sending *s, struct records *in, const char *data, size_t len)
{
	struct record r;
	struct set none = {0};
	if (records_add(in, data, len, &none) == -1)
		leave(s, say_failed(s->at.arg));
	while (s->records || may_be_record(in->data + in->start, in->end - in->start)) {
		int got = records_next(in, &r);
		if (got == 0)
			return false;
		if (got == 1 && r.word == RECORD_REFUSED) {
			warnx("%s: refused: %s", s->at.arg, r.why ? r.why : "no reason given");
			leave(s, FAILED);
		}
		if (!s->records || (got == 1 && r.word == RECORD_GET))
			continue; /* a receiver may ask for the set that we send anyway */
		if (got == -1 || r.word != RECORD_TAKEN || r.id != 1) {
			warnx("%s: does not speak the record form", s->at.arg);
			leave(s, FAILED);
		}
		break;
	}
	reply(s, in->data + in->start, in->end - in->start);
	return true;
}

/* The receiver has closed; IN has all that it sent, unless a reply HAS BEGUN. */
static void check_end(struct sending *s, const struct records *in, bool has_begun, bool reset)
{
	if (reset)
		not_taken(s);
	if (s->records && !has_begun) {
		warnx("%s: closed without an answer (names, and without -P more than %d descriptors, need a receiver that "
		      "speaks the record form)", s->at.arg, FDS_PER_MESSAGE);
		leave(s, FAILED);
	}
	if (!has_begun && in->data)
		reply(s, in->data + in->start, in->end - in->start);
}

/* Half-close, and read until the receiver closes. Kernel: closing with bytes unread makes that
 * ECONNRESET, so end of file says that all was read (unix_release_sock, net/unix/af_unix.c). */
static void await_end(struct sending *s, bool reset, int64_t deadline)
{
	char data[1024];
	struct records in = {0};
	struct set fds = {0};
	bool replies = false;
	shutdown(s->at.fd, SHUT_WR);
	for (;;) {
		ssize_t n = await(s->at.fd, POLLIN, deadline);
		if (n != -1)
			n = rights_read(s->at.fd, &fds, data, sizeof data, NULL);
		reset = reset || (n == -1 && errno == ECONNRESET);
		if (n == 0 && !fds.count)
			break;
		if (n == -1 && errno == ETIMEDOUT)
			not_in_time(s);
		if (n == -1 && errno != EAGAIN && errno != ECONNRESET && errno != EMFILE)
			leave(s, say_failed(s->at.arg));
		closer_trim(&s->closer, &fds, 0, NOBODY); /* a reply is bytes */
		if (n > 0 && replies)
			reply(s, data, (size_t)n);
		else if (n > 0)
			replies = hear(s, &in, data, (size_t)n);
		/* A receiver that never stops talking cannot postpone the deadline. */
		if (n > 0 && time_left(deadline) == 0)
			not_in_time(s);
	}
	check_end(s, &in, replies, reset);
	records_free(&in);
	set_close(&fds);
}

static _Noreturn void not_sent(struct sending *s, int64_t deadline)
{
	if (errno != EPIPE && errno != ECONNRESET)
		leave(s, say_failed(s->at.arg));
	if (!shared(s) && s->at.type != SOCK_DGRAM)
		await_end(s, true, deadline); /* it may have said why */
	not_taken(s);
}

/* The plain form: as few messages as it takes, or with -1 one for each descriptor. */
static void send_plain(struct sending *s, int64_t deadline)
{
	size_t most = s->one_each ? 1 : FDS_PER_MESSAGE, count = s->set.count;
	for (size_t sent = 0, n; sent < count; sent += n) {
		n = count - sent < most ? count - sent : most;
		if (rights_send_all(s->at.fd, s->set.fd + sent, n, s->text.data ? s->text.data : "",
		                    s->text.data ? s->text.len : 1, deadline) == -1)
			not_sent(s, deadline);
	}
}

/* A socket that the caller gave may be shared: it is not half-closed, and nothing is read from it.
 * Kernel: TIOCOUTQ (SIOCOUTQ by another name) is the queue's length; no event tells that it is empty,
 * and a receiver that closes without having read empties it too, leaving ECONNRESET in SO_ERROR. */
static void await_empty_queue(struct sending *s, int64_t deadline)
{
	int queued = 0, error = 0;
	socklen_t len = sizeof error;
	for (int pause = 1; ioctl(s->at.fd, TIOCOUTQ, &queued) == 0 && queued > 0; pause += pause < 20) {
		if (time_left(deadline) == 0)
			not_in_time(s);
		nap(pause, deadline);
	}
	if (getsockopt(s->at.fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == ECONNRESET)
		not_taken(s);
}

/* Send to the peer of S->at, and make sure that it took all. */
static void deliver(struct sending *s, int64_t deadline)
{
	bool datagram = s->at.type == SOCK_DGRAM;
	/* No answer comes to a datagram, nor can it be read from a socket that others may read too. */
	bool answered = !shared(s) && !datagram && !s->no_wait;
	if (!s->records)
		send_plain(s, deadline);
	else if (set_send(s->at.fd, &s->set, s->text.data, s->text.len, answered, deadline) == -1)
		not_sent(s, deadline);
	note(s->cli, "%s: sent %zu", s->at.arg, s->set.count);
	if (s->no_wait)
		leave(s, 0);
	if (datagram)
		return;
	if (shared(s))
		await_empty_queue(s, deadline);
	else
		await_end(s, false, deadline);
	note(s->cli, "%s: taken", s->at.arg);
}

/* The next PEER that comes in by DOOR: its socket. Returns -1 for a signal, which is in *SIG, or 0 there when DEADLINE came
 * or the listening socket is gone. */
static int accept_peer(const struct sending *s, struct door *door, int sigfd, int64_t deadline, struct peer *peer, int *sig)
{
	while (door->fd != -1) {
		bool rests = door_rests(door);
		struct pollfd p[] = {{.fd = sigfd, .events = POLLIN}, {.fd = rests ? -1 : door->fd, .events = POLLIN}};
		int ready = await_any(p, 2, sooner(deadline, rests ? door->resting : NEVER));
		if (ready > 0 && p[0].revents && (*sig = signals_next(sigfd)))
			return -1;
		if (ready > 0 && p[1].revents) {
			int sock = door_accept(door, peer);
			if (sock != -1)
				return sock;
			say_not_accepted(s->cli, s->at.arg, peer);
		}
		if (time_left(deadline) == 0)
			break;
	}
	return -1;
}

/* -l: the first peer gets it. The socket is gone before anything else can go wrong. */
static void serve_first(struct sending *s, int sigfd, int64_t deadline)
{
	int sig = 0;
	struct peer peer;
	struct door door;
	be_ready(s->cli, false);
	door_open(&door, &s->at, &s->cli->allow, &s->closer);
	int sock = accept_peer(s, &door, sigfd, deadline, &peer, &sig);
	door_close(&s->at, &s->closer);
	if (sock == -1 && !sig && door.fd != -1)
		warnx("%s: timed out: nobody came for the descriptors", s->at.arg);
	closer_wait(&s->closer, CLOSE_MS);
	signals_close(sigfd);
	if (sock == -1 && sig)
		die_of(sig);
	if (sock == -1)
		exit(door.fd == -1 ? FAILED : TIMED_OUT);
	s->at.fd = sock;
	s->at.listens = true; /* accepted, so not the caller's */
	deliver(s, deadline);
}

/* -l -k: peers that are being served, each by a process of its own, and peers that wait for one because others of their
 * uid, or all others, have all places. */
struct serving {
	struct sending *s;
	struct door door;
	int sigfd;
	struct jobs jobs;       /* .id: when it began; .connection: it was told to end */
	size_t ending;
	struct waiting { int sock; uid_t uid; } *waiting;
	size_t count, share;    /* SHARE: so many of one uid may wait */
	bool told;              /* that a uid has its share */
};

static size_t served_of(const struct serving *v, uid_t uid)
{
	size_t count = 0;
	for (size_t i = 0; i < v->jobs.used; i++)
		count += v->jobs.job[i].pid && !v->jobs.job[i].connection && v->jobs.job[i].uid == uid;
	return count;
}

static bool has_place(const struct serving *v, uid_t uid)
{
	return served_of(v, uid) < SERVED_PER_UID && v->jobs.running - v->ending < SERVED_AT_ONCE &&
	       v->jobs.running < v->jobs.limit;
}

/* Serve SOCK in its own process, which closes all others: a copy would keep their connections open. */
static _Noreturn void serve_one(const struct serving *v, int sock)
{
	struct sending *s = v->s;
	signals_close(v->sigfd);
	close(s->at.fd);
	for (size_t i = 0; i < v->count; i++)
		if (v->waiting[i].sock != -1)
			close(v->waiting[i].sock);
	s->at.file = (struct file){0}; /* the file is the parent's */
	s->at.fd = sock;
	s->closer = (struct closer){0};
	deliver(s, deadline_in(s->cli->timeout));
	closer_hang_up(&s->closer, sock, NOBODY);
	closer_end(&s->closer, false);
	exit(0);
}

static void start(struct serving *v, int sock, uid_t uid)
{
	pid_t pid = fork();
	if (pid == 0)
		serve_one(v, sock);
	if (pid > 0)
		jobs_add(&v->jobs, &(struct job){.pid = pid, .uid = uid, .id = (uint64_t)now()});
	else
		warn("%s", v->s->at.arg);
	close(sock);
}

/* Start those that wait and can be served now, in the order in which they came. */
static void start_waiting(struct serving *v)
{
	size_t left = 0;
	for (size_t i = 0, count = v->count; i < count; i++) {
		const struct waiting w = v->waiting[i];
		if (has_place(v, w.uid)) {
			v->waiting[i].sock = -1;
			start(v, w.sock, w.uid);
		} else {
			v->waiting[left++] = w;
		}
	}
	v->count = left;
	v->told = v->told && left;
}

/* The process that yields its place to one that waits: the oldest of the uid that has most places. */
static struct job *oldest(const struct serving *v)
{
	struct job *oldest = NULL;
	size_t most = 0;
	for (size_t i = 0; i < v->jobs.used; i++) {
		struct job *j = &v->jobs.job[i];
		size_t of_uid = j->pid && !j->connection ? served_of(v, j->uid) : 0;
		if (of_uid > most || (of_uid && of_uid == most && j->id < oldest->id))
			oldest = j;
		most = of_uid > most ? of_uid : most;
	}
	return oldest;
}

/* A peer that takes nothing yields its place while others wait, the sooner the more there are: nobody waits much longer
 * than YIELD_MS for those before it. Returns when the next one does. */
static int64_t yield(struct serving *v)
{
	struct job *j;
	while (v->count && (j = oldest(v))) {
		int64_t until = (int64_t)j->id + (int64_t)((size_t)YIELD_MS * SERVED_PER_UID / (SERVED_PER_UID + v->count));
		if (time_left(until))
			return until;
		kill(j->pid, SIGTERM);
		j->connection = 1;
		v->ending++;
		start_waiting(v);
	}
	return NEVER;
}

static bool put_off(struct serving *v, int sock, uid_t uid)
{
	size_t of_uid = 0;
	for (size_t i = 0; i < v->count; i++)
		of_uid += v->waiting[i].uid == uid;
	struct waiting *grown = of_uid < v->share ? realloc(v->waiting, (v->count + 1) * sizeof *grown) : NULL;
	if (!grown)
		return false;
	grown[v->count++] = (struct waiting){.sock = sock, .uid = uid};
	v->waiting = grown;
	return true;
}

static void admit(struct serving *v, int sock, uid_t uid)
{
	if (has_place(v, uid)) {
		start(v, sock, uid);
	} else if (!put_off(v, sock, uid)) {
		closer_hang_up(&v->s->closer, sock, uid);
		if (!v->told)
			say_excess(v->s->cli, v->s->at.arg, uid);
		v->told = true;
	}
}

static void reap(struct serving *v)
{
	struct job ended;
	int status;
	while (jobs_reap(&v->jobs, &ended, &status))
		v->ending -= ended.connection != 0;
}

/* Returns the status to exit with. */
static int serve_all(struct sending *s, int sigfd)
{
	struct serving v = {.s = s, .sigfd = sigfd, .share = connections_of_uid()};
	struct peer peer;
	int sig = 0;
	signal(SIGCHLD, SIG_DFL); /* or there is nothing to reap */
	/* Those that were told to end may take a while. */
	if (jobs_open(&v.jobs, (size_t)SERVED_AT_ONCE * 2) == -1) {
		endpoint_close(&s->at);
		fail(s->at.arg);
	}
	door_open(&v.door, &s->at, &s->cli->allow, &s->closer);
	be_ready(s->cli, true);
	while (!ends(sig) && (v.door.fd != -1 || v.jobs.running)) {
		reap(&v);
		start_waiting(&v);
		sig = 0;
		int64_t until = yield(&v);
		int sock = accept_peer(s, &v.door, sigfd, until, &peer, &sig);
		if (sock != -1)
			admit(&v, sock, peer.uid);
		if (v.door.fd == -1 && !sig && v.jobs.running)
			await(sigfd, POLLIN, until);
	}
	ready_notify("STOPPING=1");
	for (size_t i = 0; i < v.count; i++)
		closer_hang_up(&s->closer, v.waiting[i].sock, v.waiting[i].uid);
	free(v.waiting);
	door_close(&s->at, &s->closer);
	say(s->cli, "%s: ended by %s, %llu served", s->at.arg, sig ? signal_name(sig) : "the end of its socket",
	    (unsigned long long)v.jobs.started);
	closer_end(&s->closer, false);
	return sig ? 0 : FAILED;
}

void sending_run(struct sending *s)
{
	int64_t deadline = deadline_in(s->cli->timeout);
	char why[120];
	if (!s->listen) {
		if (endpoint_connect(&s->at, wait_deadline(s->cli), deadline) == -1)
			quit(s, say_unconnected(s->at.arg));
		if (!peer_fits(s->cli, &s->at, why, sizeof why)) {
			warnx("%s: %s", s->at.arg, why);
			quit(s, FAILED);
		}
		deliver(s, deadline);
	} else {
		/* Signals first: we must remove the socket file from the moment that it exists. */
		int sigfd = signals_open(s->keep);
		if (sigfd == -1 || endpoint_listen(&s->at, socket_mode(s->cli, true), s->cli->backlog) == -1)
			fail_listen(s->at.arg, "connect without -l");
		if (s->at.listens && s->keep) {
			exit(serve_all(s, sigfd));
		} else if (s->at.listens) {
			serve_first(s, sigfd, deadline);
		} else {
			signals_close(sigfd);
			deliver(s, deadline);
		}
	}
	endpoint_close(&s->at);
}
