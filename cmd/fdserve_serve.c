/* SPDX-License-Identifier: ISC */
/* fdserve's loop: accept connections while they can be handed over, and at the end finish what was begun. */
#include "fdserve.h"
#include "address.h"
#include "closer.h"
#include "door.h"
#include "fdserve_dispatch.h"
#include "inbox.h"
#include "jobs.h"
#include "messages.h"
#include "peer.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT_SHOWN = NI_MAXHOST + NI_MAXSERV };

/* ---- connections ---- */

bool runs_command(const struct server *s)
{
	return s->o->command.argv;
}

/* Count SOCK, which came to L, FROM a uid if L is a Unix socket, with its source: no source has more than -C says. False: SOCK is
 * one too many, or there was no memory. */
static bool count_source(struct server *s, const struct listener *l, int sock, uid_t from, struct share **source)
{
	*source = NULL;
	if (!s->o->per_source)
		return true;
	*source = share_join(&s->sources, l->local ? source_of_uid(from) : source_of_address(sock));
	if (*source && (*source)->connections <= (size_t)s->o->per_source)
		return true;
	if (*source) {
		note(&s->o->cli, "%s: closed a connection: its source has %ld already", l->arg, s->o->per_source);
		share_leave(&s->sources, *source);
	} else {
		warn("%s", l->arg);
	}
	return false;
}

static void end_source(struct server *s, struct share *source)
{
	if (source)
		share_leave(&s->sources, source);
}

static void reap(struct server *s)
{
	struct job ended;
	int status;
	while (jobs_reap(&s->jobs, &ended, &status)) {
		if (ended.pid == s->o->worker.child) {
			s->o->worker.child = 0;
			continue;
		}
		end_source(s, ended.source);
		if (ended.error)
			warnx("%s: %s", s->o->command.argv[0], strerror(ended.error));
		note(&s->o->cli, "%s: pid %ld ended with status %d", s->o->command.argv[0], (long)ended.pid,
		     exit_status(status));
	}
}

static void close_client(struct server *s, int sock, uid_t from)
{
	if (from == NOBODY)
		close(sock);
	else
		closer_close(&s->closer, sock, from);
}

/* If -v is given, write into TEXT who is at the other end of SOCK: the address, or the process. Returns TEXT. */
static const char *show_client(const struct server *s, int sock, char text[CLIENT_SHOWN])
{
	struct sockaddr_storage a = {0};
	socklen_t size = sizeof a;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	const char *name = host, mapped[] = "::ffff:";
	struct peer peer;
	text[0] = '\0';
	if (s->o->cli.loud <= 0)
		return text;
	snprintf(text, CLIENT_SHOWN, "a client that has gone");
	if (getpeername(sock, (struct sockaddr *)&a, &size) == -1)
		return text;
	if (a.ss_family == AF_UNIX && peer_of(sock, &peer) == 0)
		snprintf(text, CLIENT_SHOWN, "pid %ld, uid %lu", (long)peer.pid, (unsigned long)peer.uid);
	else if (getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
		name += strncmp(host, mapped, strlen(mapped)) == 0 ? strlen(mapped) : 0;
		snprintf(text, CLIENT_SHOWN, strchr(name, ':') ? "[%s]:%s" : "%s:%s", name, port);
	}
	return text;
}

/* Start COMMAND on the held connection. */
static void start_command(struct server *s)
{
	char *no_name = NULL, client[CLIENT_SHOWN];
	struct delivery d = {.set = {.fd = &s->held, .name = &no_name, .count = 1}, .peer = {.uid = NOBODY}};
	show_client(s, s->held, client);
	struct job *job = jobs_start(&s->jobs, &s->o->command, &d, "");
	if (!job) {
		if (s->jobs.failures == 1)
			warn("%s", s->o->command.argv[0]);
		s->resting = deadline_in(REST_MS);
		if (!s->stopping || s->jobs.running)
			return;
		/* No command will end and make room: it would be for ever. */
		warnx("%s: closed a connection that it could not be started for", s->o->command.argv[0]);
		end_source(s, s->held_source);
	}
	if (job) {
		note(&s->o->cli, "%s: pid %ld started for %s", s->o->command.argv[0], (long)job->pid, client);
		job->source = s->held_source;
	}
	if (d.set.count) /* COMMAND has it, and may have set SO_LINGER */
		closer_close(&s->closer, s->held, s->held_from == NOBODY ? 0 : s->held_from);
	s->held = -1;
	/* Nobody waits for the end of a command while there is room. */
	if (job && !s->quiet && !s->o->per_source && s->jobs.running < s->jobs.limit / 2)
		s->quiet = deadline_in(QUIET_MS);
}

/* How many connections can be handed over now. */
static size_t room(const struct server *s)
{
	if (s->resting || s->held != -1)
		return 0;
	return runs_command(s) ? s->jobs.limit - s->jobs.running : dispatch_room(&s->dispatch);
}

/* Accept one connection at address I and pass it on. Returns false if there was none. */
static bool accept_one(struct server *s, size_t i)
{
	const struct listener *l = &s->o->addresses.listener[i];
	struct peer peer;
	char client[CLIENT_SHOWN];
	int sock = door_accept(&s->doors[i], &peer);
	if (sock == -1) {
		s->resting = s->doors[i].resting;
		say_not_accepted(&s->o->cli, l->arg, &peer);
		return false;
	}
	s->accepted++;
	if (s->quiet)
		reap(s);
	uid_t from = l->local ? peer.uid : NOBODY;
	struct share *source;
	if (!runs_command(s))
		note(&s->o->cli, "%s: connection from %s", l->arg, show_client(s, sock, client));
	if (!count_source(s, l, sock, from, &source)) {
		close_client(s, sock, from);
	} else if (runs_command(s)) {
		s->held = sock;
		s->held_source = source;
		s->held_from = from;
		start_command(s);
	} else if (dispatch_give(&s->dispatch, sock, source) == -1) {
		warn("%s", l->arg);
		end_source(s, source);
		close_client(s, sock, from);
	}
	return true;
}

bool is_over(const struct server *s)
{
	for (size_t i = 0; i < s->o->addresses.count; i++)
		if (s->doors[i].fd != -1)
			return s->o->listen && s->workers.fd == -1 && !s->dispatch.workers;
	return true;
}

static void tell_figures(const struct server *s)
{
	const struct dispatch *d = &s->dispatch;
	const char *arg = s->o->addresses.listener[0].arg;
	if (runs_command(s))
		warnx("%s: accepted %llu, started %llu, running %zu", arg, (unsigned long long)s->accepted,
		    (unsigned long long)s->jobs.started, s->jobs.running);
	else
		warnx("%s: accepted %llu, handed over %llu, acknowledged %llu, returned %llu, waiting %zu, "
		    "workers %zu, slots %zu", arg, (unsigned long long)s->accepted, (unsigned long long)d->handed,
		    (unsigned long long)d->acknowledged, (unsigned long long)d->returned, d->pending, d->workers,
		    dispatch_slots(d));
}

/* ---- the loop ---- */

/* Fill P: signals, SOCKET with -l, listening sockets while there is room, workers. */
static void poll_set(const struct server *s, struct pollfd *p)
{
	size_t n = 0;
	bool accepts = room(s) && !s->stopping;
	/* cppcheck-suppress ctunullpointer ; fail does not return */
	p[n++] = (struct pollfd){.fd = s->quiet ? -1 : s->sigfd, .events = POLLIN};
	p[n++] = (struct pollfd){.fd = s->o->listen && !s->resting ? s->workers.fd : -1, .events = POLLIN};
	for (size_t i = 0; i < s->o->addresses.count; i++)
		p[n++] = (struct pollfd){.fd = accepts ? s->doors[i].fd : -1, .events = POLLIN};
	dispatch_poll(&s->dispatch, p + n);
}

/* Do what is due; return the next deadline. */
static int64_t on_time(struct server *s)
{
	if (s->resting && !time_left(s->resting))
		s->resting = 0;
	if (s->held != -1 && !s->resting)
		start_command(s);
	if (s->quiet && !time_left(s->quiet)) {
		s->quiet = 0;
		reap(s);
	}
	int64_t next = sooner(s->resting ? s->resting : NEVER, dispatch_deadline(&s->dispatch));
	next = sooner(next, s->quiet ? s->quiet : NEVER);
	if (runs_command(s) || s->o->listen || s->dispatch.workers || s->stopping)
		return sooner(next, s->give_up);
	if (time_left(s->dial) == 0)
		dial_worker(s);
	return s->dispatch.workers ? now() : sooner(next, sooner(s->dial, s->give_up));
}

/* One round: wait, and handle the events. Returns a signal that ends us, or 0. */
static int serve_once(struct server *s)
{
	int64_t until = sooner(on_time(s), s->end_by);
	size_t most = 2 + s->o->addresses.count + s->dispatch.workers;
	struct pollfd few[16], *p = most <= sizeof few / sizeof *few ? few : calloc(most, sizeof *p);
	if (!p)
		fail(s->o->addresses.listener[0].arg);
	poll_set(s, p);
	int ready = await_any(p, most, until);
	if (ready >= 0)
		run_dispatch(s, p + 2 + s->o->addresses.count);
	int sig = ready > 0 && p[0].revents ? signals_next(s->sigfd) : 0;
	if (sig == SIGCHLD)
		reap(s);
	if (sig == SIGUSR1)
		tell_figures(s);
	if (ready > 0 && p[1].revents)
		accept_worker(s);
	for (size_t i = 0; ready > 0 && i < s->o->addresses.count; i++)
		for (int n = 0; p[2 + i].revents && n < ACCEPTS_MOST && room(s) && accept_one(s, i); n++)
			;
	if (p != few)
		free(p);
	return ends(sig) ? sig : 0;
}

int serve(struct server *s)
{
	int sig = 0;
	while (!sig && !is_over(s) && (s->give_up == NEVER || time_left(s->give_up)))
		sig = serve_once(s);
	return sig;
}

/* Has --drain run out? */
static bool is_late(const struct server *s)
{
	return s->end_by != NEVER && !time_left(s->end_by);
}

/* Accept the queue of a listening socket that is only ours, and close it. Returns a second signal, or 0. */
static int drain(struct server *s, size_t i)
{
	struct listener *l = &s->o->addresses.listener[i];
	int sig = 0;
	size_t queued = listener_queue(l);
	while (queued && !sig && !is_late(s) &&
	       (runs_command(s) ? !s->jobs.failures || s->jobs.running : dispatch_hopeful(&s->dispatch))) {
		if (!room(s))
			sig = serve_once(s);
		else
			queued = accept_one(s, i) ? queued - 1 : 0;
	}
	for (struct peer peer; queued; queued--) {
		int sock = door_accept(&s->doors[i], &peer);
		if (sock == -1)
			break;
		close_client(s, sock, l->local ? peer.uid : NOBODY);
		s->lost++;
	}
	if (l->local)
		door_close(&l->at, &s->closer);
	listener_close(l);
	s->doors[i].fd = -1;
	return sig;
}

void finish(struct server *s)
{
	int sig = 0;
	s->stopping = true;
	s->end_by = deadline_in(s->o->cli.drain);
	while (!sig && !is_late(s) && s->held != -1)
		sig = serve_once(s);
	for (size_t i = 0; i < s->o->addresses.count; i++)
		if (!sig)
			sig = drain(s, i);
	listening_close(&s->o->addresses);
	if (!sig)
		say_waiting(&s->o->cli, s->o->addresses.listener[0].arg, s->jobs.running);
	while (!sig && !is_late(s) && (s->jobs.running || s->held != -1 || (s->dispatch.pending && dispatch_hopeful(&s->dispatch))))
		sig = serve_once(s);
	jobs_kill(&s->jobs, SIGTERM);
	say_ended(&s->o->cli, s->o->addresses.listener[0].arg, s->jobs.running, "TERM");
	s->end_by = deadline_in(s->o->cli.drain);
	while (!sig && !is_late(s) && s->jobs.running)
		sig = serve_once(s);
	if (!sig) {
		jobs_kill(&s->jobs, SIGKILL);
		say_ended(&s->o->cli, s->o->addresses.listener[0].arg, s->jobs.running, "KILL");
	}
}

void tell_end(const struct server *s, int sig)
{
	size_t lost = s->dispatch.pending + s->lost + (s->held != -1);
	const char *arg = s->o->addresses.listener[0].arg;
	if (lost)
		warnx("%s: closed %zu connection%s that no %s took", arg, lost, plural(lost),
		      runs_command(s) ? "COMMAND" : "worker");
	uint64_t n = runs_command(s) ? s->jobs.started : s->dispatch.handed - s->dispatch.returned;
	say(&s->o->cli, runs_command(s) ? "%s: ended by %s, %llu command%s run" : "%s: ended by %s, %llu connection%s handed over",
	    arg, sig ? signal_name(sig) : "the end of its sockets", (unsigned long long)n, plural(n));
}
