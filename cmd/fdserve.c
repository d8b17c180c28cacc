/* SPDX-License-Identifier: ISC */
/* fdserve: accept connections, and hand each to a worker or run a command for it. */
#include "cli.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options {
	struct cli cli;
	struct command command; /* argv NULL: a worker takes the connections */
	long jobs;
	const char *address_file;
	struct listener *listener;
	size_t listeners;
	struct endpoint worker;
};

enum { REST_MS = 100, DIAL_FIRST_MS = 10, DIAL_MOST_MS = 250 };

static void parse_addresses(struct options *o, char *argv[], size_t count)
{
	o->listeners = count;
	o->listener = calloc(count, sizeof *o->listener);
	if (!o->listener)
		err(FAILED, "%s", argv[0]);
	for (size_t i = 0; i < count; i++)
		check("", argv[i], listener_parse(&o->listener[i], argv[i]));
}

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.jobs = 64};
	int letter;
	bool jobs = false;
	cli_start(&o.cli, argv, "fdserve [options] ADDRESS... SOCKET\n"
	          "       fdserve [options] ADDRESS... -- COMMAND [ARG...]", "abeijoqvwABMRhV");
	while ((letter = cli_option(&o.cli, argc, argv)) != -1)
		switch (letter) {
		case 'A': o.address_file = optarg; break;
		case 'j': check("-j", optarg, parse_number(&o.jobs, optarg, 1, 1 << 20)); jobs = true; break;
		default: command_option(&o.command, letter);
		}
	int end = optind;
	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	bool chosen = o.command.in || o.command.out || o.command.err;
	if (end < argc) {
		o.command.argv = argv + end + 1;
		if (!chosen)
			o.command.in = o.command.out = o.command.err = true;
	} else {
		if (chosen || o.command.blocking || jobs)
			errx(FAILED, "-i, -o, -e, -B and -j go with -- COMMAND");
		end--;
	}
	if (end <= optind)
		errx(FAILED, "%s is missing (--help shows how to call it)", end < optind ? "ADDRESS" :
		     argv[optind] && strcmp(argv[optind], "--") != 0 ? "SOCKET or -- COMMAND" : "ADDRESS");
	if (o.command.argv && !*o.command.argv)
		errx(FAILED, "COMMAND is missing after --");
	parse_addresses(&o, argv + optind, (size_t)(end - optind));
	if (!o.command.argv)
		check("", argv[end], endpoint_parse(&o.worker, argv[end]));
	return o;
}

static void close_listeners(struct options *o)
{
	for (size_t i = 0; i < o->listeners; i++)
		listener_close(&o->listener[i]);
}

/* Open every address, or none. */
static void open_listeners(struct options *o)
{
	if (o->address_file && address_file_remove(o->address_file) == -1)
		err(FAILED, "-A %s", o->address_file);
	for (size_t i = 0; i < o->listeners; i++) {
		const char *why = listener_open(&o->listener[i], o->cli.mode, o->cli.backlog);
		if (why) {
			close_listeners(o);
			errx(FAILED, "%s: %s", o->listener[i].arg, why);
		}
	}
}

/* The addresses really bound, a line each: told with -v, written with -A. */
static void announce(struct options *o)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	for (size_t i = 0; out && i < o->listeners; i++) {
		char name[4200];
		if (listener_name(&o->listener[i], name, sizeof name) == -1)
			snprintf(name, sizeof name, "%s", o->listener[i].arg);
		fprintf(out, "%s\n", name);
		note(&o->cli, "%s: listening", name);
	}
	if (!out || fclose(out) == EOF ||
	    (o->address_file && address_file_write(o->address_file, text) == -1)) {
		close_listeners(o);
		err(FAILED, "-A %s", o->address_file ? o->address_file : "");
	}
	free(text);
}

/* What the loop knows. */
struct server {
	struct options *o;
	struct jobs jobs;
	struct env env;
	int sigfd;
	int held;               /* a connection that is accepted and not handed over, or -1 */
	bool told;              /* that no worker is there */
	int64_t dial;           /* when to try the worker again */
	int pause;
	int64_t resting;        /* accept nothing before: out of descriptors, memory or processes */
	uint64_t handed;
};

static bool rests(struct server *s)
{
	if (s->resting && time_left(s->resting) == 0)
		s->resting = 0;
	return s->resting != 0;
}

static void worker_lost(struct server *s)
{
	endpoint_close(&s->o->worker);
	s->pause = DIAL_FIRST_MS;
	s->dial = deadline_in(s->pause);
}

static bool worker_there(const struct server *s)
{
	return s->o->worker.fd != -1;
}

/* Try to reach the worker; say once why not, and again after it had been there. */
static void dial_worker(struct server *s)
{
	struct endpoint *w = &s->o->worker;
	struct peer peer;
	const char *why = NULL;
	char text[80];
	if (endpoint_dial(w, true) == -1)
		why = reason(errno);
	else if (!endpoint_given(w) && (peer_of(w->fd, &peer) == -1 || !peer_allowed(&s->o->cli.allow, &peer, w->fd))) {
		snprintf(text, sizeof text, "belongs to uid %lu, refused (-a %lu allows it)", (unsigned long)peer.uid,
		         (unsigned long)peer.uid);
		why = text;
		endpoint_close(w);
	}
	if (!why) {
		note(&s->o->cli, "%s: worker is there", w->arg);
		s->told = false;
		return;
	}
	if (!s->told)
		say(&s->o->cli, "%s: waiting for a worker: %s", w->arg, why);
	s->told = true;
	s->pause = s->pause < DIAL_MOST_MS / 2 ? 2 * s->pause : DIAL_MOST_MS;
	s->dial = deadline_in(s->pause);
}

/* Hand the held connection over. It is closed here only once the worker's socket has it. */
static void hand_over(struct server *s)
{
	if (rights_send(s->o->worker.fd, &s->held, 1, "", 1) == 1) {
		close(s->held);
		s->held = -1;
		s->handed++;
		note(&s->o->cli, "%s: handed over a connection", s->o->worker.arg);
	} else if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM) {
		s->resting = deadline_in(REST_MS);
	} else if (errno != EAGAIN) {
		say(&s->o->cli, "%s: worker is gone: %s", s->o->worker.arg, strerror(errno));
		worker_lost(s);
	}
}

/* The worker has nothing to say in the plain form; what counts is its end of file. */
static void listen_to_worker(struct server *s)
{
	char ignored[512];
	ssize_t n = recv(s->o->worker.fd, ignored, sizeof ignored, MSG_DONTWAIT);
	if (n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR)))
		return;
	say(&s->o->cli, "%s: worker is gone", s->o->worker.arg);
	worker_lost(s);
}

static void run_command(struct server *s)
{
	struct delivery d = {.fds = {.fd = &s->held, .count = 1}};
	uint64_t before = s->jobs.started;
	int error = jobs_start(&s->jobs, &s->o->command, &s->env, &d);
	if (error)
		warnx("%s: %s", s->o->command.argv[0], strerror(error));
	if (s->jobs.started == before) {
		s->resting = deadline_in(REST_MS);
		return;
	}
	close(s->held);
	s->held = -1;
}

/* Pass on what is held, where it goes. */
static void pass_on(struct server *s)
{
	if (s->o->command.argv)
		run_command(s);
	else if (worker_there(s))
		hand_over(s);
}

/* A client on a Unix socket is a peer as any other. */
static bool client_allowed(const struct server *s, const struct listener *l, int sock)
{
	struct peer peer;
	if (!l->local)
		return true;
	if (peer_of(sock, &peer) == 0 && peer_allowed(&s->o->cli.allow, &peer, sock))
		return true;
	say_refused(&s->o->cli, l->arg, &peer);
	return false;
}

static void accept_one(struct server *s, const struct listener *l)
{
	s->held = listener_accept(l);
	if (s->held != -1 && client_allowed(s, l, s->held)) {
		pass_on(s);
	} else if (s->held != -1) {
		close(s->held);
		s->held = -1;
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
		s->resting = deadline_in(REST_MS);
	}
}

static void reap(struct server *s)
{
	int status;
	pid_t pid;
	while ((pid = jobs_reap(&s->jobs, &status))) {
		if (pid == s->o->worker.child)
			s->o->worker.child = 0;
		else
			note(&s->o->cli, "%s: pid %ld ended with status %d", s->o->command.argv[0], (long)pid,
			     exit_status(status));
	}
}

/* When something is to be done though no descriptor says so. */
static int64_t next_time(const struct server *s)
{
	int64_t next = s->resting ? s->resting : NEVER;
	if (!s->o->command.argv && !worker_there(s) && (next == NEVER || s->dial < next))
		next = s->dial;
	return next;
}

/* Serve until a signal, which is returned. */
static int serve(struct server *s)
{
	struct options *o = s->o;
	size_t n = o->listeners + 2;
	struct pollfd *p = calloc(n, sizeof *p);
	int64_t give_up = o->cli.wait ? deadline_in(o->cli.wait) : NEVER;
	if (!p)
		fail(o->listener[0].arg);
	for (;;) {
		if (!o->command.argv && !worker_there(s) && time_left(s->dial) == 0)
			dial_worker(s);
		if (o->command.argv || worker_there(s))
			give_up = NEVER;
		else if (time_left(give_up) == 0)
			return 0;
		bool resting = rests(s);
		if (s->held != -1 && !resting && o->command.argv)
			pass_on(s);
		bool accepts = s->held == -1 && !resting &&
		               (o->command.argv ? s->jobs.running < s->jobs.limit : worker_there(s));
		p[0] = (struct pollfd){.fd = s->sigfd, .events = POLLIN};
		p[1] = (struct pollfd){.fd = o->command.argv ? -1 : o->worker.fd,
		                       .events = s->held != -1 && !resting ? POLLIN | POLLOUT : POLLIN};
		for (size_t i = 0; i < o->listeners; i++)
			p[2 + i] = (struct pollfd){.fd = accepts ? o->listener[i].at.fd : -1, .events = POLLIN};
		int64_t next = next_time(s);
		if (give_up != NEVER && (next == NEVER || give_up < next))
			next = give_up;
		if (poll(p, n, time_left(next)) <= 0)
			continue;
		int sig = p[0].revents ? signals_next(s->sigfd) : 0;
		if (sig == SIGCHLD)
			reap(s);
		else if (sig && sig != SIGUSR1)
			return free(p), sig;
		if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
			listen_to_worker(s);
		if (s->held != -1 && worker_there(s) && p[1].revents & POLLOUT)
			hand_over(s);
		for (size_t i = 0; i < o->listeners && s->held == -1; i++)
			if (p[2 + i].revents && (!o->command.argv || s->jobs.running < s->jobs.limit))
				accept_one(s, &o->listener[i]);
	}
}

/* Let running commands finish; a second signal ends them. */
static void finish(struct server *s)
{
	if (s->held != -1) {
		if (!s->o->command.argv && !worker_there(s))
			dial_worker(s);
		pass_on(s);
	}
	while (s->jobs.running) {
		await(s->sigfd, POLLIN, NEVER);
		int sig = signals_next(s->sigfd);
		if (sig == SIGHUP || sig == SIGINT || sig == SIGTERM) {
			jobs_kill(&s->jobs, SIGTERM);
			return;
		}
		reap(s);
	}
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct server s = {.o = &o, .held = -1, .pause = DIAL_FIRST_MS};
	guard_standard();
	command_prepare(&o.command);
	open_listeners(&o);
	announce(&o);
	s.sigfd = signals_open(true);
	if (s.sigfd == -1 || jobs_open(&s.jobs, (size_t)o.jobs) == -1 || env_open(&s.env) == -1)
		fail(o.listener[0].arg);
	env_unset(&s.env, "NOTIFY_SOCKET");
	tell_ready(&o.cli, true);
	int sig = serve(&s);
	ready_notify("STOPPING=1");
	close_listeners(&o);
	if (!sig)
		errx(TIMED_OUT, "%s: timed out: no worker came", o.worker.arg);
	finish(&s);
	endpoint_close(&o.worker);
	say(&o.cli, "%s: ended by %s, %llu %s%s", o.listener[0].arg, signal_name(sig),
	    (unsigned long long)(o.command.argv ? s.jobs.started : s.handed),
	    o.command.argv ? "commands run" : "connections handed over", s.held == -1 ? "" : ", 1 not");
	return 0;
}
