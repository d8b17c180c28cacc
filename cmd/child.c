/* SPDX-License-Identifier: ISC */
#include "child.h"
#include "address.h"
#include "cli.h"
#include "env.h"
#include "jobs.h"
#include "launch.h"
#include "listening.h"
#include "messages.h"
#include "command.h"
#include "socket.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- variables ---- */

/* NAME_END, or END if NAME is NULL, which the caller frees; NULL without memory. */
static char *variable(const char *name, const char *end)
{
	char *var;
	if (asprintf(&var, "%s%s%s", name ? name : "", name ? "_" : "", end) == -1)
		return NULL;
	for (char *c = var; *c; c++)
		if (!isascii((unsigned char)*c) || !isalnum((unsigned char)*c))
			*c = '_';
	return var;
}

void child_check_names(const struct listening *l)
{
	char *const *name = l->set.name;
	for (size_t i = 0; i < l->count; i++) {
		char *var = variable(name[i], "HOST");
		if (!var)
			err(FAILED, "%s", l->listener[i].arg);
		if (name[i] && (isdigit((unsigned char)*var) || env_family(var)))
			errx(FAILED, "%s: makes no variable for COMMAND (%s)", name[i], var);
		for (size_t k = 0; k < i; k++) {
			char *other = variable(name[k], "HOST");
			if (!other)
				err(FAILED, "%s", l->listener[k].arg);
			if (name[i] && name[k] && strcmp(var, other) == 0)
				errx(FAILED, "%s: makes the same variable for COMMAND as %s (%s)", name[i], name[k], var);
			free(other);
		}
		free(var);
	}
}

/* Set it in our own environment, which COMMAND's is made from. */
static bool set_variable(const char *name, const char *end, const char *value)
{
	char *var = value ? variable(name, end) : NULL;
	bool done = var && setenv(var, value, 1) == 0;
	free(var);
	return done;
}

/* BEFORE and the path from the root, since COMMAND may change its directory; which the caller frees. Or NULL. */
static char *absolute(const char *before, const char *path)
{
	char here[PATH_MAX] = "", *text;
	bool relative = *path != '/' && *path != '@' && getcwd(here, sizeof here);
	return asprintf(&text, "%s%s%s%s", before, here, relative ? "/" : "", path) == -1 ? NULL : text;
}

/* The address as listener_name has it; for a wildcard, the loopback address, since it is for clients. */
static bool set_address(const char *name, const struct listener *l)
{
	char text[4200], *host = text;
	if (listener_name(l, text, sizeof text) == -1)
		return errno == EAFNOSUPPORT;
	if (strncmp(text, "unix:", 5) == 0) {
		char *path = absolute("", text + 5);
		bool done = set_variable(name, "PATH", path);
		free(path);
		return done;
	}
	if (strncmp(text, "udp:", 4) == 0)
		host += 4;
	char *port = strrchr(host, ':');
	*port++ = '\0';
	if (*host == '[') {
		host++;
		port[-2] = '\0';
	}
	bool any = strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0;
	return set_variable(name, "HOST", any ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host) &&
	       set_variable(name, "PORT", port);
}

/* ---- its process ---- */

int child_signals_open(void)
{
	/* Those that a fault raises, that stop or continue a process, and that would not have ended us. */
	static const int ours[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP,
	                           SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGURG};
	sigset_t set;
	sigfillset(&set);
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		sigdelset(&set, ours[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool child_start(struct child *c, const struct command *command, const struct listening *l, bool first, const char *socket,
                 int64_t drain)
{
	struct launch launch;
	struct jobs jobs;
	const int none = -1;
	char *path = socket ? absolute("FDKIT_SOCKET=", socket) : NULL;
	bool done = path || !socket;
	*c = (struct child){.command = command, .drain = drain, .due = NEVER};
	if (first)
		done = done && set_address(NULL, l->listener);
	for (size_t i = 0; i < l->count; i++)
		done = done && (!l->set.name[i] || set_address(l->set.name[i], &l->listener[i]));
	if (done && launch_open(&launch, command, -1, -1) == 0 && launch_set(&launch, &none, &none, 0) == 0 &&
	    jobs_open(&jobs, 1) == 0) {
		if (path)
			env_add(&launch.env, path);
		c->error = &jobs.job->error;
		c->pid = launch_start(&launch, c->error);
		if (c->pid != -1)
			return true;
	}
	warn("%s", command->argv[0]);
	return false;
}

int child_signal(struct child *c, int sigfd, int kept)
{
	bool terminal;
	int sig = signals_next_from(sigfd, &terminal);
	if (!sig || !c->pid || sig == SIGCHLD || sig == kept)
		return sig;
	if (!terminal || getpgid(c->pid) != getpgrp())
		kill(c->pid, sig);
	if ((sig == SIGINT || sig == SIGTERM) && c->drain != NEVER && c->due == NEVER) {
		c->due = deadline_in(c->drain);
		c->last = SIGTERM;
	}
	return sig;
}

bool child_ended(struct child *c, pid_t pid, int status)
{
	if (pid != c->pid)
		return false;
	c->pid = 0;
	c->due = NEVER;
	c->status = status;
	if (*c->error)
		warnx("%s: %s", c->command->argv[0], strerror(*c->error));
	return true;
}

void child_reap(struct child *c)
{
	int status = 0;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0 || (pid == -1 && errno == EINTR);)
		child_ended(c, pid, status);
}

void child_drain(struct child *c)
{
	if (!c->pid || c->due == NEVER || time_left(c->due))
		return;
	kill(c->pid, c->last);
	c->due = c->last == SIGKILL ? NEVER : deadline_in(c->drain);
	c->last = SIGKILL;
}

void child_fail(struct child *c)
{
	c->failed = true;
	kill(c->pid, SIGTERM);
	c->due = deadline_in(c->drain);
	c->last = SIGKILL;
}

void child_exit(const struct child *c)
{
	const struct rlimit none = {0};
	if (c->failed)
		exit(FAILED);
	if (!WIFSIGNALED(c->status))
		exit(WEXITSTATUS(c->status));
	/* One core file is enough. */
	setrlimit(RLIMIT_CORE, &none);
	die_of(WTERMSIG(c->status));
}
