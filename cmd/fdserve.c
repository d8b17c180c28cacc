/* SPDX-License-Identifier: ISC */
/* fdserve: accept connections, and hand each to a worker or run a command for it. */
#include "fdserve.h"
#include "address.h"
#include "child.h"
#include "closer.h"
#include "command.h"
#include "door.h"
#include "fdserve_dispatch.h"
#include "inbox.h"
#include "jobs.h"
#include "messages.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, READY_AFTER_MS = 1000 };

/* Reject options that do not apply before anything is opened. */
static void check_options(const struct options *o)
{
	const struct cli *c = &o->cli;
	check_given(c, (int[]){'a', 'b', 'e', 'i', 'j', 'k', 'l', 'o', 't', 'w', 'B', 'C', 'L', 'M', 'P', OPT_ACK_TIMEOUT, OPT_NONBLOCK,
	                       OPT_NO_PID, 0}, !o->lease, "cannot be combined with --lease");
	check_given(c, (int[]){OPT_LEASE, 0}, o->command.argv, "needs -- COMMAND");
	check_given(c, (int[]){'i', 'o', 'e', 'B', 'j', 'C', 'P', OPT_ACK_TIMEOUT, 0}, !o->listener,
	            "cannot be combined with -L");
	check_given(c, (int[]){'t', OPT_NONBLOCK, OPT_NO_PID, 0}, o->listener, "needs -L");
	check_given(c, (int[]){'l', 'P', 't', 'w', OPT_ACK_TIMEOUT, 0}, !o->command.argv, "needs a SOCKET");
	check_given(c, (int[]){'i', 'o', 'e', 'B', 'j', OPT_NO_PID, 0}, o->command.argv, "needs -- COMMAND");
	check_given(c, (int[]){'k', 0}, o->listener && o->command.argv, "needs -L and -- COMMAND");
	check_given(c, (int[]){OPT_READY_AFTER, 0}, o->keep, "needs -k");
	check_given(c, (int[]){OPT_DRAIN, 0}, !o->listener || o->keep, "with -L needs -k");
	check_given(c, (int[]){'C', OPT_ACK_TIMEOUT, 0}, !o->plain, "cannot be combined with -P");
	check_given(c, (int[]){'w', 0}, !o->listener || !o->listen, "cannot be combined with -L -l");
	if (o->patience == 0)
		errx(FAILED, "--ack-timeout must be greater than 0");
	if (o->command.argv && !*o->command.argv)
		errx(FAILED, "COMMAND is missing after --");
}

/* The same once it is known which ADDRESSes are Unix sockets: those that are inherited may be. */
static void check_peers(const struct options *o)
{
	bool files = o->listen, peers = !o->command.argv;
	for (size_t i = 0; i < o->addresses.count; i++) {
		const struct listener *l = &o->addresses.listener[i];
		if (o->lease && (!l->found || l->at.type == SOCK_DGRAM))
			errx(FAILED, "%s: --lease keeps TCP ports only (HOST:PORT)", l->arg);
		if (l->at.type == SOCK_DGRAM && !o->listener)
			errx(FAILED, "%s: UDP has no connections to hand over (-L hands over the socket)", l->arg);
		files = files || l->local;
		peers = peers || (!o->listener && (l->local || l->at.kind == END_FD));
	}
	check_given(&o->cli, (int[]){'M', 0}, files, "needs -l or an ADDRESS that is a Unix socket");
	check_given(&o->cli, (int[]){'a', 0}, peers, "needs a SOCKET or connections to an ADDRESS that is a Unix socket");
}

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.jobs = 64, .patience = PATIENCE_MS, .ready_after = READY_AFTER_MS};
	int option;
	cli_start(&o.cli, argv, FDSERVE, "usage: fdserve [options] ADDRESS... SOCKET\n"
	          "       fdserve [options] ADDRESS... -- COMMAND [ARG...]\n"
	          "       fdserve -L [options] [NAME=]ADDRESS... SOCKET\n"
	          "       fdserve -L [-k] [options] [NAME=]ADDRESS... -- COMMAND [ARG...]\n"
	          "       fdserve [options] --lease [NAME=]ADDRESS... -- COMMAND [ARG...]\n\n"
	          "Accept connections at ADDRESS, and hand each to the worker at SOCKET or to a\n"
	          "COMMAND of its own. With -L, hand over the listening sockets themselves. With\n"
	          "--lease, keep a TCP port for a server that takes no socket.\n"
	          "Example: fdserve 127.0.0.1:8000 -- ./handler\n");
	while ((option = cli_option(&o.cli, argc, argv)) != -1)
		switch (option) {
		case 'A': check("-A", optarg, address_file_parse(&o.addresses.file, optarg)); break;
		case 'C': check("-C", optarg, parse_number(&o.per_source, optarg, 1, INT32_MAX)); break;
		case 'j': check("-j", optarg, parse_number(&o.jobs, optarg, 1, 1 << 20)); break;
		case 'k': o.keep = true; break;
		case 'l': o.listen = true; break;
		case 'L': o.listener = true; break;
		case 'P': o.plain = true; break;
		case OPT_LEASE: o.lease = true; break;
		case OPT_NONBLOCK: o.nonblock = true; break;
		case OPT_NO_PID: o.no_pid = true; break;
		case OPT_READY_AFTER: check("--ready-after", optarg, parse_time(&o.ready_after, optarg)); break;
		case OPT_ACK_TIMEOUT: check("--ack-timeout", optarg, parse_time(&o.patience, optarg)); break;
		default: break;
		}
	command_options(&o.command, &o.cli, !o.listener);
	int end = optind;
	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end < argc)
		o.command.argv = argv + end + 1;
	else
		end--;
	/* getopt_long has passed over a -- that comes first. */
	if (end <= optind)
		errx(FAILED, "%s is missing (--help shows how to call it)",
		     end < optind || o.command.argv || strcmp(argv[optind - 1], "--") == 0 ? "ADDRESS" : "SOCKET or -- COMMAND");
	check_options(&o);
	listening_parse(&o.addresses, argv + optind, (size_t)(end - optind), o.listener || o.lease);
	if (o.lease)
		child_check_names(&o.addresses);
	check_peers(&o);
	if (!o.command.argv) {
		check("", argv[end], endpoint_parse(&o.worker, argv[end]));
		check_socket(&o.worker, " (COMMAND follows --)");
	}
	return o;
}

/* ---- connections ---- */

static bool runs_command(const struct server *s)
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

static void close_client(struct server *s, int sock, uid_t from)
{
	if (from == NOBODY)
		close(sock);
	else
		closer_close(&s->closer, sock, from);
}

/* Start COMMAND on the held connection. */
static void start_command(struct server *s)
{
	char *no_name = NULL;
	struct delivery d = {.set = {.fd = &s->held, .name = &no_name, .count = 1}, .peer = {.uid = NOBODY}};
	struct job *job = jobs_start(&s->jobs, &s->o->command, &d);
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
	if (job)
		job->source = s->held_source;
	if (d.set.count)
		close_client(s, s->held, s->held_from);
	s->held = -1;
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
	int sock = door_accept(&s->doors[i], &peer);
	if (sock == -1) {
		s->resting = s->doors[i].resting;
		say_not_accepted(&s->o->cli, l->arg, &peer);
		return false;
	}
	s->accepted++;
	uid_t from = l->local ? peer.uid : NOBODY;
	struct share *source;
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

/* Can nothing come any more? */
static bool is_over(const struct server *s)
{
	for (size_t i = 0; i < s->o->addresses.count; i++)
		if (s->doors[i].fd != -1)
			return s->o->listen && s->workers.fd == -1 && !s->dispatch.workers;
	return true;
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
	p[n++] = (struct pollfd){.fd = s->sigfd, .events = POLLIN};
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
	int64_t next = sooner(s->resting ? s->resting : NEVER, dispatch_deadline(&s->dispatch));
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

/* Serve until a signal, which is returned; 0 where no worker came in time, or nothing can come any more. */
static int serve(struct server *s)
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

/* End: hand accepted connections to workers while there are any, and let commands finish; a second signal or --drain
 * ends all that. */
static void finish(struct server *s)
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

static void open_server(struct server *s)
{
	struct options *o = s->o;
	/* An inherited socket works or fails at once; waiting would not help. */
	if (o->worker.kind == END_FD && !o->command.argv && !o->listen && endpoint_dial(&o->worker) == -1)
		exit(say_unconnected(o->worker.arg));
	/* Signals first: we must remove the socket file from the moment that it exists. */
	s->sigfd = signals_open(true);
	if (s->sigfd == -1 || !(s->doors = calloc(o->addresses.count, sizeof *s->doors)) ||
	    (runs_command(s) && jobs_open(&s->jobs, (size_t)o->jobs) == -1))
		fail(o->addresses.listener[0].arg);
	o->worker.nofile = &o->command.nofile;
	o->worker.service = true;
	listening_open(&o->addresses, &o->cli, true);
	if (o->listen && endpoint_listen(&o->worker, socket_mode(&o->cli, true), o->cli.backlog) == -1) {
		listening_close(&o->addresses);
		exit(say_not_listening(o->worker.arg, "connect without -l"));
	}
	for (size_t i = 0; i < o->addresses.count; i++) {
		const struct listener *l = &o->addresses.listener[i];
		door_open(&s->doors[i], &l->at, l->local ? &o->cli.allow : NULL, &s->closer);
		s->doors[i].flags = 0;
	}
	door_open(&s->workers, &o->worker, &o->cli.allow, &s->closer);
	int status = listening_announce(&o->addresses, &o->cli, s->sigfd, NEVER);
	if (status) {
		endpoint_close(&o->worker);
		exit(status);
	}
	/* SOCKET may be an inherited connected one. */
	if (o->listen && !o->worker.listens) {
		if (dispatch_add(&s->dispatch, o->worker.fd) == -1)
			fail(o->worker.arg);
		o->worker.fd = -1;
	}
}

static void tell_end(const struct server *s, int sig)
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

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct server s = {
		.o = &o, .held = -1, .end_by = NEVER, .pause = DIAL_MS,
		.dispatch = {.plain = o.plain, .sources = &s.sources, .patience = o.patience},
	};
	s.dispatch.closer = &s.closer;
	guard_standard();
	command_prepare(&o.command);
	if (o.command.argv)
		find_command(&o.cli, &o.command);
	if (o.lease)
		lease_ports(&o);
	if (o.listener)
		return hand_over_listeners(&o);
	open_server(&s);
	s.give_up = runs_command(&s) ? NEVER : deadline_in(o.cli.wait);
	be_ready(&o.cli, true);
	if (runs_command(&s) && jobs_reserve(&s.jobs, &s.closer) == -1) {
		listening_close(&o.addresses);
		fail(o.addresses.listener[0].arg);
	}
	int sig = serve(&s);
	ready_notify("STOPPING=1");
	if (!sig && !is_over(&s)) {
		listening_close(&o.addresses);
		endpoint_close(&o.worker);
		errx(TIMED_OUT, "%s: timed out: no worker came", o.worker.arg);
	}
	finish(&s);
	tell_end(&s, sig);
	dispatch_close(&s.dispatch);
	door_close(&o.worker, &s.closer);
	closer_end(&s.closer, s.jobs.running);
	return sig ? 0 : FAILED;
}
