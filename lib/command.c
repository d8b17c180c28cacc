/* SPDX-License-Identifier: ISC */
/* COMMAND: looked up, its limits, and the numbers of its descriptors. */
#include "command.h"
#include "kernel.h"
#include "set.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Numbers that COMMAND needs below its limit beside those that it gets: for its libraries, or a script. */
enum { SPARE = 4 };

static char shell[] = "/bin/sh";

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

/* The absolute path of NAME in the directory of LEN bytes at DIR; a relative one if ours has no name. */
static char *below(const char *dir, size_t len, const char *name)
{
	char *path, *here = (len ? *dir : *name) == '/' ? NULL : getcwd(NULL, 0);
	int n = asprintf(&path, "%s%s%.*s%s%s", here ? here : "", here ? "/" : "", (int)len, dir, len ? "/" : "", name);
	free(here);
	return n == -1 ? NULL : path;
}

/* Can PATH be executed? Returns errno's value or 0. */
static int executable(const char *path)
{
	struct stat st;
	if (stat(path, &st) == -1)
		return errno;
	return S_ISREG(st.st_mode) && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : EACCES;
}

/* As execvp(3). */
static int find(const char *name, char **path)
{
	int error = ENOENT;
	const char *dir = getenv("PATH"), *end;
	bool search = !strchr(name, '/');
	if (!search)
		dir = "";
	else if (!dir)
		dir = "/usr/local/bin:/bin:/usr/bin";
	for (; *name; dir = end + 1) {
		end = strchrnul(dir, ':');
		free(*path);
		if (!(*path = below(dir, (size_t)(end - dir), name)))
			return ENOMEM;
		int why = executable(*path);
		if (why != ENOENT && why != ENOTDIR)
			error = search && why ? EACCES : why;
		if (!why || !*end)
			return error;
	}
	return ENOENT;
}

int command_append(struct command *c, char **word, size_t count)
{
	size_t words = 0;
	while (c->argv[words])
		words++;
	char **argv = calloc(2 * (words + count) + 3, sizeof *argv), **script;
	if (!argv)
		return -1;
	memcpy(argv, c->argv, words * sizeof *argv);
	for (size_t i = 0; i < count; i++)
		argv[words + i] = word[i];
	script = argv + words + count + 1;
	script[0] = shell;
	script[1] = c->path;
	memcpy(script + 2, argv + 1, (words + count - 1) * sizeof *argv);
	c->argv = argv;
	c->script = script;
	return 0;
}

int command_find(struct command *c)
{
	int error = find(c->argv[0], &c->path);
	return error || command_append(c, NULL, 0) == 0 ? error : ENOMEM;
}

size_t command_places(const struct command *c, size_t fds, int *to)
{
	size_t wanted = 0, count = 0;
	if (c->in)
		to[wanted++] = 0;
	if (c->out)
		to[wanted++] = 1;
	if (c->err)
		to[wanted++] = 2;
	for (count = wanted; count < fds; count++)
		to[count] = 3 + (int)(count - wanted);
	return fds == 1 && wanted ? wanted : fds;
}

int connection_placed(const int *from, const int *to, size_t count)
{
	int fd = -1;
	for (size_t i = 0; i < count; i++)
		if (to[i] == 0 || (to[i] == 1 && fd == -1))
			fd = from[i];
	return fd;
}

bool command_fits(const struct command *c, size_t fds)
{
	return fds + 3 + SPARE <= c->nofile.rlim_cur;
}

void make_blocking(const struct set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		int flags = fcntl(set->fd[i], F_GETFL);
		if (flags != -1 && flags & O_NONBLOCK)
			fcntl(set->fd[i], F_SETFL, flags & ~O_NONBLOCK);
	}
}

int place(int *from, const int *to, size_t count)
{
	int most = -1, last = 0;
	for (size_t i = 0; i < count; i++)
		if (to[i] > last)
			last = to[i];
	/* dup3 closes the descriptor at its target: one that may be closed before its turn steps aside, above all the targets. */
	for (size_t i = 0; i < count; i++) {
		if (from[i] <= most && from[i] != to[i]) {
			long aside = kernel(SYS_fcntl, from[i], F_DUPFD_CLOEXEC, last + 1, 0, 0);
			if (aside < 0)
				return (int)-aside;
			from[i] = (int)aside;
		}
		if (to[i] > most)
			most = to[i];
	}
	for (size_t i = 0; i < count; i++) {
		/* Kernel: dup of a descriptor to its own number leaves close-on-exec set (dup(2)). */
		long result = from[i] == to[i] ? kernel(SYS_fcntl, to[i], F_SETFD, 0, 0, 0)
		                               : kernel(SYS_dup3, from[i], to[i], 0, 0, 0);
		if (result < 0)
			return (int)-result;
	}
	return 0;
}

int exec_status(int error)
{
	return error == ENOENT ? 127 : 126;
}
