/* SPDX-License-Identifier: ISC */
/* fdexec: run a command for every message with descriptors. */
#include "fdexec.h"
#include "channel.h"
#include "closer.h"
#include "door.h"
#include "events.h"
#include "inbox.h"
#include "jobs.h"
#include "messages.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "record.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RETRY_MS = 100,         /* after a lack of processes or memory */
	DIAL_MS = 10,           /* between attempts to connect: at first, and at most */
	DIAL_MOST_MS = 250,
	KILL_MS = 1000,         /* for the end of commands that get KILL */
	QUIET_MS = 5,           /* after the start of a command */
	SLOTS_MOST = 128,       /* offered to one dispatcher: twice as many answers fit into its socket's queue */
};

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.jobs = 64, .pair = -1};
	int option;
	cli_start(&o.cli, argv, FDEXEC, "usage: fdexec [options] SOCKET COMMAND [ARG...]\n"
	          "       fdexec [-v|-q] -S FD COMMAND [ARG...]\n\n"
	          "Run COMMAND for every message with descriptors that arrives at SOCKET.\n"
	          "Example: fdexec w.sock ./handler & fdserve 127.0.0.1:8000 w.sock\n");
	while ((option = cli_option(&o.cli, argc, argv)) != -1)
		switch (option) {
		case 'c': o.connect = true; break;
		case 'j': check("-j", optarg, parse_number(&o.jobs, optarg, 1, 1 << 20)); break;
		case OPT_ARGS: o.args = true; break;
		case OPT_CWD: o.cwd = true; break;
		case OPT_ACCEPT_ENV: check("--accept-env", optarg, vars_parse(o.vars = optarg)); break;
		case 'S': check("-S", optarg, parse_number(&o.pair, optarg, 0, INT32_MAX)); break;
		default: break;
		}
	command_options(&o.command, &o.cli, true);
	if (o.pair == -1) {
		const char *arg = operand(argc, argv, "SOCKET");
		check("", arg, endpoint_parse(&o.at, arg));
		check_socket(&o.at, "");
	}
	check_given(&o.cli, (int[]){'a', 'c', 'e', 'i', 'j', 'o', 'u', 'w', 'B', 'M', 'R', OPT_ARGS, OPT_CWD,
	            OPT_ACCEPT_ENV, OPT_DRAIN, 0}, o.pair == -1,
	            "cannot be combined with -S");
	check_given(&o.cli, (int[]){'w', 0}, o.connect, "needs -c");
	check_given(&o.cli, (int[]){'M', 0}, !o.connect, "cannot be combined with -c");
	operand(argc, argv, "COMMAND");
	o.command.argv = argv + optind - 1;
	return o;
}

/* The state of the loop. */
struct worker {
	struct options *o;
	struct inbox in;
	struct closer closer;
	struct jobs jobs;
	int sigfd;
	struct delivery waiting; /* received, and not started yet */
	int64_t dial, give_up;  /* -c: the times of the next attempt to connect and of giving up */
	int64_t quiet;          /* until then signals and ends of commands may wait for the next delivery; 0: they do not */
	int pause;
	bool told;              /* reported that there is no dispatcher */
	bool timed_out;
};

/* How many commands may run for UID at once: three quarters of all for a uid other than our own and root, so that at
 * most one such uid reaches its limit, and the rest remains for others. */
static size_t places_of(const struct worker *w, uid_t uid)
{
	bool shares = w->in.at->listens && !uid_trusted(uid);
	return shares ? w->jobs.limit - w->jobs.limit / 4 : w->jobs.limit;
}

/* A dispatcher has connected: offer it all places that no plain sender occupies. */
static void offer(struct worker *w, const struct delivery *d)
{
	size_t others = 0, places = places_of(w, d->peer.uid);
	for (size_t i = 0; i < w->jobs.used; i++)
		others += w->jobs.job[i].pid && !is_channel(&w->in, w->jobs.job[i].connection);
	channel_offer(&w->in, d->connection, w->jobs.limit - others, places < SLOTS_MOST ? places : SLOTS_MOST);
}

/* A job has ended, and its place is free. If it could not send taken, its sender still has the connection, and has
 * given up our channel. */
static void job_ended(struct worker *w, const struct job *job, int status)
{
	const struct options *o = w->o;
	const char *name = o->command.argv[0];
	if (job->error == ECANCELED) {
		say(&o->cli, "%s: a connection was taken back", o->at.arg);
		inbox_drop(&w->in, job->connection);
	} else {
		w->pause = DIAL_MS;
		if (job->error)
			warnx("%s: %s", name, strerror(job->error));
		note(&o->cli, "%s: pid %ld ended with status %d", name, (long)job->pid, exit_status(status));
	}
	if (job->uid == w->in.paused)
		w->in.paused = NOBODY;
	if (is_channel(&w->in, job->connection))
		channel_done(&w->in, job->connection, job->id, w->quiet && channel_waits(&w->in, w->jobs.running));
	else
		channel_offer_one(&w->in);
}

static void reap(struct worker *w)
{
	struct job ended;
	int status;
	while (jobs_reap(&w->jobs, &ended, &status)) {
		if (ended.pid == w->o->at.child)
			w->o->at.child = 0;
		else
			job_ended(w, &ended, status);
	}
}

/* Tell the client that asks to run COMMAND, whose connection D has, what it may choose. It answers while its keeper is
 * made. */
static void tell_takes(const struct options *o, const struct delivery *d)
{
	const struct record takes = {.word = RECORD_TAKES, .args = o->args, .cwd = o->cwd, .env = o->vars};
	record_send(d->set.fd[0], &takes, NULL, AT_ONCE);
}

/* Start a keeper for that client. Returns its process, or -1. */
static pid_t run(struct worker *w, struct delivery *d)
{
	int sock, *error;
	const struct options *o = w->o;
	pid_t parent = getpid(), pid = jobs_fork(&w->jobs, &o->command, d, &sock, &error);
	if (pid == 0)
		keep(o, sock, &d->peer, w->sigfd, parent, error);
	return pid;
}

/* Start a process for D, and write into TEXT what was passed to it. Returns it, or -1. */
static pid_t begin(struct worker *w, struct delivery *d, char text[SHOWN_MOST])
{
	if (d->request == RECORD_RUN) {
		snprintf(text, SHOWN_MOST, "a client that waits");
		return run(w, d);
	}
	/* Even our own uid may have locked a socket that it has passed; a dispatcher has just accepted what it passes. */
	show_set(&w->o->cli, &d->set, d->id ? d->peer.uid : NOBODY, text);
	const struct job *job = jobs_start(&w->jobs, &w->o->command, d, channel_owed(&w->in, d->connection));
	if (job)
		channel_paid(&w->in, d->connection);
	return job ? job->pid : -1;
}

/* Start COMMAND for D, and free D. Returns false if processes or memory are lacking now. */
static bool start(struct worker *w, struct delivery *d)
{
	const struct options *o = w->o;
	char text[SHOWN_MOST];
	pid_t pid;
	if (d->id && !inbox_has(&w->in, d->connection)) {
		say(&o->cli, "%s: a connection was taken back", o->at.arg);
	} else if (!command_fits(&o->command, d->set.count)) {
		char why[120];
		too_many(&o->command, d->set.count, why, sizeof why);
		say(&o->cli, "%s: uid %lu: %s", o->at.arg, (unsigned long)d->peer.uid, why);
		inbox_answer(&w->in, d->connection, RECORD_REFUSED, d->id, why);
	} else if ((pid = begin(w, d, text)) == -1) {
		if (w->jobs.failures == 1)
			warn("%s", o->command.argv[0]);
		return false;
	} else {
		note(&o->cli, "%s: pid %ld started for pid %ld, uid %lu: %s", o->command.argv[0], (long)pid, (long)d->peer.pid,
		     (unsigned long)d->peer.uid, text);
		size_t places = places_of(w, d->peer.uid);
		if (places < w->jobs.limit && jobs_of(&w->jobs, d->peer.uid) >= places)
			w->in.paused = d->peer.uid;
	}
	delivery_close(d, &w->closer);
	return true;
}

static void tell_figures(const struct worker *w)
{
	warnx("%s: started %llu, running %zu, slots %zu", w->o->at.arg, (unsigned long long)w->jobs.started,
	    w->jobs.running, w->jobs.limit - w->jobs.running);
}

/* -c: a dispatcher may come back; an inherited socket or a command does not. */
static bool reconnects(const struct options *o)
{
	return o->connect && (o->at.kind == END_PATH || o->at.kind == END_ABSTRACT);
}

/* Try to connect to the dispatcher; report a failure once. After each attempt wait longer, until a command has run. */
static void dial(struct worker *w)
{
	struct options *o = w->o;
	char why[120] = "";
	w->dial = deadline_in(w->pause);
	w->pause = longer(w->pause, DIAL_MOST_MS);
	if (o->at.fd != -1)
		door_close(&o->at, &w->closer);
	if (endpoint_dial(&o->at) == -1 || !peer_fits(&o->cli, &o->at, why, sizeof why) ||
	    inbox_attach(&w->in) == -1) {
		if (!w->told)
			say(&o->cli, "%s: waiting: %s", o->at.arg, *why ? why : reason(errno));
		w->told = true;
		if (w->give_up == NEVER && o->cli.wait != NEVER)
			w->give_up = deadline_in(o->cli.wait);
		return;
	}
	note(&o->cli, "%s: connected", o->at.arg);
	w->told = false;
	w->give_up = NEVER;
}

/* Catch up with what has happened. */
static void wake(struct worker *w)
{
	reap(w);
	channel_settle(&w->in);
	w->quiet = 0;
}

/* Start COMMAND for D, now or when there is memory for it; then be quiet for a while, if nobody waits for what we would do
 * meanwhile. */
static void take(struct worker *w, struct delivery *d)
{
	if (w->quiet)
		reap(w);
	if (!start(w, d))
		w->waiting = *d;
	else if (!w->quiet && w->in.paused == NOBODY && channel_waits(&w->in, w->jobs.running))
		w->quiet = deadline_in(QUIET_MS);
}

/* Take messages until a signal, and return it; or 0 when no more can arrive. */
static int work(struct worker *w)
{
	struct delivery d;
	for (;;) {
		bool absent = inbox_over(&w->in);
		if (absent && !reconnects(w->o) && !w->waiting.set.count)
			return 0;
		w->timed_out = absent && w->give_up != NEVER && time_left(w->give_up) == 0;
		if (w->timed_out)
			return 0;
		if (absent && reconnects(w->o) && time_left(w->dial) == 0)
			dial(w);
		if (w->waiting.set.count && start(w, &w->waiting))
			w->waiting = (struct delivery){0};
		if (w->quiet && (time_left(w->quiet) == 0 || !channel_waits(&w->in, w->jobs.running)))
			wake(w);
		bool waits = w->waiting.set.count;
		int64_t until = waits ? deadline_in(RETRY_MS) : w->quiet ? w->quiet : NEVER;
		w->in.besides = w->quiet ? -1 : w->sigfd;
		if (inbox_over(&w->in) && reconnects(w->o))
			until = sooner(until, sooner(w->dial, w->give_up));
		enum inbox_event event = inbox_next(&w->in, &d, waits || w->jobs.running == w->jobs.limit, until);
		int sig = event == INBOX_BESIDES ? signals_next(w->sigfd) : 0;
		if (ends(sig))
			return sig;
		if (event == INBOX_RUN)
			tell_takes(w->o, &d);
		if (sig == SIGCHLD)
			reap(w);
		else if (sig == SIGUSR1)
			tell_figures(w);
		else if (event == INBOX_HELLO)
			offer(w, &d);
		else if (event != INBOX_DELIVERY && event != INBOX_RUN)
			say_event(&w->o->cli, w->o->at.arg, event, &d);
		else
			take(w, &d);
	}
}

/* Let running commands finish for TIME. Returns a second signal, or 0. */
static int await_commands(struct worker *w, int64_t time)
{
	int64_t deadline = deadline_in(time);
	int sig = 0;
	while (w->jobs.running && !ends(sig) && await(w->sigfd, POLLIN, deadline) != -1) {
		sig = signals_next(w->sigfd);
		reap(w);
	}
	return ends(sig) ? sig : 0;
}

/* Let running commands finish; a second signal or --drain ends them. */
static void finish(struct worker *w)
{
	const struct options *o = w->o;
	say_waiting(&o->cli, o->at.arg, w->jobs.running);
	int sig = await_commands(w, o->cli.drain);
	jobs_kill(&w->jobs, SIGTERM);
	say_ended(&o->cli, o->at.arg, w->jobs.running, "TERM");
	if (sig || !w->jobs.running || await_commands(w, o->cli.drain))
		return;
	jobs_kill(&w->jobs, SIGKILL);
	say_ended(&o->cli, o->at.arg, w->jobs.running, "KILL");
	await_commands(w, KILL_MS);
}

static void open_worker(struct worker *w)
{
	struct options *o = w->o;
	o->at.nofile = &o->command.nofile;
	o->at.service = true;
	w->sigfd = signals_open(true);
	if (w->sigfd == -1 || jobs_open(&w->jobs, (size_t)o->jobs) == -1)
		fail(o->command.argv[0]);
	bool opened = reconnects(o) || (o->connect ? endpoint_dial(&o->at)
	                                           : endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog)) != -1;
	if (!opened || inbox_open(&w->in, &o->at, &o->cli.allow, &w->closer, w->sigfd) == -1) {
		endpoint_close(&o->at);
		exit(say_not_listening(o->at.arg, "-c connects"));
	}
	w->in.share = share_of_uid();
	w->in.runs = !o->connect;
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct worker w = {.o = &o, .pause = DIAL_MS, .give_up = NEVER};
	guard_standard();
	command_prepare(&o.command);
	find_command(&o.cli, &o.command);
	if (o.cwd && *o.command.path != '/')
		errx(FAILED, "--cwd: %s would be looked for in a client's directory, since this one has no name", o.command.path);
	if (o.pair != -1)
		return run_on_pair(&o);
	open_worker(&w);
	be_ready(&o.cli, true);
	if (jobs_reserve(&w.jobs, &w.closer, true) == -1) {
		endpoint_close(&o.at);
		fail(o.command.argv[0]);
	}
	int sig = work(&w);
	ready_notify("STOPPING=1");
	/* Connections that we did not acknowledge stay with their sender. */
	int status = w.timed_out ? TIMED_OUT : w.in.at->listens && w.in.door.fd == -1 ? FAILED : 0;
	delivery_close(&w.waiting, &w.closer);
	channel_settle(&w.in);
	inbox_close(&w.in);
	door_close(&o.at, &w.closer);
	finish(&w);
	if (w.timed_out)
		warnx("%s: timed out: nobody is there", o.at.arg);
	else
		say(&o.cli, "%s: ended by %s, %llu command%s run", o.at.arg, sig ? signal_name(sig) : "end of file",
		    (unsigned long long)w.jobs.started, plural(w.jobs.started));
	closer_end(&w.closer, w.jobs.running);
	return status;
}
