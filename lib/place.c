/* SPDX-License-Identifier: ISC */
/* COMMAND, and where its descriptors go. */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void nothing(int sig)
{
	(void)sig;
}

void raise_limit(struct rlimit *before)
{
	if (getrlimit(RLIMIT_NOFILE, before) == 0 && before->rlim_cur != before->rlim_max) {
		const struct rlimit most = {.rlim_cur = before->rlim_max, .rlim_max = before->rlim_max};
		setrlimit(RLIMIT_NOFILE, &most);
	}
}

void command_prepare(struct command *c)
{
	struct sigaction sa;
	/* Kernel: what is caught is the default again for COMMAND (execve(2)), as if it came from a shell. */
	signal(SIGPIPE, nothing);
	c->child_ignored = sigaction(SIGCHLD, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN;
	/* Kernel: children of a process that ignores SIGCHLD leave no status (wait(2)). */
	if (c->child_ignored)
		signal(SIGCHLD, SIG_DFL);
	raise_limit(&c->nofile);
}

size_t command_places(const struct command *c, const struct fds *fds, int *from, int *to)
{
	int chosen[3];
	size_t wanted = 0, count = 0;
	if (c->in)
		chosen[wanted++] = 0;
	if (c->out)
		chosen[wanted++] = 1;
	if (c->err)
		chosen[wanted++] = 2;
	bool one = fds->count == 1 && wanted;
	for (; count < (one ? wanted : fds->count); count++) {
		from[count] = fds->fd[one ? 0 : count];
		to[count] = count < wanted ? chosen[count] : 3 + (int)(count - wanted);
	}
	return count;
}

int connection_placed(const int *from, const int *to, size_t count)
{
	int fd = -1;
	for (size_t i = 0; i < count; i++)
		if (to[i] == 0 || (to[i] == 1 && fd == -1))
			fd = from[i];
	return fd;
}

void make_blocking(const struct fds *fds)
{
	for (size_t i = 0; i < fds->count; i++) {
		int flags = fcntl(fds->fd[i], F_GETFL);
		if (flags != -1 && flags & O_NONBLOCK)
			fcntl(fds->fd[i], F_SETFL, flags & ~O_NONBLOCK);
	}
}

int exec_status(int error)
{
	return error == ENOENT ? 127 : 126;
}
