/* SPDX-License-Identifier: ISC */
/* Commands that run: how many, which, and what became of them. */
#include "fdkit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

int jobs_open(struct jobs *j, size_t limit)
{
	*j = (struct jobs){.pid = calloc(limit, sizeof *j->pid), .limit = limit};
	return j->pid ? 0 : -1;
}

void jobs_add(struct jobs *j, pid_t pid)
{
	for (size_t i = 0; i < j->limit; i++) {
		if (j->pid[i])
			continue;
		j->pid[i] = pid;
		j->running++;
		j->started++;
		return;
	}
}

int jobs_start(struct jobs *j, const struct command *c, struct env *env, const struct delivery *d)
{
	size_t count = d->fds.count + 3;
	int *from = calloc(count, sizeof *from), *to = calloc(count, sizeof *to), error = ENOMEM;
	pid_t pid = -1;
	if (from && to) {
		count = command_places(c, &d->fds, from, to);
		if (c->blocking)
			make_blocking(&d->fds);
		if (env_fds(env, to, count) == 0 && env_delivery(env, d) == 0 &&
		    env_connection(env, connection_placed(from, to, count)) == 0)
			pid = command_spawn(c, from, to, count, env->var, &error);
	}
	if (pid != -1)
		jobs_add(j, pid);
	env_reset(env);
	free(from);
	free(to);
	return error;
}

pid_t jobs_reap(struct jobs *j, int *status)
{
	pid_t pid;
	do
		pid = waitpid(-1, status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	for (size_t i = 0; pid > 0 && i < j->limit; i++) {
		if (j->pid[i] != pid)
			continue;
		j->pid[i] = 0;
		j->running--;
		break;
	}
	return pid > 0 ? pid : 0;
}

void jobs_kill(const struct jobs *j, int sig)
{
	for (size_t i = 0; i < j->limit; i++)
		if (j->pid[i])
			kill(j->pid[i], sig);
}
