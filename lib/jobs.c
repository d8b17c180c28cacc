/* SPDX-License-Identifier: ISC */
/* Commands that run: how many, which, and what became of them. */
#include "jobs.h"
#include "closer.h"
#include "env.h"
#include "wire.h"
#include "launch.h"
#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS_MOST = 1024 };

int jobs_open(struct jobs *j, size_t limit)
{
	void *job = mmap(NULL, limit * sizeof(struct job), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*j = (struct jobs){.job = job, .limit = limit};
	return job == MAP_FAILED ? -1 : 0;
}

/* The highest descriptor that is open; -1 where that cannot be told. */
static int highest_open(void)
{
	int highest = -1;
	DIR *d = opendir("/proc/self/fd");
	for (const struct dirent *e; d && (e = readdir(d));) {
		int fd = (int)strtol(e->d_name, NULL, 10);
		if (fd > highest)
			highest = fd;
	}
	if (d)
		closedir(d);
	return highest;
}

/* How many slots there are to be, above what is open: all that lies below is COMMAND's or ours. A quarter of our
 * descriptors may be used up, by them and for them. */
static size_t choose_slots(struct jobs *j)
{
	struct rlimit limit;
	int highest = highest_open();
	if (highest == -1 || getrlimit(RLIMIT_NOFILE, &limit) == -1 || !launch_shares())
		return 0;
	size_t slots = j->limit < SLOTS_MOST ? j->limit : SLOTS_MOST;
	if (slots > limit.rlim_cur / 16)
		slots = (size_t)limit.rlim_cur / 16;
	j->slot = highest + 1;
	return (size_t)j->slot + 2 * slots <= limit.rlim_cur / 4 ? slots : 0;
}

int jobs_reserve(struct jobs *j, struct closer *closer)
{
	j->closer = closer;
	if (!j->launch) {
		j->slots = choose_slots(j);
		j->launch = calloc(j->slots + 1, sizeof(struct launch *));
	}
	if (!j->launch)
		return -1;
	int end = j->slot + 2 * (int)j->slots, fd = j->slots ? eventfd(0, EFD_CLOEXEC) : -1;
	while (fd != -1 && fd < end)
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (fd == -1)
		j->slots = 0;
	else
		close(fd);
	return 0;
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

/* One that is free, or a new one; the last one, without a slot, is always free. */
static struct launch *launch_for(struct jobs *j, const struct command *c)
{
	size_t i = 0;
	while (i < j->slots && j->launch[i] && j->launch[i]->busy)
		i++;
	struct launch *l = j->launch[i];
	if (l) {
		launch_recover(l, j->closer);
		return l;
	}
	l = malloc(sizeof *l);
	int slot = i < j->slots ? j->slot + (int)i : -1;
	if (!l || launch_open(l, c, slot, slot == -1 ? -1 : slot + (int)j->slots) == -1) {
		free(l);
		return NULL;
	}
	env_unset(&l->env, "NOTIFY_SOCKET");
	return j->launch[i] = l;
}

int jobs_start(struct jobs *j, const struct command *c, struct delivery *d)
{
	j->failures++;
	errno = EAGAIN;
	struct launch *l = j->running < j->limit ? launch_for(j, c) : NULL;
	if (!l || launch_delivery(l, d, NULL) == -1)
		return -1;
	if (d->id)
		launch_acknowledge(l, d->sock, d->id);
	struct job *job = jobs_add(j, &(struct job){.pid = -1, .uid = d->peer.uid, .connection = d->connection, .id = d->id});
	job->pid = launch_start(l, j->closer, &job->error);
	if (job->pid == -1) {
		j->started--;
		jobs_remove(j, job);
		return -1;
	}
	j->failures = 0;
	if (l->slot != -1)
		d->set.count = 0;
	return 0;
}

bool jobs_reap(struct jobs *j, struct job *ended, int *status)
{
	pid_t pid;
	do
		pid = waitpid(-1, status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	/* One that failed may have left its set in its slot. */
	for (size_t i = 0; pid > 0 && *status && i < j->slots; i++)
		if (j->launch[i])
			launch_recover(j->launch[i], j->closer);
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
