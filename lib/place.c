/* SPDX-License-Identifier: ISC */
/* Descriptors to their numbers, and COMMAND begun: in place of the tool, or as a new process. */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void command_prepare(struct command *c)
{
	struct sigaction sa;
	c->child_ignored = sigaction(SIGCHLD, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN;
	/* Kernel: children of a process that ignores SIGCHLD leave no status (wait(2)). */
	if (c->child_ignored)
		signal(SIGCHLD, SIG_DFL);
	if (getrlimit(RLIMIT_NOFILE, &c->nofile) == 0) {
		struct rlimit most = {.rlim_cur = c->nofile.rlim_max, .rlim_max = c->nofile.rlim_max};
		setrlimit(RLIMIT_NOFILE, &most);
	}
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

int place(int *from, const int *to, size_t count)
{
	int last = 0;
	for (size_t i = 0; i < count; i++)
		if (to[i] > last)
			last = to[i];
	for (size_t i = 0; i < count; i++) {
		/* dup2 would close what is still to be placed: that steps aside, above all the numbers. */
		int aside = -1;
		for (size_t k = i + 1; k < count && from[i] != to[i]; k++) {
			if (from[k] != to[i])
				continue;
			if (aside == -1 && (aside = fcntl(to[i], F_DUPFD_CLOEXEC, last + 1)) == -1)
				return -1;
			from[k] = aside;
		}
		/* Kernel: dup2 of a descriptor to itself leaves close-on-exec set (dup(2)). */
		if (from[i] == to[i] ? fcntl(to[i], F_SETFD, 0) == -1 : dup2(from[i], to[i]) == -1)
			return -1;
	}
	return 0;
}

void command_exec(const struct command *c, int *from, const int *to, size_t count, char **env)
{
	sigset_t none;
	sigemptyset(&none);
	if (place(from, to, count) == -1 || setrlimit(RLIMIT_NOFILE, &c->nofile) == -1)
		return;
	signal(SIGPIPE, SIG_DFL);
	if (c->child_ignored)
		signal(SIGCHLD, SIG_IGN);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvpe(c->argv[0], c->argv, env);
}

int exec_status(int error)
{
	return error == ENOENT ? 127 : 126;
}

/* vfork: the child runs in our memory while we wait, so that it can tell why it failed, and
 * nothing is copied. It makes system calls and writes to FAILED and FROM, no more; execvpe too is
 * nothing else, in both libcs. */
pid_t command_spawn(const struct command *c, int *from, const int *to, size_t count, char **env,
                    const struct acknowledgement *ack, int *error)
{
	volatile int failed = 0;
	/* NOLINTBEGIN(clang-analyzer-unix.Vfork,clang-analyzer-security.insecureAPI.vfork) */
	pid_t pid = vfork();
	if (pid == 0) {
		/* The acknowledgement is the commit point. Whoever waits for it has given up if it cannot be
		 * sent, and may have handed the descriptors elsewhere; once it is sent nobody else gets them.
		 * This process sends it itself: a worker that is killed before there is a process has
		 * acknowledged nothing, and one killed after cannot take it back. */
		if (ack && send(ack->sock, ack->line, ack->len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)ack->len) {
			failed = ECANCELED;
			_exit(0);
		}
		command_exec(c, from, to, count, env);
		failed = errno;
		_exit(exec_status(failed));
	}
	/* NOLINTEND(clang-analyzer-unix.Vfork,clang-analyzer-security.insecureAPI.vfork) */
	*error = pid == -1 ? errno : failed;
	return pid;
}
