/* SPDX-License-Identifier: ISC */
/* COMMAND begun: in place of the tool, or in a new process that the tool does not wait for.
 *
 * The new process shares our memory until it has executed COMMAND (CLONE_VM), so nothing is copied; and
 * unlike vfork(2)'s, it leaves us running, so that the next connection is not held up by this one's exec.
 * What follows from that:
 *   - it runs on a stack of its own, and everything that it reads is its own struct launch, which is not
 *     touched again before the kernel says that it has let go of our memory (.busy);
 *   - it must not set errno, which would be ours, just when we may look at ours. Libc's wrappers do when a
 *     call fails, so calls that can fail are made without them (kernel, below);
 *   - it gets no signal of ours: a service has them blocked, and the process unblocks them just before
 *     it executes, with the handlers that it has copied (signal(7): execve makes them the default);
 *   - why it failed, it writes where the parent reads it after wait(2). */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STACK = 16384, FEW = 4 };  /* FEW: the usual number of placements */

static char shell[] = "/bin/sh";

/* A system call that leaves errno alone: its result, or minus errno's value. Where we have no words for
 * that, libc's errno is used after all, and the parent waits as after vfork. */
#if defined __x86_64__ && !defined __ILP32__
enum { SHARED = CLONE_VM };
static long kernel(long n, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = 0, r9 __asm__("r9") = 0;
	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return n;
}
#elif defined __aarch64__
enum { SHARED = CLONE_VM };
static long kernel(long n, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
	              x3 __asm__("x3") = d, x4 __asm__("x4") = 0, x5 __asm__("x5") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
enum { SHARED = CLONE_VM | CLONE_VFORK };
static long kernel(long n, long a, long b, long c, long d)
{
	long result = syscall(n, a, b, c, d, 0L, 0L);
	return result == -1 ? -errno : result;
}
#endif

int place(int *from, const int *to, size_t count)
{
	int last = 0;
	size_t ascends = count; /* from here on, FROM ascends: one look tells that what it is does not come again */
	for (size_t i = 0; i < count; i++)
		if (to[i] > last)
			last = to[i];
	while (ascends > 0 && (ascends == count || from[ascends - 1] < from[ascends]))
		ascends--;
	for (size_t i = 0; i < count; i++) {
		/* dup3 would close what is still to be placed: that steps aside, above all the numbers. */
		long aside = -1, result;
		for (size_t k = i + 1; k < count && from[i] != to[i]; k++) {
			if (k >= ascends && from[k] > to[i])
				break;
			if (from[k] != to[i])
				continue;
			ascends = count;
			if (aside == -1 && (aside = kernel(SYS_fcntl, to[i], F_DUPFD_CLOEXEC, last + 1, 0)) < 0)
				return (int)-aside;
			from[k] = (int)aside;
		}
		/* Kernel: what is at its place already keeps its close-on-exec flag (dup(2)). */
		result = from[i] == to[i] ? kernel(SYS_fcntl, to[i], F_SETFD, 0, 0)
		                          : kernel(SYS_dup3, from[i], to[i], 0, 0);
		if (result < 0)
			return (int)-result;
	}
	return 0;
}

/* Where COMMAND is: as execvp(3), but looked for before there is a process. Returns errno's value or 0. */
static int find(struct launch *l)
{
	const char *name = l->command->argv[0], *dir = getenv("PATH"), *end;
	int error = ENOENT;
	l->path = name;
	if (!*name || strchr(name, '/'))
		return *name ? 0 : ENOENT;
	if (!l->found && !(l->found = malloc(PATH_MAX)))
		return ENOMEM;
	l->path = l->found;
	for (dir = dir ? dir : "/usr/local/bin:/bin:/usr/bin";; dir = end + 1) {
		struct stat st;
		end = strchrnul(dir, ':');
		int n = snprintf(l->found, PATH_MAX, "%.*s%s%s", (int)(end - dir), dir, end > dir ? "/" : "", name);
		if (n < PATH_MAX && stat(l->found, &st) == 0) {
			if (S_ISREG(st.st_mode) && eaccess(l->found, X_OK) == 0)
				return 0;
			error = EACCES;
		}
		if (!*end)
			return error;
	}
}

/* What the process does. Returns why it could not become COMMAND, errno's value. */
static int execute(struct launch *l)
{
	const struct command *c = l->command;
	long result = place(l->from, l->to, l->count);
	if (result)
		return (int)result;
	/* These three cannot fail: they give back what the tool had. */
	if (c->nofile.rlim_cur != c->nofile.rlim_max)
		setrlimit(RLIMIT_NOFILE, &c->nofile);
	if (c->child_ignored)
		signal(SIGCHLD, SIG_IGN);
	sigprocmask(SIG_SETMASK, &l->no_signals, NULL);
	if (l->missing)
		return l->missing;
	result = kernel(SYS_execve, (long)l->path, (long)c->argv, (long)l->env.var, 0);
	if (result == -ENOEXEC) /* a script without #!, as for execvp(3) */
		result = kernel(SYS_execve, (long)shell, (long)l->script, (long)l->env.var, 0);
	return (int)-result;
}

static int run(void *launch)
{
	struct launch *l = launch;
	/* The acknowledgement is the commit point. Whoever waits for it has given up if it cannot be
	 * sent, and may have handed the descriptors elsewhere; once it is sent nobody else gets them.
	 * This process sends it itself: a worker that is killed before there is a process has
	 * acknowledged nothing, and one killed after cannot take it back. */
	if (l->ack_len && kernel(SYS_sendto, l->ack_sock, (long)l->ack, (long)l->ack_len,
	                         MSG_NOSIGNAL | MSG_DONTWAIT) != (long)l->ack_len)
		*l->error = ECANCELED;
	else
		*l->error = execute(l);
	/* Not by exit, which has handlers to run, nor by _exit, before which a sanitizer looks at the stack. */
	kernel(SYS_exit_group, exec_status(*l->error), 0, 0, 0);
	return 0;
}

/* Room for COUNT placements, and what else COMMAND is executed with. */
static int make_room(struct launch *l, size_t count)
{
	size_t words = 1;
	if (count > l->room) {
		int *grown = realloc(l->from, 2 * count * sizeof *grown);
		if (!grown)
			return -1;
		l->from = grown;
		l->to = grown + count;
		l->room = count;
	}
	if (!l->script) {
		while (l->command->argv[words])
			words++;
		if (!(l->script = calloc(words + 2, sizeof *l->script)))
			return -1;
		memcpy(l->script + 1, l->command->argv, words * sizeof *l->script);
	}
	l->missing = find(l);
	l->script[0] = shell;
	l->script[1] = (char *)l->path;
	l->ack_len = 0;
	env_reset(&l->env);
	return 0;
}

int launch_open(struct launch *l, const struct command *c)
{
	*l = (struct launch){.command = c};
	sigemptyset(&l->no_signals);
	return env_open(&l->env) == -1 ? -1 : make_room(l, FEW);
}

int launch_set(struct launch *l, const int *from, const int *to, size_t count)
{
	if (make_room(l, count) == -1)
		return -1;
	memcpy(l->from, from, count * sizeof *from);
	memcpy(l->to, to, count * sizeof *to);
	l->count = count;
	return 0;
}

int launch_delivery(struct launch *l, const struct delivery *d, const int *where)
{
	const struct command *c = l->command;
	if (make_room(l, d->fds.count + 3) == -1)
		return -1;
	l->count = command_places(c, &d->fds, l->from, l->to);
	if (where)
		memcpy(l->to, where, l->count * sizeof *where);
	if (c->blocking)
		make_blocking(&d->fds);
	if (env_fds(&l->env, l->to, l->count) == -1 || env_delivery(&l->env, d) == -1)
		return -1;
	return env_connection(&l->env, connection_placed(l->from, l->to, l->count));
}

void launch_acknowledge(struct launch *l, int sock, uint64_t id)
{
	l->ack_sock = sock;
	l->ack_len = record_format(l->ack, sizeof l->ack, &(struct record){.word = RECORD_TAKEN, .id = id});
}

bool launch_free(const struct launch *l)
{
	return !l->busy;
}

pid_t launch_start(struct launch *l, bool wait, int *error)
{
	if (!l->stack && !(l->stack = aligned_alloc(64, STACK)))
		return -1;
	l->error = error;
	*error = 0;
	l->busy = 1;
	/* Kernel: CLONE_CHILD_CLEARTID sets .busy to 0 when the process has executed COMMAND or ended. */
	int flags = SHARED | CLONE_CHILD_CLEARTID | SIGCHLD | (wait ? CLONE_VFORK : 0);
	pid_t pid = clone(run, l->stack + STACK, flags, l, NULL, NULL, &l->busy);
	if (pid == -1)
		l->busy = 0;
	return pid;
}

int launch_become(struct launch *l)
{
	return execute(l);
}
