/* SPDX-License-Identifier: ISC */
/* Commands that run: their number, their processes, and their ends. */
#include "jobs.h"
#include "closer.h"
#include "command.h"
#include "env.h"
#include "launch.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS_MOST = 1024 };

static void *shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

int jobs_open(struct jobs *j, size_t limit)
{
	*j = (struct jobs){.job = shared(limit * sizeof *j->job), .limit = limit};
	return j->job ? 0 : -1;
}

int jobs_reserve(struct jobs *j, struct closer *closer, bool strangers)
{
	struct rlimit limit = {0};
	getrlimit(RLIMIT_NOFILE, &limit);
	size_t slots = j->limit < SLOTS_MOST ? j->limit : SLOTS_MOST;
	if (slots > limit.rlim_cur / 16)
		slots = (size_t)limit.rlim_cur / 16;
	/* Kernel: a process that leaves a table copies 64 numbers at a time (sane_fdtable_size, fs/file.c). The slots,
	 * and all other numbers up to their last 64, take a quarter of our descriptors at most. */
	j->slot = highest_open() + 1;
	int end = (j->slot + 2 * (int)slots + 63) / 64 * 64, fd = -1;
	bool shares = (rlim_t)end <= limit.rlim_cur / 4 && launch_shares();
	if (!shares)
		end = (rlim_t)j->slot <= limit.rlim_cur / 4 ? j->slot : 0;
	if (end && strangers)
		fd = open("/", O_PATH | O_CLOEXEC); /* which is copied and closed faster than others */
	while (fd != -1 && fd < end)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd != -1)
		close(fd);
	j->slots = shares && (fd != -1 || !strangers) ? slots : 0;
	j->strangers = strangers;
	j->closer = closer;
	j->launch = shared((j->slots + 1) * sizeof *j->launch);
	return j->launch ? 0 : -1;
}

static struct job *jobs_add(struct jobs *j, const struct job *job)
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

/* One that no process uses; the last one, which has no slot, is always free. NULL if there is no place. A failure,
 * until it has a process. */
static struct launch *launch_for(struct jobs *j, const struct command *c)
{
	size_t i = 0;
	j->failures++;
	errno = EAGAIN;
	if (j->running == j->limit)
		return NULL;
	while (i < j->slots && j->launch[i].busy)
		i++;
	struct launch *l = &j->launch[i];
	if (l->command) {
		launch_recover(l, j->closer);
		return l;
	}
	int slot = i < j->slots ? j->slot + (int)i : -1;
	if (launch_open(l, c, slot, slot == -1 || !j->strangers ? -1 : slot + (int)j->slots) == -1) {
		l->command = NULL;
		return NULL;
	}
	env_unset(&l->env, "NOTIFY_SOCKET");
	return l;
}

static struct job *add_for(struct jobs *j, const struct delivery *d)
{
	return jobs_add(j, &(struct job){.pid = -1, .uid = d->peer.uid, .connection = d->connection, .id = d->id});
}

/* JOB has the process PID, and L the set of D; or there is no process, and NULL is returned. */
static struct job *confirm(struct jobs *j, struct job *job, pid_t pid, const struct launch *l, struct delivery *d)
{
	job->pid = pid;
	if (pid == -1) {
		j->started--;
		jobs_remove(j, job);
		return NULL;
	}
	j->failures = 0;
	if (!l->copies)
		d->set.count = 0;
	return job;
}

struct job *jobs_start(struct jobs *j, const struct command *c, struct delivery *d, const char *owed)
{
	struct launch *l = launch_for(j, c);
	if (!l || launch_delivery(l, d, NULL) == -1)
		return NULL;
	if (d->id)
		launch_acknowledge(l, d->sock, d->id, owed);
	struct job *job = add_for(j, d);
	return confirm(j, job, launch_start(l, &job->error), l, d);
}

pid_t jobs_fork(struct jobs *j, const struct command *c, struct delivery *d, int *sock, int **error)
{
	struct launch *l = launch_for(j, c);
	if (!l)
		return -1;
	struct job *job = add_for(j, d);
	job->keeps = true;
	*sock = d->set.fd[0];
	*error = &job->error;
	pid_t pid = launch_fork(l, sock, &job->error);
	if (pid != 0)
		confirm(j, job, pid, l, d);
	else if (l->copies)
		for (int fd = highest_open(); fd >= j->slot; fd--)
			if (fd != *sock)
				close(fd);
	return pid;
}

bool jobs_reap(struct jobs *j, struct job *ended, int *status)
{
	pid_t pid;
	do
		pid = waitpid(-1, status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	*ended = (struct job){.pid = pid};
	if (pid <= 0)
		return false;
	for (size_t i = 0; i < j->slots && j->launch[i].command; i++) {
		if (j->launch[i].forked == pid)
			j->launch[i].busy = j->launch[i].forked = 0;
		launch_recover(&j->launch[i], j->closer);
	}
	for (size_t i = 0; i < j->used; i++) {
		if (j->job[i].pid != pid)
			continue;
		*ended = j->job[i];
		j->started -= ended->error == ECANCELED;
		jobs_remove(j, &j->job[i]);
		break;
	}
	return true;
}

void jobs_kill(const struct jobs *j, int sig)
{
	for (size_t i = 0; i < j->used; i++)
		if (j->job[i].pid)
			kill(j->job[i].pid, sig == SIGKILL && j->job[i].keeps ? SIGTERM : sig);
}
