/* SPDX-License-Identifier: ISC */
#include "cli.h"
#include "command.h"
#include "env.h"
#include "inbox.h"
#include "launch.h"
#include "messages.h"
#include "ready.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void guard_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC) != fd)
			err(FAILED, "/dev/null");
}

mode_t socket_mode(const struct cli *c, bool checked)
{
	bool others = c->allow.any || c->allow.count;
	return c->mode != MODE_UNSET ? c->mode : checked && others ? 0666 : 0600;
}

int64_t wait_deadline(const struct cli *c)
{
	return c->wait == NEVER ? 0 : deadline_in(c->wait);
}

void be_ready(const struct cli *c, bool service)
{
	if (user_become(&c->user) == -1)
		err(FAILED, "-u");
	if (ready_fd(c->ready) == -1)
		err(FAILED, "-R %d", c->ready);
	if (service && ready_notify("READY=1") == -1)
		warn("NOTIFY_SOCKET %s", getenv("NOTIFY_SOCKET"));
}

void command_options(struct command *command, const struct cli *c, bool all)
{
	all = all && !c->given['i'] && !c->given['o'] && !c->given['e'];
	command->in = all || c->given['i'];
	command->out = all || c->given['o'];
	command->err = all || c->given['e'];
	command->blocking = c->given['B'];
}

void find_command(const struct cli *c, struct command *command)
{
	const char *name = command->argv[0];
	int error = command_find(command), status = 0;
	if (error)
		errx(exec_status(error), "%s: %s%s", name, strerror(error), *name == '-' ? " (options stand before the operands)" : "");
	if (!c->user.given)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		if (user_become(&c->user) == -1)
			err(FAILED, "-u");
		if (access(command->path, X_OK) == -1)
			err(exec_status(EACCES), "%s: uid %lu", name, (unsigned long)c->user.uid);
		_exit(0);
	}
	if (pid == -1)
		err(FAILED, "-u");
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (status)
		exit(exit_status(status));
}

void too_many(const struct command *command, size_t count, char *why, size_t size)
{
	snprintf(why, size, "%zu descriptors are too many for COMMAND's limit of %llu open files (ulimit -n)", count,
	         (unsigned long long)command->nofile.rlim_cur);
}

int become(struct launch *l, const struct delivery *d, const int *where, bool no_pid)
{
	const char *name = l->command->argv[0];
	if (launch_delivery(l, d, where) == -1 || env_listen(&l->env, l->to, d->set.name, l->count, no_pid) == -1)
		fail(name);
	int error = launch_become(l);
	warnx("%s: %s", name, strerror(error));
	return exec_status(error);
}

int exit_status(int wstatus)
{
	return WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
}

bool ends(int sig)
{
	return sig == SIGHUP || sig == SIGINT || sig == SIGTERM;
}
