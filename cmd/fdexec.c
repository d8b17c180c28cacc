/* SPDX-License-Identifier: ISC */
/* fdexec: run a command for every message with descriptors that comes. */
#include "cli.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
	struct cli cli;
	struct command command;
	long jobs, pair;        /* -j; -S, -1 where it is not given */
	struct endpoint at;
};

enum { RETRY_MS = 100 };

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.jobs = 64, .pair = -1};
	int letter;
	cli_start(&o.cli, argv, "fdexec [options] SOCKET COMMAND [ARG...]\n"
	          "       fdexec [-v|-q] -S FD COMMAND [ARG...]", "aeijoqvBMRShV");
	while ((letter = cli_option(&o.cli, argc, argv)) != -1)
		switch (letter) {
		case 'j': check("-j", optarg, parse_number(&o.jobs, optarg, 1, 1 << 20)); break;
		case 'S': check("-S", optarg, parse_number(&o.pair, optarg, 0, INT32_MAX)); break;
		default: command_option(&o.command, letter);
		}
	if (o.pair == -1) {
		const char *arg = operand(argc, argv, "SOCKET");
		check("", arg, endpoint_parse(&o.at, arg));
	}
	operand(argc, argv, "COMMAND");
	o.command.argv = argv + optind - 1;
	if (!o.command.in && !o.command.out && !o.command.err)
		o.command.in = o.command.out = o.command.err = true;
	return o;
}

/* -S: COMMAND on one end of a socketpair, this process between the other and its standard streams. */
static int run_on_pair(const struct options *o)
{
	struct env env;
	int pair[2], side, status, error;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null == -1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1 ||
	    env_open(&env) == -1 || env_fds(&env, (const int[]){(int)o->pair}, 1) == -1)
		err(FAILED, "-S %ld", o->pair);
	/* Standard input is ours to copy: COMMAND, reading it too, would take away from it. */
	int from[] = {pair[1], null}, to[] = {(int)o->pair, 0};
	pid_t pid = command_spawn(&o->command, from, to, o->pair ? 2 : 1, env.var, &error);
	if (error)
		warnx("%s: %s", o->command.argv[0], strerror(error));
	if (pid == -1)
		return FAILED;
	close(null);
	close(pair[1]);
	signal(SIGPIPE, SIG_IGN);
	int result = error ? 0 : copy_both(pair[0], 0, 1, &side);
	if (result == -1 && side == 1 && errno == EPIPE)
		die_of(SIGPIPE);
	if (result == -1)
		fail(side == 0 ? "standard input" : side == 1 ? "standard output" : o->command.argv[0]);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	return exit_status(status);
}

static void reap(const struct options *o, struct jobs *jobs, struct endpoint *at)
{
	int status;
	pid_t pid;
	while ((pid = jobs_reap(jobs, &status))) {
		if (pid == at->child)
			at->child = 0;
		else
			note(&o->cli, "%s: pid %ld ended with status %d", o->command.argv[0], (long)pid, exit_status(status));
	}
}

/* Start COMMAND for what came. False: not now, for want of a process or memory. */
static bool start(const struct options *o, struct jobs *jobs, struct env *env, struct delivery *d)
{
	uint64_t before = jobs->started;
	int error = jobs_start(jobs, &o->command, env, d);
	if (error)
		warnx("%s: %s", o->command.argv[0], strerror(error));
	if (jobs->started == before)
		return false;
	note(&o->cli, "%s: started for uid %lu, pid %ld", o->command.argv[0], (unsigned long)d->peer.uid,
	     (long)d->peer.pid);
	delivery_free(d);
	return true;
}

static void tell(const struct options *o, enum inbox_event event, const struct delivery *d)
{
	unsigned long uid = d->peer.uid;
	switch (event) {
	case INBOX_REFUSED: say_refused(&o->cli, o->at.arg, &d->peer); break;
	case INBOX_EMPTY: say(&o->cli, "%s: uid %lu closed without a descriptor", o->at.arg, uid); break;
	case INBOX_ENDED: note(&o->cli, "%s: uid %lu, pid %ld closed", o->at.arg, uid, (long)d->peer.pid); break;
	case INBOX_FAILED: say(&o->cli, "%s: uid %lu: %s", o->at.arg, uid, strerror(d->error)); break;
	default: break;
	}
}

/* Take messages until a signal or the end of an inherited socket. Returns the signal or 0. */
static int work(struct options *o, struct inbox *in, struct jobs *jobs, struct env *env, int sigfd)
{
	struct delivery d, waiting = {0};
	while (!inbox_over(in) || waiting.fds.count) {
		if (waiting.fds.count && start(o, jobs, env, &waiting))
			waiting = (struct delivery){0};
		bool hold = waiting.fds.count || jobs->running == jobs->limit;
		enum inbox_event event = inbox_next(in, &d, hold, waiting.fds.count ? deadline_in(RETRY_MS) : NEVER);
		int sig = event == INBOX_SIGNAL ? signals_next(sigfd) : 0;
		if (sig == SIGCHLD)
			reap(o, jobs, &o->at);
		else if (sig && sig != SIGUSR1)
			return sig;
		else if (event == INBOX_DELIVERY && !start(o, jobs, env, &d))
			waiting = d;
		else
			tell(o, event, &d);
	}
	return 0;
}

/* Let running commands finish; a second signal ends them. */
static void finish(struct options *o, struct jobs *jobs, int sigfd)
{
	while (jobs->running) {
		await(sigfd, POLLIN, NEVER);
		int sig = signals_next(sigfd);
		if (sig == SIGHUP || sig == SIGINT || sig == SIGTERM) {
			jobs_kill(jobs, SIGTERM);
			return;
		}
		reap(o, jobs, &o->at);
	}
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct inbox in;
	struct jobs jobs;
	struct env env;
	guard_standard();
	command_prepare(&o.command);
	if (o.pair != -1)
		return run_on_pair(&o);
	int sigfd = signals_open(true);
	if (sigfd == -1 || jobs_open(&jobs, (size_t)o.jobs) == -1 || env_open(&env) == -1)
		fail(o.command.argv[0]);
	env_unset(&env, "NOTIFY_SOCKET");
	if (endpoint_listen(&o.at, o.cli.mode, o.cli.backlog, true) == -1 ||
	    inbox_open(&in, &o.at, &o.cli.allow, sigfd) == -1)
		fail(o.at.arg);
	tell_ready(&o.cli, true);
	int sig = work(&o, &in, &jobs, &env, sigfd);
	ready_notify("STOPPING=1");
	inbox_close(&in);
	endpoint_close(&o.at);
	finish(&o, &jobs, sigfd);
	say(&o.cli, "%s: ended by %s, %llu commands run", o.at.arg, sig ? signal_name(sig) : "end of file",
	    (unsigned long long)jobs.started);
	return 0;
}
