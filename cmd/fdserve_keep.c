/* SPDX-License-Identifier: ISC */
/* fdserve -L -k: keep COMMAND running on listening sockets that stay open, and replace it on HUP. */
#include "fdserve_keep.h"
#include "address_file.h"
#include "closer.h"
#include "command.h"
#include "fdserve.h"
#include "inbox.h"
#include "jobs.h"
#include "messages.h"
#include "ready.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PAUSE_MS = 100, PAUSE_MOST_MS = 10000,  /* before COMMAND is started again */
	WAITING_MOST = 2048,    /* descriptors that are kept or are to be closed */
	OURS = 16,              /* numbers that are left for us, for the next COMMAND above all */
};

/* A COMMAND that runs. */
struct generation {
	struct generation *rest;
	enum { STARTING, SERVING, INTERRUPTED, LEAVING } state; /* not ready yet; ready; the terminal's INT; it got TERM */
	pid_t pid;
	int notify;             /* its NOTIFY_SOCKET */
	bool told;              /* that strangers send to it */
	int64_t due;            /* STARTING: from then on it is ready; INTERRUPTED: then it gets TERM; LEAVING: KILL */
};

struct keeper {
	struct options *o;
	const char *name;       /* COMMAND */
	int sigfd;
	struct closer closer;
	struct jobs jobs;       /* a slot alone: the numbers of a pair of sockets, and none of a stranger below */
	struct store_of_command store;
	struct generation *all; /* the latest first */
	unsigned long started, failed;
	bool was_ready;         /* some COMMAND was */
	bool reloading;         /* our own NOTIFY_SOCKET waits for READY=1 */
	bool again;             /* HUP came while the next was not ready yet */
	int64_t start;          /* when to start COMMAND, NEVER: it runs, or no more */
	int pause;
	int stopping;           /* the signal that ends us */
	pid_t last;             /* its status is ours, */
	int status;             /* this one */
};

static struct generation *find(const struct keeper *k, int state)
{
	struct generation *g = k->all;
	while (g && (int)g->state != state)
		g = g->rest;
	return g;
}

/* ---- from one COMMAND to the next ---- */

static void free_generation(struct keeper *k, struct generation *g)
{
	if (g->notify != -1)
		closer_close(&k->closer, g->notify, NOBODY);
	free(g);
}

static void leave(struct keeper *k, struct generation *g)
{
	g->state = LEAVING;
	g->due = deadline_in(k->o->cli.drain);
	kill(g->pid, SIGTERM);
	note(&k->o->cli, "%s: pid %ld got TERM", k->name, (long)g->pid);
}

static void restart(struct keeper *k)
{
	k->start = deadline_in(k->pause);
	k->pause = longer(k->pause, PAUSE_MOST_MS);
}

/* The next COMMAND is ready, or has failed: tell our own service manager, and do what HUP wants meanwhile. */
static void settle(struct keeper *k)
{
	if (k->reloading)
		ready_notify("READY=1");
	k->reloading = false;
	if (k->again)
		k->start = now();
	else if (!find(k, SERVING))
		restart(k);
}

/* A COMMAND has ended before it was ready, with STATUS, or was not even begun. */
static void not_ready(struct keeper *k, int status)
{
	k->failed++;
	if (!k->was_ready) {
		k->stopping = -1;
		k->status = status;
		return;
	}
	settle(k);
}

static void start(struct keeper *k)
{
	struct generation *g = calloc(1, sizeof *g);
	char address[NOTIFY_ROOM];
	k->start = NEVER;
	if (k->again) {
		struct timespec t;
		char text[80];
		clock_gettime(CLOCK_MONOTONIC, &t);
		snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld", t.tv_sec * 1000000LL + t.tv_nsec / 1000);
		k->reloading = k->was_ready && ready_notify(text) == 0;
	}
	k->again = false;
	if (g) {
		g->notify = notify_open(address);
		g->pid = -1;
		if (g->notify != -1)
			g->pid = begin_command(k->o, &k->store, k->jobs.slots ? k->jobs.slot : -1, address, !k->was_ready);
	}
	if (!g || g->pid == -1) {
		warn("%s", k->name);
		if (g)
			free_generation(k, g);
		not_ready(k, FAILED);
		return;
	}
	k->started++;
	g->state = STARTING;
	g->due = deadline_in(k->o->ready_after);
	g->rest = k->all;
	k->all = g;
	note(&k->o->cli, "%s: started, pid %ld", k->name, (long)g->pid);
}

static bool runs(const struct generation *g)
{
	siginfo_t info = {0};
	return waitid(P_PID, (id_t)g->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && !info.si_pid;
}

/* No failure of these ends us: COMMAND would go on without us. */
static void tell_ready(const struct cli *c)
{
	if (ready_fd(c->ready) == -1)
		warn("-R %d", c->ready);
	if (ready_notify("READY=1") == -1)
		warn("NOTIFY_SOCKET %s", getenv("NOTIFY_SOCKET"));
}

/* G says that it is ready, or has run for long enough. */
static void get_ready(struct keeper *k, struct generation *g)
{
	struct generation *former = find(k, SERVING);
	if (g->state != STARTING || !runs(g))
		return;
	note(&k->o->cli, "%s: pid %ld is ready", k->name, (long)g->pid);
	g->state = SERVING;
	g->due = NEVER;
	k->pause = PAUSE_MS;
	if (former)
		leave(k, former);
	if (!k->was_ready)
		tell_ready(&k->o->cli);
	k->was_ready = true;
	settle(k);
}

static void hear(struct keeper *k, struct generation *g)
{
	if (notify_hear(&k->store, g->notify, g->pid, &g->told))
		get_ready(k, g);
}

static void end(struct keeper *k, struct generation *g, int status)
{
	const struct generation *former = find(k, SERVING);
	bool starts = g->state == STARTING, served = g->state == SERVING;
	if (g->pid == k->last)
		k->status = status;
	if (starts && former)
		warnx("%s: pid %ld ended with status %d before it was ready; pid %ld goes on", k->name, (long)g->pid, status,
		      (long)former->pid);
	else if (starts || served)
		warnx("%s: pid %ld ended with status %d%s", k->name, (long)g->pid, status, starts ? " before it was ready" : "");
	else
		note(&k->o->cli, "%s: pid %ld ended with status %d", k->name, (long)g->pid, status);
	free_generation(k, g);
	if (starts)
		not_ready(k, status);
	else if (served && !find(k, STARTING) && k->start == NEVER)
		restart(k);
}

/* Reap all that ended: as process 1 we get orphans too. */
static void reap(struct keeper *k)
{
	siginfo_t info = {0};
	int status = 0;
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
		struct generation *g, **at = &k->all;
		while ((g = *at) && g->pid != info.si_pid)
			at = &g->rest;
		if (g)
			hear(k, g);     /* what it stored at its end, while its uid can be told */
		waitpid(info.si_pid, &status, 0);
		if (g) {
			*at = g->rest;
			end(k, g, exit_status(status));
		}
		info.si_pid = 0;
	}
}

/* ---- signals, and the loop ---- */

static void interrupted(struct keeper *k, struct generation *g)
{
	g->state = INTERRUPTED;
	g->due = deadline_in(k->o->cli.drain);
	note(&k->o->cli, "%s: pid %ld got INT", k->name, (long)g->pid);
}

static void stop(struct keeper *k, int sig, bool terminal)
{
	const struct generation *last = find(k, SERVING) ? find(k, SERVING) : find(k, STARTING);
	size_t count = 0;
	k->stopping = sig;
	k->start = NEVER;
	k->again = false;
	k->last = last ? last->pid : 0;
	ready_notify("STOPPING=1");
	for (struct generation *g = k->all; g; g = g->rest, count++)
		if (g->state < INTERRUPTED)
			(terminal && getpgid(g->pid) == getpgrp() ? interrupted : leave)(k, g);
	say_waiting(&k->o->cli, k->name, count);
}

static void tell_figures(const struct keeper *k)
{
	const struct generation *g = find(k, SERVING);
	size_t leaving = 0;
	for (const struct generation *each = k->all; each; each = each->rest)
		leaving += each->state >= INTERRUPTED;
	warnx("%s: serving %ld, started %lu, failed %lu, ending %zu, kept %zu", k->name, g ? (long)g->pid : 0L, k->started,
	      k->failed, leaving, k->store.count);
}

static void obey(struct keeper *k)
{
	bool terminal;
	int sig = signals_next_from(k->sigfd, &terminal);
	if (sig == SIGCHLD) {
		reap(k);
	} else if (sig == SIGUSR1) {
		tell_figures(k);
	} else if (sig == SIGHUP && !k->stopping) {
		k->again = true;
		if (!find(k, STARTING))
			start(k);
	} else if ((sig == SIGTERM || sig == SIGINT) && !k->stopping) {
		stop(k, sig, terminal);
	} else if (sig == SIGTERM || sig == SIGINT) {
		for (const struct generation *g = k->all; g; g = g->rest)
			kill(g->pid, SIGKILL);
	}
}

/* Do what is due; return the next deadline. */
static int64_t on_time(struct keeper *k)
{
	int64_t next;
	if (k->start != NEVER && !time_left(k->start))
		start(k);
	next = k->start;
	for (struct generation *g = k->all; g; g = g->rest) {
		if (g->due != NEVER && !time_left(g->due)) {
			g->due = NEVER; /* one that has ended already will be reaped */
			if (g->state == STARTING)
				get_ready(k, g);
			else if (g->state == INTERRUPTED)
				leave(k, g);
			else if (kill(g->pid, SIGKILL) == 0)
				say(&k->o->cli, "%s: pid %ld got KILL", k->name, (long)g->pid);
		}
		next = sooner(next, sooner(g->due, k->start));
	}
	return next;
}

/* One round: wait, and handle the events. */
static void keep_once(struct keeper *k)
{
	int64_t until = on_time(k);
	if (k->stopping && !k->all)     /* the first could not be started */
		return;
	size_t n = 1, count = 1 + k->store.count;
	for (const struct generation *g = k->all; g; g = g->rest)
		count++;
	struct pollfd *p = calloc(count, sizeof *p);
	if (!p) {
		nap(PAUSE_MS, NEVER);
		return;
	}
	p[0] = (struct pollfd){.fd = k->sigfd, .events = POLLIN};
	for (const struct generation *g = k->all; g; g = g->rest)
		p[n++] = (struct pollfd){.fd = g->notify, .events = POLLIN};
	kept_poll(&k->store, p + n);
	if (await_any(p, count, until) > 0) {
		kept_look(&k->store, p + n);
		n = 1;
		for (struct generation *g = k->all; g; g = g->rest)
			if (p[n++].revents)
				hear(k, g);
		if (p[0].revents)
			obey(k);
	}
	free(p);
}

int keep_command(struct options *o)
{
	struct keeper k = {.o = o, .name = o->command.argv[0], .start = AT_ONCE, .pause = PAUSE_MS};
	struct cli *c = &o->cli;
	k.sigfd = signals_open(true);
	if (k.sigfd == -1 || jobs_open(&k.jobs, 1) == -1 || jobs_reserve(&k.jobs, &k.closer, true) == -1) {
		warn("%s", k.name);
		listening_close(&o->addresses);
		return FAILED;
	}
	int status = listening_announce(&o->addresses, c, k.sigfd, NEVER);
	if (status)
		return status;
	if (user_become(&c->user) == -1) {
		warn("-u");
		listening_close(&o->addresses);
		return FAILED;
	}
	k.store = (struct store_of_command){.cli = c, .name = k.name, .closer = &k.closer, .most = KEPT_MOST};
	/* COMMAND has room for them, and so have we, beside what else is open. */
	while (k.store.most && (!command_fits(&o->command, o->addresses.count + k.store.most) ||
	                        k.store.most > o->command.nofile.rlim_max / 2))
		k.store.most--;
	size_t limit = (size_t)o->command.nofile.rlim_max, most = (size_t)highest_open() + WAITING_MOST;
	k.store.below = most < limit - OURS ? most : limit - OURS;
	while (!k.stopping || k.all)
		keep_once(&k);
	address_file_remove(&o->addresses.file);
	if (k.stopping > 0)
		say(c, "%s: ended by %s, %lu command%s run", o->addresses.listener[0].arg, signal_name(k.stopping), k.started,
		    plural(k.started));
	closer_end(&k.closer, k.store.count);
	return k.status;
}
