/* SPDX-License-Identifier: ISC */
/* SOCKET: a word of the command line to a socket that listens or is connected. */
#include "socket.h"
#include "command.h"
#include "parse.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *endpoint_parse(struct endpoint *at, const char *arg)
{
	*at = (struct endpoint){.kind = END_PATH, .arg = arg, .text = arg, .type = SOCK_STREAM, .fd = -1};
	long fd;
	const char *why;
	if (strncmp(arg, "fd:", 3) == 0) {
		if ((why = parse_number(&fd, arg + 3, 0, INT32_MAX)))
			return why;
		at->kind = END_FD;
		at->fd = (int)fd;
	} else if (strncmp(arg, "exec:", 5) == 0) {
		at->kind = END_EXEC;
		at->text = arg + 5;
	} else if (*arg == '@') {
		at->kind = END_ABSTRACT;
		at->text = arg + 1;
		if (strlen(at->text) > sizeof((struct sockaddr_un *)0)->sun_path - 1)
			return "an abstract name longer than 107 bytes";
	}
	return *at->text ? NULL : "empty";
}

bool endpoint_given(const struct endpoint *at)
{
	return at->kind == END_EXEC || (at->kind == END_FD && !at->listens);
}

/* ---- addresses ---- */

struct address {
	struct sockaddr_un un;
	socklen_t len;
	int dir;                /* what a long path leans on, or -1; close it after use */
};

static void address_abstract(struct address *a, const char *name)
{
	size_t len = strlen(name);
	*a = (struct address){.un.sun_family = AF_UNIX, .dir = -1};
	memcpy(a->un.sun_path + 1, name, len);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
}

/* A path that sun_path does not hold is reached through /proc/self/fd: to connect, by an O_PATH
 * descriptor of the socket file; to bind, by one of its directory. */
static int address_path(struct address *a, const char *path, bool to_bind)
{
	*a = (struct address){.un.sun_family = AF_UNIX, .len = sizeof a->un, .dir = -1};
	int len = -1;
	if (strlen(path) < sizeof a->un.sun_path) {
		len = snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s", path);
	} else if (!to_bind) {
		a->dir = open(path, O_PATH | O_CLOEXEC);
		len = snprintf(a->un.sun_path, sizeof a->un.sun_path, "/proc/self/fd/%d", a->dir);
	} else {
		const char *slash = strrchr(path, '/');
		char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
		if (!dir)
			return -1;
		a->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		len = snprintf(a->un.sun_path, sizeof a->un.sun_path, "/proc/self/fd/%d/%s", a->dir,
		               slash ? slash + 1 : path);
		free(dir);
	}
	if (a->dir == -1 && strlen(path) >= sizeof a->un.sun_path)
		return -1;
	if (len >= (int)sizeof a->un.sun_path) {
		close(a->dir);
		errno = ENAMETOOLONG;
		return -1;
	}
	return 0;
}

/* Closes what ADDRESS leans on; errno stays. */
static void address_done(const struct address *a)
{
	int error = errno;
	if (a->dir != -1)
		close(a->dir);
	errno = error;
}

/* ---- exec: ---- */

/* Start COMMAND with one end of a socketpair as its standard input and output. In a SERVICE it
 * stays our child, which we end; else it is nobody's, so that COMMAND has no child it never made. */
static int exec_open(struct endpoint *at, bool service)
{
	int pair[2], status = -1;
	if (socketpair(AF_UNIX, at->type | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		pid_t inner = service ? 0 : fork();
		if (inner != 0)
			_exit(inner == -1 ? errno : 0);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		int from[] = {pair[1], pair[1]};
		if (at->nofile)
			setrlimit(RLIMIT_NOFILE, at->nofile);
		if (place(from, (const int[]){0, 1}, 2) == 0)
			execl("/bin/sh", "sh", "-c", at->text, (char *)NULL);
		_exit(127);
	}
	close(pair[1]);
	if (pid == -1) {
		close(pair[0]);
		return -1;
	}
	if (service)
		at->child = pid;
	else
		while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
			;
	if (WIFEXITED(status) && WEXITSTATUS(status)) {
		close(pair[0]);
		errno = WEXITSTATUS(status);
		return -1;
	}
	at->fd = pair[0];
	return 0;
}

/* ---- fd:N ---- */

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == -1 ? -1 : value;
}

static int fd_open(struct endpoint *at)
{
	int domain = option(at->fd, SO_DOMAIN);
	if (domain == -1)
		return -1;
	if (domain != AF_UNIX) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	at->type = option(at->fd, SO_TYPE);
	at->listens = option(at->fd, SO_ACCEPTCONN) == 1;
	/* COMMAND does not get the socket that its descriptors came by, so that its peer sees end of
	 * file; standard streams are COMMAND's in any case. */
	return at->fd > 2 ? fcntl(at->fd, F_SETFD, FD_CLOEXEC) : 0;
}

/* ---- listening ---- */

/* Is there a socket file at PATH? To bind, a symbolic link is none: bind(2) does not follow it. */
static int socket_file(const char *path, bool to_bind)
{
	struct stat st;
	if ((to_bind ? lstat(path, &st) : stat(path, &st)) == -1)
		return -1;
	if (!S_ISSOCK(st.st_mode)) {
		errno = ENOTSOCK;
		return -1;
	}
	return 0;
}

/* Is a socket bound to the file at PATH? Kernel: connect finds a socket by the file's inode before
 * it looks at anything else (unix_find_bsd, net/unix/af_unix.c): ECONNREFUSED says that there is
 * none, EPROTOTYPE that there is one, even where it is bound and does not listen yet. A datagram
 * socket asks without a listening one noticing. */
static int bound(const char *path)
{
	struct address a;
	int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (probe == -1 || address_path(&a, path, false) == -1) {
		if (probe != -1)
			close(probe);
		return -1;
	}
	bool refused = connect(probe, (struct sockaddr *)&a.un, a.len) == -1 && errno == ECONNREFUSED;
	address_done(&a);
	close(probe);
	return !refused;
}

/* What keeps two from replacing the same stale file: what both see as stale could be the first one's new file when the
 * second removes it. It is a file beside the socket that no other uid can open, so none can hold it. */
struct lock {
	char *path;
	int fd;                 /* -1: not held */
};

/* Remove the file before the lock ends, so that whoever waits for it finds that it is nobody's any more. */
static void lock_release(struct lock *l)
{
	if (l->fd == -1)
		return;
	unlink(l->path);
	close(l->fd);
	l->fd = -1;
}

/* Returns 0 or errno's value: EADDRINUSE somebody else holds it, ENOLCK the file there is not the lock's. */
static int lock_take(struct lock *l)
{
	struct stat st, there;
	int error = 0;
	l->fd = open(l->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (l->fd == -1)
		return errno == ELOOP ? ENOLCK : errno;
	if (fstat(l->fd, &st) == -1)
		error = errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size)
		error = ENOLCK;
	else if (flock(l->fd, LOCK_EX | LOCK_NB) == -1)
		error = errno == EWOULDBLOCK ? EADDRINUSE : errno;
	else if (lstat(l->path, &there) == -1 || there.st_dev != st.st_dev || there.st_ino != st.st_ino)
		error = EADDRINUSE;
	if (error) {
		close(l->fd);
		l->fd = -1;
	}
	return error;
}

/* Returns 0 if the file at PATH is a socket file that belongs to no socket, or not there at all; else errno's value. */
static int not_stale(const char *path)
{
	if (socket_file(path, true) == -1)
		return errno == ENOENT ? 0 : errno;
	return bound(path) == 0 ? 0 : EADDRINUSE;
}

/* Remove a stale socket file at PATH. On success L is held: release it when a new one is bound. */
static int replace_stale(const char *path, struct lock *l)
{
	int error;
	if (asprintf(&l->path, "%s.fdkit-lock", path) == -1)
		return -1;
	/* A process that was killed a moment ago may have left a child between vfork and exec, which has
	 * the socket still: look again for as long as such a child can take. */
	for (int64_t until = deadline_in(200);; nap(5, until)) {
		error = not_stale(path);
		if (!error && !(error = lock_take(l)) && !(error = not_stale(path)) && unlink(path) == -1 && errno != ENOENT)
			error = errno;
		if (error)
			lock_release(l);
		if (error != EADDRINUSE || !time_left(until))
			break;
	}
	errno = error;
	return error ? -1 : 0;
}

static int bind_path(struct endpoint *at, int sock, mode_t mode)
{
	struct address a;
	struct stat st;
	struct lock lock = {.fd = -1};
	if (address_path(&a, at->text, true) == -1)
		return -1;
	/* Kernel: a socket file is born with the socket's own mode, less the umask; fchmod(2) after
	 * bind(2) would not change the file (net/unix/af_unix.c, unix_bind_bsd). */
	mode_t umask_before = umask(0);
	int result = fchmod(sock, mode);
	if (result == 0)
		result = bind(sock, (struct sockaddr *)&a.un, a.len);
	if (result == -1 && errno == EADDRINUSE && replace_stale(at->text, &lock) == 0)
		result = bind(sock, (struct sockaddr *)&a.un, a.len);
	umask(umask_before);
	address_done(&a);
	int error = errno;
	lock_release(&lock);
	free(lock.path);
	errno = error;
	if (result == -1)
		return -1;
	/* At the end it is removed only if it is still ours, so we must know which it is. */
	if (lstat(at->text, &st) == -1) {
		error = errno;
		unlink(at->text);
		errno = error;
		return -1;
	}
	at->bound = true;
	at->dev = st.st_dev;
	at->ino = st.st_ino;
	return 0;
}

static int bind_abstract(const struct endpoint *at, int sock)
{
	struct address a;
	address_abstract(&a, at->text);
	return bind(sock, (struct sockaddr *)&a.un, a.len);
}

int endpoint_listen(struct endpoint *at, mode_t mode, int backlog, bool service)
{
	if (at->kind == END_EXEC)
		return exec_open(at, service);
	if (at->kind == END_FD)
		return fd_open(at);
	int sock = socket(AF_UNIX, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (sock == -1)
		return -1;
	at->fd = sock;
	/* A datagram brings its sender's credentials with it, from the first one on. */
	int result = at->type == SOCK_DGRAM ? setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) : 0;
	if (result == 0)
		result = at->kind == END_PATH ? bind_path(at, sock, mode) : bind_abstract(at, sock);
	at->listens = at->type != SOCK_DGRAM;
	if (result == 0 && at->listens)
		result = listen(sock, backlog);
	if (result == -1)
		endpoint_close(at);
	return result;
}

/* ---- accepting ---- */

static void wake(int sig)
{
	(void)sig;
}

/* A listening socket that is not ours alone is blocking, and must stay so: whoever shares it may take the connection that
 * poll(2) showed, and accept would wait for the next one, deaf to signals. A timer of its own that goes on until it is
 * deleted ends such an accept with EINTR; the caller's alarm(2) and its signal are left alone. */
static int accept_briefly(int listening, int flags)
{
	const struct itimerspec soon = {.it_value.tv_nsec = 10000000, .it_interval.tv_nsec = 10000000};
	const int sig = SIGRTMAX;
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
	struct sigaction sa = {.sa_handler = wake}, before;
	sigset_t ours, mask;
	timer_t timer;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) == -1)
		return -1;
	sigemptyset(&ours);
	sigaddset(&ours, sig);
	sigaction(sig, &sa, &before);
	sigprocmask(SIG_UNBLOCK, &ours, &mask);
	timer_settime(timer, 0, &soon, NULL);
	int fd = accept4(listening, NULL, NULL, flags);
	int error = fd == -1 && errno == EINTR ? EAGAIN : errno;
	timer_delete(timer);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	sigaction(sig, &before, NULL);
	errno = error;
	return fd;
}

int accept_now(int listening, bool inherited, int flags)
{
	int fd;
	flags |= SOCK_CLOEXEC;
	if (inherited && !(fcntl(listening, F_GETFL) & O_NONBLOCK))
		return accept_briefly(listening, flags);
	do
		fd = accept4(listening, NULL, NULL, flags);
	while (fd == -1 && errno == EINTR);
	return fd;
}

/* ---- connecting ---- */

int endpoint_dial(struct endpoint *at, bool service)
{
	if (at->kind == END_EXEC)
		return exec_open(at, service);
	if (at->kind == END_FD) {
		int result = fd_open(at);
		if (result == -1 || !at->listens)
			return result;
		errno = EINVAL;
		return -1;
	}
	struct address a;
	if (at->kind == END_ABSTRACT)
		address_abstract(&a, at->text);
	else if (socket_file(at->text, false) == -1 || address_path(&a, at->text, false) == -1)
		return -1;
	int sock = socket(AF_UNIX, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), result = sock;
	if (sock != -1)
		do
			result = connect(sock, (struct sockaddr *)&a.un, a.len);
		while (result == -1 && errno == EINTR);
	address_done(&a);
	if (result == -1) {
		int error = errno;
		if (sock != -1)
			close(sock);
		errno = error;
		return -1;
	}
	at->fd = sock;
	return 0;
}

int endpoint_connect(struct endpoint *at, int64_t wait, int64_t deadline)
{
	/* No event tells that a bound socket begins to listen, so it is asked for, less and less
	 * often; what counts is the connection, never the file. */
	for (int pause = 1;; pause = longer(pause, 50)) {
		if (endpoint_dial(at, false) != -1)
			return 0;
		int64_t until = deadline;
		if (errno == ENOENT || errno == ECONNREFUSED) {
			if (wait == 0)
				return -1;
			if (until == NEVER || (wait != NEVER && wait < until))
				until = wait;
		} else if (errno != EAGAIN || at->kind == END_EXEC) {
			return -1;
		}
		if (time_left(until) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		nap(pause, until);
	}
}

void endpoint_close(struct endpoint *at)
{
	int error = errno;
	struct stat st;
	if (at->bound && lstat(at->text, &st) == 0 && st.st_dev == at->dev && st.st_ino == at->ino)
		unlink(at->text);
	at->bound = false;
	if (at->fd > 2 || (at->fd != -1 && at->kind != END_FD))
		close(at->fd);
	at->fd = -1;
	if (at->child) {
		kill(at->child, SIGTERM);
		while (waitpid(at->child, NULL, 0) == -1 && errno == EINTR)
			;
	}
	at->child = 0;
	errno = error;
}
