/* SPDX-License-Identifier: ISC */
/* COMMAND begun: in place of the tool, or in a new process that the tool does not wait for.
 *
 * The new process shares our memory until it has executed COMMAND (CLONE_VM), so nothing is copied; and
 * unlike vfork(2)'s, it leaves us running, so that the next connection is not held up by this one's exec.
 * What follows from that:
 *   - it runs on a stack of its own, and everything that it reads is its own struct launch, which is not
 *     touched again before the kernel says that it has let go of our memory (.busy);
 *   - it shares our errno, so it must not set it: calls that can fail are made by kernel.h;
 *   - it gets no signal of ours: a service has them blocked, and the process unblocks them just before
 *     it executes, with the handlers that it has copied (signal(7): execve makes them the default);
 *   - why it failed, it writes where the parent reads it after wait(2).
 *
 * Strangers' descriptors may hold up whoever closes them, as exec closes every descriptor of its process. So
 * the process gets no copy of our table: it shares that too (CLONE_FILES), and leaves it with the numbers up
 * to its own .slot, below which no stranger's descriptor lies (jobs_reserve). Its set it receives through that slot,
 * and it is the one that closes our copy of it: what blocks there holds up this one COMMAND.
 *
 * Where the kernel makes no such process (before Linux 5.9, under qemu's user emulation and valgrind), and where
 * there is no slot, it is made by fork(2), with a copy of our memory and table. */
#include "launch.h"
#include "closer.h"
#include "env.h"
#include "wire.h"
#include "kernel.h"
#include "peer.h"
#include "place.h"
#include "record.h"
#include "rights.h"
#include "set.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { STACK = 32768 };

/* Kernel: include/uapi/linux/close_range.h; not every libc knows it. */
enum { UNSHARE = 1 << 1 };

#ifndef SYS_close_range
#define SYS_close_range 436 /* Kernel: the same for every machine */
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
			if (aside == -1 && (aside = kernel(SYS_fcntl, to[i], F_DUPFD_CLOEXEC, last + 1, 0, 0)) < 0)
				return (int)-aside;
			from[k] = (int)aside;
		}
		/* Kernel: what is at its place already keeps its close-on-exec flag (dup(2)). */
		result = from[i] == to[i] ? kernel(SYS_fcntl, to[i], F_SETFD, 0, 0, 0)
		                          : kernel(SYS_dup3, from[i], to[i], 0, 0, 0);
		if (result < 0)
			return (int)-result;
	}
	return 0;
}

/* ---- what the process does; each returns errno's value or 0 ---- */

/* What goes through the slot: the set, and before it the acknowledging socket if there is one. */
static int *sent(const struct launch *l, size_t *count)
{
	*count = l->count + (l->ack_len != 0);
	return l->fds + (l->ack_len == 0);
}

/* Close the set in the table that is shared, leave that table, and take the set from the slot. */
static int receive(struct launch *l)
{
	size_t count, got = 0;
	int *fd = sent(l, &count);
	while (l->closed < l->count)
		kernel(SYS_close, l->fds[++l->closed], 0, 0, 0, 0);
	long result = kernel(SYS_close_range, l->slot + 1, -1, UNSHARE, 0, 0);
	for (; result >= 0 && got < count; got += (size_t)result)
		result = rights_take(l->slot, fd + got, count - got);
	l->received = got == count;
	return result < 0 ? (int)-result : 0;
}

/* COMMAND's descriptors, environment, limits and signals; then COMMAND. */
static int execute(struct launch *l)
{
	const struct command *c = l->command;
	for (size_t i = 0; i < l->places; i++)
		l->from[i] = l->fds[l->count == 1 ? 1 : 1 + i];
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

static int run(void *launch)
{
	struct launch *l = launch;
	int error = l->slot == -1 ? 0 : receive(l);
	/* The acknowledgement is the commit point. Whoever waits for it has given up if it cannot be
	 * sent, and may have handed the descriptors elsewhere; once it is sent nobody else gets them.
	 * This process sends it itself: a worker that is killed before there is a process has
	 * acknowledged nothing, and one killed after cannot take it back. */
	if (l->ack_len && (error || kernel(SYS_sendto, l->fds[0], (long)l->ack, (long)l->ack_len,
	                                   MSG_NOSIGNAL | MSG_DONTWAIT, 0) != (long)l->ack_len))
		error = ECANCELED;
	*l->error = error ? error : execute(l);
	/* Not by exit, which has handlers to run, nor by _exit, before which a sanitizer looks at the stack. */
	kernel(SYS_exit_group, exec_status(*l->error), 0, 0, 0, 0);
	return 0;
}

/* ---- what it needs for that ---- */

bool launch_shares(void)
{
	return SHARES_MEMORY && syscall(SYS_close_range, ~0U, ~0U, UNSHARE) == 0;
}

int launch_open(struct launch *l, const struct command *c, int slot, int feed)
{
	int pair[2];
	*l = (struct launch){.command = c, .slot = slot, .feed = feed, .received = true};
	sigemptyset(&l->no_signals);
	if (env_open(&l->env) == -1)
		return -1;
	if (slot == -1)
		return 0;
	if ((l->stack = aligned_alloc(64, STACK)) && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
		bool placed = dup3(pair[0], slot, O_CLOEXEC) != -1 && dup3(pair[1], feed, O_CLOEXEC) != -1;
		int error = errno;
		close(pair[0]);
		close(pair[1]);
		if (placed)
			return 0;
		errno = error;
	}
	free(l->stack);
	env_free(&l->env);
	return -1;
}

/* Room for COUNT descriptors, in as many places or three. */
static int make_room(struct launch *l, size_t count)
{
	size_t room = count + 3;
	if (room > l->room) {
		int *grown = realloc(l->fds, (1 + 3 * room) * sizeof *grown);
		if (!grown)
			return -1;
		l->fds = grown;
		l->room = room;
	}
	l->from = l->fds + 1 + l->room;
	l->to = l->from + l->room;
	l->count = count;
	l->ack_len = 0;
	env_reset(&l->env);
	return 0;
}

int launch_set(struct launch *l, const int *from, const int *to, size_t count)
{
	if (make_room(l, count) == -1)
		return -1;
	memcpy(l->fds + 1, from, count * sizeof *from);
	memcpy(l->to, to, count * sizeof *to);
	l->places = count;
	l->connection = false;
	return env_fds(&l->env, l->to, 1);
}

int launch_delivery(struct launch *l, const struct delivery *d, const int *where)
{
	const struct command *c = l->command;
	if (make_room(l, d->set.count) == -1)
		return -1;
	memcpy(l->fds + 1, d->set.fd, l->count * sizeof *l->fds);
	l->places = command_places(c, l->count, l->to);
	if (where)
		memcpy(l->to, where, l->places * sizeof *where);
	l->connection = true;
	if (c->blocking)
		make_blocking(&d->set);
	return env_fds(&l->env, l->to, l->places) == -1 ? -1 : env_delivery(&l->env, d);
}

void launch_acknowledge(struct launch *l, int sock, uint64_t id)
{
	l->fds[0] = sock;
	l->ack_len = record_format(l->ack, sizeof l->ack, &(struct record){.word = RECORD_TAKEN, .id = id});
}

/* ---- the process ---- */

/* Take out of the slot what no process has received. */
static void drain(struct launch *l, struct closer *closer)
{
	struct set left = {0};
	char byte;
	ssize_t n;
	while ((n = rights_receive(l->slot, &left, &byte, 1, NULL)) > 0)
		;
	/* What is still there must never be another COMMAND's: from now on by fork. */
	if (n == -1 && errno != EAGAIN)
		l->slot = -1;
	closer_trim(closer, &left, 0, NOBODY);
	set_forget(&left);
	l->received = true;
}

void launch_recover(struct launch *l, struct closer *closer)
{
	if (l->slot == -1 || l->busy || l->received)
		return;
	drain(l, closer);
	while (l->closed < l->count)
		closer_close(closer, l->fds[++l->closed], NOBODY);
}

/* Start a process that shares our memory and our table. */
static pid_t start_sharing(struct launch *l, struct closer *closer)
{
	size_t count;
	const int *fd = sent(l, &count);
	pid_t pid = -1;
	for (size_t n; count; fd += n, count -= n) {
		n = count < FDS_PER_MESSAGE ? count : FDS_PER_MESSAGE;
		if (rights_send(l->feed, fd, n, "", 1) == -1)
			break;
	}
	if (!count) {
		l->received = false;
		l->closed = 0;
		l->busy = 1;
		/* Kernel: CLONE_CHILD_CLEARTID sets .busy to 0 when the process has executed COMMAND or ended. */
		pid = clone(run, l->stack + STACK, CLONE_VM | CLONE_FILES | CLONE_CHILD_CLEARTID | SIGCHLD, l, NULL, NULL, &l->busy);
	}
	if (pid == -1) {
		int error = errno;
		l->busy = 0;
		drain(l, closer);
		errno = error;
	}
	return pid;
}

pid_t launch_start(struct launch *l, struct closer *closer, int *error)
{
	pid_t pid = -1;
	l->error = error;
	*error = 0;
	if (l->slot != -1) {
		pid = start_sharing(l, closer);
		if (pid != -1 || (errno != EINVAL && errno != ENOSYS && errno != EPERM))
			return pid;
		/* From now on by fork; what is at the slot's number stays there. */
		l->slot = -1;
	}
	pid = fork();
	if (pid == 0)
		run(l);
	return pid;
}

int launch_become(struct launch *l)
{
	return execute(l);
}
