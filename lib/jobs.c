/* SPDX-License-Identifier: ISC */
/* Commands that run: how many, which, and what became of them. */
#include "fdkit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

int jobs_open(struct jobs *j, size_t limit)
{
	*j = (struct jobs){.job = calloc(limit, sizeof *j->job), .limit = limit};
	return j->job ? 0 : -1;
}

void jobs_add(struct jobs *j, const struct job *job)
{
	for (size_t i = 0; i < j->limit; i++) {
		if (j->job[i].pid)
			continue;
		j->job[i] = *job;
		j->running++;
		j->started++;
		return;
	}
}

int jobs_start(struct jobs *j, const struct command *c, struct env *env, const struct delivery *d)
{
	size_t count = d->fds.count + 3;
	int *from = calloc(count, sizeof *from), *to = calloc(count, sizeof *to), error = ENOMEM;
	struct job job = {.pid = -1, .connection = d->connection, .id = d->id};
	char line[RECORD_MAX];
	struct acknowledgement ack = {.sock = d->sock, .line = line};
	if (d->id)
		ack.len = (size_t)record_format(line, &(struct record){.word = RECORD_TAKEN, .id = d->id});
	if (from && to) {
		count = command_places(c, &d->fds, from, to);
		if (c->blocking)
			make_blocking(&d->fds);
		if (env_fds(env, to, count) == 0 && env_delivery(env, d) == 0 &&
		    env_connection(env, connection_placed(from, to, count)) == 0)
			job.pid = command_spawn(c, from, to, count, env->var, d->id ? &ack : NULL, &error);
	}
	if (job.pid != -1 && error != ECANCELED)
		jobs_add(j, &job);
	env_reset(env);
	free(from);
	free(to);
	return error;
}

bool jobs_reap(struct jobs *j, struct job *ended, int *status)
{
	pid_t pid;
	do
		pid = waitpid(-1, status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	*ended = (struct job){.pid = pid};
	for (size_t i = 0; pid > 0 && i < j->limit; i++) {
		if (j->job[i].pid != pid)
			continue;
		*ended = j->job[i];
		j->job[i].pid = 0;
		j->running--;
		break;
	}
	return pid > 0;
}

void jobs_kill(const struct jobs *j, int sig)
{
	for (size_t i = 0; i < j->limit; i++)
		if (j->job[i].pid)
			kill(j->job[i].pid, sig);
}
