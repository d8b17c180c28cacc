/* SPDX-License-Identifier: ISC */
/* Closing what may block, by processes that share our table of descriptors.
 *
 * Kernel: close(2) frees the number first, and then waits: for the server of a FUSE file (FLUSH), for the reader of a
 * TCP socket with SO_LINGER, for the lock of a pipe from which somebody splices. A Unix socket with one of those in
 * its queue is closed for its peer first, and then waits. No signal ends all of these waits, so a thread would keep
 * the process from ending; a process with a copy of the table would keep our sockets open, and would close only its
 * copy. So the helpers share the table, and not the memory: clone(2) with CLONE_FILES alone.
 *
 * Numbers to close stand in rings in shared memory, a ring (lane) for several uids, so that one that sends what blocks
 * holds up few others. A supervisor, our child, starts workers; a worker takes a number, which nobody else takes
 * then, and closes it. The supervisor lives as long as a worker, and, when we have left the table or have died,
 * has all of it closed: what blocks would keep that open. */
#include "closer.h"
#include "launch.h"
#include "peer.h"
#include "set.h"
#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LANES = 8, WORKERS = 8, RING = 65536,
	SWEEPERS = 32,
	SLOW_MS = 5,            /* a worker that closed nothing for so long is stuck */
	IDLE_MS = 20,           /* between looks at workers that are stuck, where nothing else waits */
	LINGER_US = 20000,      /* a wait for SO_LINGER takes so long at most */
	END_MS = 500,
	FREE = -1, IDLE = -2,   /* no worker in this place; a worker that closes nothing just now */
};

struct lane {
	_Atomic uint32_t head, tail;    /* what was taken; what was given */
	_Atomic int closing[WORKERS];   /* what each worker closes */
	_Atomic int number[RING];
};

struct closing {
	_Atomic int running;            /* a supervisor */
	_Atomic int left, swept;        /* the table is nobody's; nothing is in it */
	_Atomic int next;               /* the number to close next, */
	int last;                       /* up to this */
	pid_t tool;
	struct lane lane[LANES];
};

/* As fork(2), but the table of descriptors is shared. Libc's wrapper wants another stack. */
static pid_t split(unsigned long sig)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, 0, CLONE_FILES | sig, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, CLONE_FILES | sig, 0, 0, 0, 0);
#endif
}

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
		*fd = atomic_load(&l->number[head % RING]);
		if (atomic_compare_exchange_weak(&l->head, &head, head + 1))
			return true;
	}
	return false;
}

static _Noreturn void work(struct lane *l, _Atomic int *place)
{
	int fd;
	never_linger();
	while (claim(l, &fd)) {
		atomic_store(place, fd);
		close(fd);
		atomic_store(place, IDLE);
	}
	_exit(0);
}

static _Noreturn void sweep(struct closing *s)
{
	int fd;
	never_linger();
	/* Kernel: what is closed is released when the system call returns: so one call for each, and not close_range(2). */
	while ((fd = atomic_fetch_add(&s->next, 1)) <= s->last)
		close(fd);
	atomic_store(&s->swept, 1);
	_exit(0);
}

/* The highest number in the table, or that can be. */
static int last_number(void)
{
	int last = 0;
	DIR *open = opendir("/proc/self/fd");
	if (!open)
		return (int)sysconf(_SC_OPEN_MAX);
	for (const struct dirent *e; (e = readdir(open));)
		if (strtol(e->d_name, NULL, 10) > last)
			last = (int)strtol(e->d_name, NULL, 10);
	closedir(open);
	return last;
}

/* ---- the supervisor ---- */

/* What it knows of a lane beside what it shares. */
struct watched {
	uint32_t head;          /* when it looked last */
	pid_t worker[WORKERS];
};

static void reap(struct closing *s, struct watched *watched)
{
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (size_t i = 0; i < LANES; i++)
			for (size_t k = 0; k < WORKERS; k++)
				if (watched[i].worker[k] == pid)
					atomic_store(&s->lane[i].closing[k], FREE);
}

/* Start a worker where none is, or all are stuck. Returns whether there is one. */
static bool tend(struct lane *l, struct watched *w)
{
	size_t place = WORKERS, busy = 0;
	uint32_t head = atomic_load(&l->head);
	for (size_t k = 0; k < WORKERS; k++)
		if (atomic_load(&l->closing[k]) == FREE)
			place = k;
		else
			busy++;
	if (waits(l) && place < WORKERS && (!busy || head == w->head)) {
		atomic_store(&l->closing[place], IDLE);
		pid_t pid = split(SIGCHLD);
		if (pid == 0)
			work(l, &l->closing[place]);
		w->worker[place] = pid;
		if (pid == -1)
			atomic_store(&l->closing[place], FREE);
		busy += pid != -1;
	}
	w->head = head;
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

/* Nobody uses the table any more: close all of it, in spite of what blocks. */
static _Noreturn void sweep_all(struct closing *s)
{
	s->last = last_number();
	for (int i = 0; i < SWEEPERS && !atomic_load(&s->swept); i++) {
		if (split(SIGCHLD) == 0)
			sweep(s);
		for (int64_t slow = deadline_in(SLOW_MS); !atomic_load(&s->swept) && time_left(slow);)
			rest(SLOW_MS);
	}
	_exit(0);
}

static _Noreturn void supervise(struct closing *s)
{
	struct watched watched[LANES] = {0};
	prctl(PR_SET_NAME, "fdkit-closer");
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	setsid();
	signal(SIGCHLD, SIG_DFL);
	for (;;) {
		bool busy = false, waiting = false;
		reap(s, watched);
		for (size_t i = 0; i < LANES; i++) {
			busy = tend(&s->lane[i], &watched[i]) || busy;
			waiting = waiting || waits(&s->lane[i]);
		}
		if (atomic_load(&s->left) || getppid() != s->tool)
			sweep_all(s);
		if (busy || waiting) {
			rest(waiting ? SLOW_MS : IDLE_MS);
			continue;
		}
		/* Whatever is given from now on is seen here, or its giver sees that nobody runs. */
		atomic_store(&s->running, 0);
		for (size_t i = 0; i < LANES; i++)
			waiting = waiting || waits(&s->lane[i]);
		if (!(waiting || atomic_load(&s->left)) || atomic_exchange(&s->running, 1))
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
	for (size_t i = 0; i < LANES; i++)
		for (size_t k = 0; k < WORKERS; k++)
			s->lane[i].closing[k] = FREE;
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

/* Is there room in L, or will there be soon, since the workers get on? */
static bool has_room(const struct lane *l)
{
	for (;;) {
		uint32_t head = atomic_load(&l->head);
		if (atomic_load(&l->tail) - head < RING)
			return true;
		nap(2 * SLOW_MS, NEVER);
		if (atomic_load(&l->head) == head)
			return false;
	}
}

void closer_close(struct closer *c, int fd, uid_t from)
{
	int error = errno;
	struct closing *s = never_waits(fd, from) ? NULL : open_closing(c);
	if (!s) {
		close(fd);
		errno = error;
		return;
	}
	struct lane *l = &s->lane[uid_trusted(from) ? 0 : 1 + from % (LANES - 1)];
	uint32_t tail = atomic_load(&l->tail);
	if (has_room(l)) {
		atomic_store(&l->number[tail % RING], fd);
		atomic_store(&l->tail, tail + 1);
	}
	/* Where there can be no helper, we are as good as can be. */
	if (start(c) == -1)
		for (size_t i = 0; i < LANES; i++)
			while (claim(&s->lane[i], &fd))
				close(fd);
	errno = error;
}

void closer_hang_up(struct closer *c, int sock, uid_t from)
{
	int error = errno, type = 0, queued = 1;
	socklen_t len = sizeof type;
	/* Kernel: after SHUT_RD nothing more is queued (unix_stream_sendmsg looks, with the receiver locked). A stream has no
	 * empty message, so that its length tells whether there is any. */
	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM && shutdown(sock, SHUT_RD) == 0 &&
	    ioctl(sock, FIONREAD, &queued) == 0 && !queued)
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

/* Is a number that was given still in our table? */
static bool any_left(struct closing *s)
{
	for (size_t i = 0; i < LANES; i++) {
		if (waits(&s->lane[i]))
			return true;
		for (size_t k = 0; k < WORKERS; k++) {
			int fd = atomic_load(&s->lane[i].closing[k]);
			if (fd >= 0 && fcntl(fd, F_GETFD) != -1)
				return true;
		}
	}
	return false;
}

void closer_wait(struct closer *c, int ms)
{
	struct closing *s = c->shared;
	int64_t deadline = deadline_in(ms);
	if (!s)
		return;
	while (any_left(s) && time_left(deadline))
		nap(1, deadline);
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
	int64_t deadline = deadline_in(END_MS);
	atomic_store(&s->left, 1);
	if (start(c) == -1)
		return;
	while (!atomic_load(&s->swept) && time_left(deadline))
		nap(1, deadline);
}
