/* SPDX-License-Identifier: ISC */
/* Closing what may block, by processes that share our table of descriptors.
 *
 * Kernel: close(2) frees the number first, and then waits: for the server of a FUSE file (FLUSH), for the reader of a
 * TCP socket with SO_LINGER, for the lock of a pipe from which somebody splices. A Unix socket with one of those in
 * its queue is closed for its peer first, and then waits. No signal ends all of these waits, so a thread would keep
 * the process from ending; a process with a copy of the table would keep our sockets open, and would close only its
 * copy. So the helpers share the table, and not the memory: clone(2) with CLONE_FILES alone.
 *
 * Numbers to close wait in rings in shared memory, a ring (lane) for several uids, so that a uid that sends what blocks
 * holds up few others. A supervisor, our child, starts workers; a worker takes a number, which no other worker takes
 * then, and closes it. The supervisor lives as long as a worker. When we have left the table or have died, it has workers
 * close every number of the table: stuck helpers would keep that open. */
#include "closer.h"
#include "peer.h"
#include "set.h"
#include "split.h"
#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LANES = 8, WORKERS = 8, RING = 65536,
	SWEEP = LANES, SWEEPERS = 32, /* at the end: the lane of all numbers, and its workers */
	SLOW_MS = 5,            /* a worker that closed nothing for so long is stuck */
	IDLE_MS = 20,           /* between looks at stuck workers, where nothing else waits */
	LINGER_US = 20000,      /* a wait for SO_LINGER takes so long at most */
	END_MS = 500,
	FREE = 0, IDLE = -1,
};

struct lane {
	_Atomic uint32_t head, tail;    /* count the numbers that were taken, and given */
	_Atomic int closing[SWEEPERS];  /* by each worker: 1 + the number that it closes, IDLE, or FREE where there is no worker */
	bool sweeps;                    /* it has every number of the table */
	uint32_t seen;                  /* the supervisor's: .head when it looked last, */
	pid_t worker[SWEEPERS];         /* and its workers */
	_Atomic int number[RING];       /* unused where it sweeps: a number is its own count */
};

struct closing {
	_Atomic int running;            /* there is a supervisor */
	_Atomic int left;               /* the tool does not use the table any more */
	pid_t tool;
	struct lane lane[LANES + 1];
};

static bool waits(const struct lane *l)
{
	return atomic_load(&l->head) != atomic_load(&l->tail);
}

/* ---- workers ---- */

static void wake(int sig)
{
	(void)sig;
}

/* Kernel: any signal ends the wait for SO_LINGER (sk_stream_wait_close, net/core/stream.c). The data is still sent. */
static void never_linger(void)
{
	const struct itimerval often = {.it_value.tv_usec = LINGER_US, .it_interval.tv_usec = LINGER_US};
	struct sigaction sa = {.sa_handler = wake};
	sigset_t alarm;
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigaction(SIGALRM, &sa, NULL);
	sigprocmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

static bool claim(struct lane *l, int *fd)
{
	uint32_t head = atomic_load(&l->head);
	while (head != atomic_load(&l->tail)) {
		*fd = l->sweeps ? (int)head : atomic_load(&l->number[head % RING]);
		if (atomic_compare_exchange_weak(&l->head, &head, head + 1))
			return true;
	}
	return false;
}

/* Kernel: what is closed is released when the system call returns: so one call for each, and not close_range(2). */
static _Noreturn void work(struct lane *l, _Atomic int *place)
{
	int fd;
	never_linger();
	while (claim(l, &fd)) {
		atomic_store(place, 1 + fd);
		close(fd);
		atomic_store(place, IDLE);
	}
	_exit(0);
}

int highest_open(void)
{
	int last = 0;
	DIR *open = opendir("/proc/self/fd");
	if (!open)
		return (int)sysconf(_SC_OPEN_MAX);
	for (const struct dirent *e; errno = 0, (e = readdir(open));)
		if (strtol(e->d_name, NULL, 10) > last)
			last = (int)strtol(e->d_name, NULL, 10);
	int failed = errno;
	closedir(open);
	return failed ? (int)sysconf(_SC_OPEN_MAX) : last;
}

/* ---- the supervisor ---- */

static void reap(struct closing *s)
{
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (size_t i = 0; i <= LANES; i++)
			for (size_t k = 0; k < SWEEPERS; k++)
				if (s->lane[i].worker[k] == pid)
					atomic_store(&s->lane[i].closing[k], FREE);
}

/* Start a worker where there is none, or all are stuck. Returns whether there is one. */
static bool tend(struct lane *l)
{
	const size_t most = l->sweeps ? SWEEPERS : WORKERS;
	size_t place = most, busy = 0;
	uint32_t head = atomic_load(&l->head);
	for (size_t k = 0; k < most; k++)
		if (atomic_load(&l->closing[k]) == FREE)
			place = k;
		else
			busy++;
	if (waits(l) && place < most && (!busy || head == l->seen)) {
		atomic_store(&l->closing[place], IDLE);
		pid_t pid = split(SIGCHLD);
		if (pid == 0)
			work(l, &l->closing[place]);
		l->worker[place] = pid;
		if (pid == -1)
			atomic_store(&l->closing[place], FREE);
		busy += pid != -1;
	}
	l->seen = head;
	return busy;
}

/* Until a child has ended or our parent has, MS at most. */
static void rest(int ms)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGUSR1);
	sigtimedwait(&set, NULL, &(struct timespec){.tv_nsec = ms * 1000000L});
}

/* Close all of the table. When every worker is stuck the rest stays open. */
static _Noreturn void sweep(struct lane *l)
{
	atomic_store(&l->tail, (uint32_t)highest_open() + 1);
	for (int stuck = 0; waits(l) && stuck < 2 * SWEEPERS; stuck += atomic_load(&l->head) == l->seen) {
		tend(l);
		rest(SLOW_MS);
	}
	_exit(0);
}

static bool any_waits(const struct closing *s)
{
	size_t i = 0;
	while (i < LANES && !waits(&s->lane[i]))
		i++;
	return i < LANES;
}

static _Noreturn void supervise(struct closing *s)
{
	prctl(PR_SET_NAME, "fdkit-closer");
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	setsid();
	signal(SIGCHLD, SIG_DFL);
	for (;;) {
		bool busy = false;
		reap(s);
		for (size_t i = 0; i < LANES; i++)
			busy = tend(&s->lane[i]) || busy;
		if (atomic_load(&s->left) || getppid() != s->tool)
			sweep(&s->lane[SWEEP]);
		bool waiting = any_waits(s);
		if (busy || waiting) {
			rest(waiting ? SLOW_MS : IDLE_MS);
			continue;
		}
		/* A number that is given from now on is seen here, or its giver sees that there is no supervisor. */
		atomic_store(&s->running, 0);
		if (!(any_waits(s) || atomic_load(&s->left)) || atomic_exchange(&s->running, 1))
			_exit(0);
	}
}

/* ---- the tool ---- */

static void reap_supervisor(struct closer *c)
{
	while (c->supervisor && waitpid(c->supervisor, NULL, __WALL) == -1 && errno == EINTR)
		;
	c->supervisor = 0;
}

/* Have a supervisor. Kernel: a child that sends no signal when it ends is seen by no wait(2) without __WALL. */
static int start(struct closer *c)
{
	sigset_t all, before;
	const char *preload = getenv("LD_PRELOAD");
	/* Valgrind ends a program that clones so. */
	if (preload && strstr(preload, "vgpreload"))
		return -1;
	if (atomic_exchange(&c->shared->running, 1))
		return 0;
	reap_supervisor(c);
	/* No signal that is for us, or for our process group, is for the helpers. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = split(0);
	if (pid == 0)
		supervise(c->shared);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid == -1)
		atomic_store(&c->shared->running, 0);
	else
		c->supervisor = pid;
	return pid == -1 ? -1 : 0;
}

/* The shared memory, which is made when it is needed; a process that was forked from the tool needs its own. */
static struct closing *open_closing(struct closer *c)
{
	pid_t self = getpid();
	if (c->shared && c->shared->tool == self)
		return c->shared;
	struct closing *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return NULL;
	s->tool = self;
	s->lane[SWEEP].sweeps = true;
	*c = (struct closer){.shared = s};
	return s;
}

static bool never_waits(int fd, uid_t from)
{
	struct linger linger;
	int protocol;
	socklen_t len = sizeof protocol, size = sizeof linger;
	return uid_trusted(from) && getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP &&
	       getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0 && !linger.l_onoff;
}

/* Put FD into L. Where it is full, wait as long as workers get on, and then leave FD open. */
static void give(struct lane *l, int fd)
{
	uint32_t tail = atomic_load(&l->tail), head, before = tail + 1;
	while ((head = atomic_load(&l->head)) != before && tail - head == RING) {
		before = head;
		nap(2 * SLOW_MS, NEVER);
	}
	if (tail - head == RING)
		return;
	atomic_store(&l->number[tail % RING], fd);
	atomic_store(&l->tail, tail + 1);
}

void closer_close(struct closer *c, int fd, uid_t from)
{
	int error = errno;
	struct closing *s = never_waits(fd, from) ? NULL : open_closing(c);
	if (s)
		give(&s->lane[uid_trusted(from) ? 0 : 1 + from % (LANES - 1)], fd);
	else
		close(fd);
	/* Where no helper can be made, close them ourselves. */
	if (s && start(c) == -1)
		for (size_t i = 0; i < LANES; i++)
			while (claim(&s->lane[i], &fd))
				close(fd);
	errno = error;
}

void closer_hang_up(struct closer *c, int sock, uid_t from)
{
	int error = errno, type = 0, queued = 1;
	socklen_t len = sizeof type;
	struct pollfd p = {.fd = sock, .events = POLLRDHUP};
	/* Kernel: nothing more is queued once the peer has shut its side down, or we ours, which wakes the peer
	 * (unix_stream_sendmsg looks, with the receiver locked). A stream has no empty message: its length shows whether it has any. */
	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	    ((poll(&p, 1, 0) == 1 && p.revents & POLLRDHUP) || shutdown(sock, SHUT_RD) == 0) && ioctl(sock, FIONREAD, &queued) == 0 && !queued)
		close(sock);
	else
		closer_close(c, sock, from);
	errno = error;
}

void closer_trim(struct closer *c, struct set *set, size_t keep, uid_t from)
{
	while (set->count > keep) {
		free(set->name[--set->count]);
		if (set->fd[set->count] != -1)
			closer_close(c, set->fd[set->count], from);
	}
}

/* Is a number that L was given still in our table? */
static bool any_left(const struct lane *l)
{
	for (size_t k = 0; k < SWEEPERS; k++) {
		int fd = atomic_load(&l->closing[k]) - 1;
		if (fd >= 0 && fcntl(fd, F_GETFD) != -1)
			return true;
	}
	return waits(l);
}

void closer_settle(struct closer *c, int ms)
{
	int64_t deadline = c->shared ? deadline_in(ms) : 0;
	for (size_t i = 0; c->shared && i < LANES; i++)
		while (any_left(&c->shared->lane[i]) && time_left(deadline))
			nap(1, deadline);
}

void closer_wait(struct closer *c, int ms)
{
	struct closing *s = c->shared;
	if (!s)
		return;
	closer_settle(c, ms);
	/* A helper that is stuck would keep open what COMMAND has, for longer than COMMAND. */
	if (atomic_load(&s->running) && unshare(CLONE_FILES) == 0)
		atomic_store(&s->left, 1);
	reap_supervisor(c);
	munmap(s, sizeof *s);
	*c = (struct closer){0};
}

void closer_end(struct closer *c, bool held)
{
	struct closing *s = c->shared || held ? open_closing(c) : NULL;
	if (!s)
		return;
	const struct lane *l = &s->lane[SWEEP];
	int64_t deadline = deadline_in(END_MS);
	atomic_store(&s->left, 1);
	if (start(c) == -1)
		return;
	while ((!atomic_load(&l->tail) || any_left(l)) && time_left(deadline))
		nap(1, deadline);
}
