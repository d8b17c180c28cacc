/* SPDX-License-Identifier: ISC */
/* COMMAND begins: in place of the tool, or in a new process that the tool does not wait for.
 *
 * The new process shares our memory until it has executed COMMAND (CLONE_VM), so nothing is copied. Unlike the child of
 * vfork(2) it leaves us running: the next connection does not wait for this one's exec. Therefore:
 *   - it has a stack of its own, and reads only its own struct launch, which nobody changes before the kernel
 *     reports that the process has let go of our memory (.busy);
 *   - it shares our errno and must not set it: kernel.h makes every call that can fail;
 *   - a service has its signals blocked, so none of our handlers runs in the process. It unblocks them just before
 *     it executes, with the handlers that it has copied (signal(7): execve makes them the default);
 *   - it writes the reason of a failure where the parent reads it after wait(2).
 *
 * Strangers' descriptors may hold up a process that closes them, and exec closes every descriptor of its process. So
 * the process shares our table too (CLONE_FILES), and leaves it with the numbers up to its own .slot only, below which no
 * stranger's descriptor lies (jobs_reserve). A pair of sockets, one of them at .slot, carries its set across: it
 * sends the set, closes it in our table, leaves that, and receives the set. What blocks there holds up this one COMMAND.
 *
 * Where strangers' descriptors never come, but connections from the network, the process has a copy of our table instead,
 * which is cheaper. Where the kernel makes no such process (before Linux 5.9, under qemu's user emulation and valgrind), and
 * where there is no slot, fork(2) makes it, with a copy of our memory and table. */
#include "launch.h"
#include "closer.h"
#include "command.h"
#include "env.h"
#include "kernel.h"
#include "peer.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "split.h"
#include "wire.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STACK = 32768 };

_Static_assert(ACK_ROOM >= ANSWERS_ROOM + 64, "a taken fits beside all that is owed");

/* Kernel: include/uapi/linux/close_range.h; not every libc knows it. */
enum { UNSHARE = 1 << 1 };

#ifndef SYS_close_range
#define SYS_close_range 436 /* Kernel: the same for every machine */
#endif

/* ---- in the process; each returns errno's value or 0 ---- */

/* Leave the table that we share, with the set, of which it keeps nothing. */
static int leave_table(struct launch *l)
{
	size_t sent = 0, got = 0;
	long n = 0;
	for (; n >= 0 && sent < l->count; sent += (size_t)n)
		n = rights_put(l->feed, l->fds + sent, l->count - sent);
	/* Too many descriptors are on their way: take all of the table. launch_recover closes the rest of the set there. */
	if (n < 0)
		return (int)-kernel(SYS_unshare, CLONE_FILES, 0, 0, 0, 0);
	while (l->closed < l->count)
		kernel(SYS_close, l->fds[l->closed++], 0, 0, 0, 0);
	n = kernel(SYS_close_range, l->slot + 1, -1, UNSHARE, 0, 0);
	for (; n >= 0 && got < l->count; got += (size_t)n)
		n = rights_take(l->slot, l->fds + got, l->count - got);
	l->received = got == l->count;
	return n < 0 ? (int)-n : 0;
}

/* COMMAND's descriptors, environment, limits and signals; then COMMAND. */
static int execute(struct launch *l)
{
	const struct command *c = l->command;
	const int *fd = l->fds + (l->ack_len != 0);
	for (size_t i = 0; i < l->places; i++)
		l->from[i] = fd[l->single ? 0 : i];
	if (l->connection)
		env_connection(&l->env, connection_placed(l->from, l->to, l->places));
	int error = place(l->from, l->to, l->places);
	if (error)
		return error;
	/* These three cannot fail: they give back what the tool had. */
	if (c->nofile.rlim_cur != c->nofile.rlim_max)
		setrlimit(RLIMIT_NOFILE, &c->nofile);
	if (c->child_ignored)
		signal(SIGCHLD, SIG_IGN);
	sigprocmask(SIG_SETMASK, &l->no_signals, NULL);
	long result = kernel(SYS_execve, (long)c->path, (long)c->argv, (long)l->env.var, 0, 0);
	if (result == -ENOEXEC) /* a script without #!, as for execvp(3) */
		result = kernel(SYS_execve, (long)c->script[0], (long)c->script, (long)l->env.var, 0, 0);
	return (int)-result;
}

static int lead(struct launch *l)
{
	const int *fd = l->fds + (l->ack_len != 0);
	/* Killed, our parent could not hang up. */
	kernel(SYS_prctl, PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0);
	if (kernel(SYS_getppid, 0, 0, 0, 0, 0) != l->parent)
		return ESRCH;
	long result = kernel(SYS_setpgid, 0, 0, 0, 0, 0);
	if (result == 0 && l->tty != -1) {
		pid_t group = (pid_t)kernel(SYS_getpid, 0, 0, 0, 0, 0);
		result = kernel(SYS_ioctl, fd[l->tty], TIOCSPGRP, (long)&group, 0, 0);
	}
	if (result == 0 && l->dir != -1)
		result = kernel(SYS_fchdir, fd[l->dir], 0, 0, 0, 0);
	return (int)-result;
}

static int run(void *launch)
{
	struct launch *l = launch;
	int error = l->copies ? 0 : leave_table(l);
	if (!error && l->leads && (error = lead(l))) {
		*l->error = -error;
		kernel(SYS_exit_group, 0, 0, 0, 0, 0);
	}
	/* The acknowledgement is the commit point. A dispatcher that waits for it has given up if it cannot be sent, and may
	 * have handed the descriptors to another worker; once it is sent no other worker gets them. This process sends it
	 * itself: a worker that is killed before there is a process has acknowledged nothing, and one that is killed later
	 * cannot take it back. */
	if (l->ack_len && (error || kernel(SYS_sendto, l->fds[0], (long)l->ack, (long)l->ack_len,
	                                   MSG_NOSIGNAL | MSG_DONTWAIT, 0) != (long)l->ack_len))
		error = ECANCELED;
	*l->error = error ? error : execute(l);
	/* exit would run handlers, and before _exit a sanitizer looks at the stack. */
	kernel(SYS_exit_group, exec_status(*l->error), 0, 0, 0, 0);
	return 0;
}

/* ---- its preparation ---- */

bool launch_shares(void)
{
	return SHARES_MEMORY && syscall(SYS_close_range, ~0U, ~0U, UNSHARE) == 0;
}

int launch_open(struct launch *l, const struct command *c, int slot, int feed)
{
	int pair[2];
	*l = (struct launch){.command = c, .slot = slot, .feed = feed, .received = true};
	sigemptyset(&l->no_signals);
	bool ready = feed == -1;
	if (!ready && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
		ready = dup3(pair[0], slot, O_CLOEXEC) != -1 && dup3(pair[1], feed, O_CLOEXEC) != -1;
		close(pair[0]);
		close(pair[1]);
	}
	if (ready && (slot == -1 || (l->stack = aligned_alloc(64, STACK))) && env_open(&l->env) == 0)
		return 0;
	free(l->stack);
	return -1;
}

/* Begin again: the set FD, which has no placements and no acknowledgement yet, and BYTES of names and text. Three placements
 * can be more than it has. */
static int begin(struct launch *l, const int *fd, size_t count, size_t bytes)
{
	if (env_begin(&l->env, count + 3, bytes) == -1)
		return -1;
	if (count + 3 > l->room) {
		int *grown = realloc(l->fds, 3 * (count + 3) * sizeof *grown);
		if (!grown)
			return -1;
		l->fds = grown;
		l->room = count + 3;
	}
	l->from = l->fds + l->room;
	l->to = l->from + l->room;
	memcpy(l->fds, fd, count * sizeof *fd);
	l->count = count;
	l->single = count == 1;
	l->forks = l->slot == -1;
	l->copies = l->forks || l->feed == -1;
	l->copy = -1;
	l->forked = 0;
	l->leads = false;
	l->ack_len = 0;
	return 0;
}

int launch_set(struct launch *l, const int *from, const int *to, size_t count)
{
	if (begin(l, from, count, 0) == -1)
		return -1;
	memcpy(l->to, to, count * sizeof *to);
	l->places = count;
	l->connection = false;
	if (count)
		env_fds(&l->env, l->to, 1);
	return 0;
}

int launch_delivery(struct launch *l, const struct delivery *d, const int *where)
{
	const struct command *c = l->command;
	size_t bytes = d->len;
	for (size_t i = 0; i < d->set.count; i++)
		bytes += d->set.name && d->set.name[i] ? strlen(d->set.name[i]) : 0;
	if (begin(l, d->set.fd, d->set.count, bytes) == -1)
		return -1;
	l->places = command_places(c, l->count, l->to);
	if (where)
		memcpy(l->to, where, l->places * sizeof *where);
	l->connection = true;
	if (c->blocking)
		make_blocking(&d->set);
	env_fds(&l->env, l->to, l->places);
	env_delivery(&l->env, d);
	return 0;
}

void launch_lead(struct launch *l, int dir, int tty)
{
	l->leads = true;
	l->parent = getpid();
	l->tty = tty;
	l->dir = dir == -1 ? -1 : (int)l->count;
	if (dir != -1) /* there is room for three more than the set */
		l->fds[l->count++] = dir;
}

void launch_acknowledge(struct launch *l, int sock, uint64_t id, const char *owed)
{
	size_t len = strlen(owed);
	/* The process needs a number that nobody closes meanwhile, or a table of its own. */
	if (!l->copies && (l->copy = fcntl(sock, F_DUPFD_CLOEXEC, 0)) == -1)
		l->copies = l->forks = true;
	memmove(l->fds + 1, l->fds, l->count++ * sizeof *l->fds);
	l->fds[0] = l->copies ? sock : l->copy;
	memcpy(l->ack, owed, len);
	l->ack_len = (ssize_t)len + record_format(l->ack + len, ACK_ROOM - len, &(struct record){.word = RECORD_TAKEN, .id = id});
}

/* ---- the process ---- */

/* A process that shares our memory or table uses L from here on, before it is made. */
static void lend(struct launch *l)
{
	l->received = l->copies;
	l->closed = 0;
	l->busy = 1;
}

/* There is no such process; errno says why. Where the kernel makes none at all: from now on by fork; the sockets stay
 * open. */
static void take_back(struct launch *l)
{
	l->busy = 0;
	l->received = true;
	l->forks = errno == EINVAL || errno == ENOSYS || errno == EPERM;
	if (l->forks) {
		l->slot = -1;
		l->copies = true;
	}
}

/* As vfork(2). */
static pid_t start_and_wait(struct launch *l)
{
	_Alignas(64) char stack[STACK];
	return clone(run, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, l);
}

pid_t launch_start(struct launch *l, int *error)
{
	pid_t pid = -1;
	l->error = error;
	*error = 0;
	if (!l->forks) {
		lend(l);
		/* Kernel: CLONE_CHILD_CLEARTID sets .busy to 0 when the process has executed COMMAND or ended. */
		pid = clone(run, l->stack + STACK, CLONE_VM | (l->copies ? 0 : CLONE_FILES) | CLONE_CHILD_CLEARTID | SIGCHLD, l,
		            NULL, NULL, &l->busy);
		if (pid != -1)
			return pid;
		take_back(l);
	}
	/* The process reads a copy that it does not share with us: the next process may have this one. */
	struct launch copy = *l;
	if (l->forks && l->leads) /* a keeper, which starts nothing else */
		pid = start_and_wait(l);
	else if (l->forks && (pid = fork()) == 0)
		run(&copy);
	int failed = errno;
	if (l->copy != -1)
		close(l->copy);
	errno = failed;
	return pid;
}

pid_t launch_fork(struct launch *l, int *sock, int *error)
{
	pid_t pid = -1;
	l->error = error;
	*error = 0;
	if (begin(l, sock, 1, 0) == -1)
		return -1;
	if (l->forks)
		return fork();
	lend(l);
	pid = split(SIGCHLD);
	if (pid > 0)
		l->forked = pid;
	if (pid == 0) {
		*error = leave_table(l);
		*sock = l->fds[0];
		if (*error)
			_exit(exec_status(*error));
		__atomic_store_n(&l->busy, 0, __ATOMIC_RELEASE);
	}
	if (pid != -1)
		return pid;
	take_back(l);
	return l->forks ? fork() : -1;
}

void launch_recover(struct launch *l, struct closer *closer)
{
	if (l->busy || l->received)
		return;
	struct set left = {0};
	char byte;
	ssize_t n;
	while ((n = rights_receive(l->slot, &left, &byte, 1, NULL)) > 0)
		;
	/* A descriptor that stays there must never be another COMMAND's: from now on by fork. */
	if (n == -1 && errno != EAGAIN)
		l->slot = -1;
	closer_trim(closer, &left, 0, NOBODY);
	set_forget(&left);
	while (l->closed < l->count)
		closer_close(closer, l->fds[l->closed++], NOBODY);
	l->received = true;
}

int launch_become(struct launch *l)
{
	return execute(l);
}
