/* SPDX-License-Identifier: ISC */
/* Commands that run: how many, which, and what became of them. */
#include "fdkit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

/* Processes that have not executed COMMAND yet, at once; with more, the next start waits for it. */
enum { LAUNCHES = 64 };

int jobs_open(struct jobs *j, size_t limit)
{
	*j = (struct jobs){.job = calloc(limit, sizeof(struct job)), .limit = limit,
	                   .launch = calloc(LAUNCHES, sizeof(struct launch *))};
	return j->job && j->launch ? 0 : -1;
}

struct job *jobs_add(struct jobs *j, const struct job *job)
{
	while (j->job[j->vacant].pid)
		j->vacant++;
	struct job *place = &j->job[j->vacant++];
	*place = *job;
	if (j->used < j->vacant)
		j->used = j->vacant;
	j->running++;
	j->started++;
	return place;
}

static void jobs_remove(struct jobs *j, struct job *job)
{
	size_t i = (size_t)(job - j->job);
	job->pid = 0;
	j->running--;
	if (i < j->vacant)
		j->vacant = i;
	while (j->used && !j->job[j->used - 1].pid)
		j->used--;
}

size_t jobs_of(const struct jobs *j, uid_t uid)
{
	size_t count = 0;
	for (size_t i = 0; i < j->used; i++)
		count += j->job[i].pid && j->job[i].uid == uid;
	return count;
}

/* One that is free, or a new one. The last one is always free, since starts that use it wait. */
static struct launch *launch_for(struct jobs *j, const struct command *c)
{
	size_t i = 0;
	while (i < j->launches && !launch_free(j->launch[i]))
		i++;
	if (i < j->launches)
		return j->launch[i];
	struct launch *l = malloc(sizeof *l);
	if (!l || launch_open(l, c) == -1) {
		free(l);
		return NULL;
	}
	env_unset(&l->env, "NOTIFY_SOCKET");
	return j->launch[j->launches++] = l;
}

int jobs_start(struct jobs *j, const struct command *c, const struct delivery *d)
{
	j->failures++;
	errno = EAGAIN;
	struct launch *l = j->running < j->limit ? launch_for(j, c) : NULL;
	if (!l || launch_delivery(l, d, NULL) == -1)
		return -1;
	if (d->id)
		launch_acknowledge(l, d->sock, d->id);
	struct job *job = jobs_add(j, &(struct job){.pid = -1, .uid = d->peer.uid, .connection = d->connection, .id = d->id});
	job->pid = launch_start(l, j->launches == LAUNCHES && l == j->launch[LAUNCHES - 1], &job->error);
	if (job->pid != -1) {
		j->failures = 0;
		return 0;
	}
	j->started--;
	jobs_remove(j, job);
	return -1;
}

bool jobs_reap(struct jobs *j, struct job *ended, int *status)
{
	pid_t pid;
	do
		pid = waitpid(-1, status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	*ended = (struct job){.pid = pid};
	for (size_t i = 0; pid > 0 && i < j->used; i++) {
		if (j->job[i].pid != pid)
			continue;
		*ended = j->job[i];
		j->started -= ended->error == ECANCELED;
		jobs_remove(j, &j->job[i]);
		break;
	}
	return pid > 0;
}

void jobs_kill(const struct jobs *j, int sig)
{
	for (size_t i = 0; i < j->used; i++)
		if (j->job[i].pid)
			kill(j->job[i].pid, sig);
}
