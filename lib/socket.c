/* SPDX-License-Identifier: ISC */
#include "socket.h"
#include "parse.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETTLE_MS = 200 };       /* how long a killed process may still have its socket */

const char *endpoint_parse(struct endpoint *at, const char *arg)
{
	*at = (struct endpoint){.kind = END_PATH, .arg = arg, .text = arg, .type = SOCK_STREAM, .fd = -1};
	if (strncmp(arg, "connect:", 8) == 0)
		return "connect: is for fdrecv and fdread alone";
	if (strncmp(arg, "fd:", 3) == 0) {
		long fd;
		const char *why = parse_number(&fd, arg + 3, 0, INT_MAX);
		if (why)
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

/* ---- exec: and fd:N ---- */

/* In the child: COMMAND has SOCK as its standard input and output. All three standard streams are open, so SOCK is none. */
static _Noreturn void exec_run(const struct endpoint *at, int sock)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (at->nofile)
		setrlimit(RLIMIT_NOFILE, at->nofile);
	if (dup2(sock, 0) != -1 && dup2(sock, 1) != -1)
		execl("/bin/sh", "sh", "-c", at->text, (char *)NULL);
	_exit(127);
}

/* Outside a service the child forks again and ends, so that the COMMAND that we become has no child it never made. */
static int exec_open(struct endpoint *at)
{
	int pair[2], status = 0;
	if (socketpair(AF_UNIX, at->type | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		pid_t inner = at->service ? 0 : fork();
		if (inner == 0)
			exec_run(at, pair[1]);
		_exit(inner == -1 ? errno : 0);
	}
	fd_drop(pair[1]);
	if (pid == -1)
		return fd_drop(pair[0]);
	if (at->service)
		at->child = pid;
	else
		while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
			;
	if (WIFEXITED(status) && WEXITSTATUS(status)) {
		errno = WEXITSTATUS(status);
		return fd_drop(pair[0]);
	}
	at->fd = pair[0];
	return 0;
}

static int given_open(struct endpoint *at)
{
	int domain = fd_option(at->fd, SO_DOMAIN);
	if (domain != AF_UNIX) {
		errno = domain == -1 ? errno : EAFNOSUPPORT;
		return -1;
	}
	at->type = fd_option(at->fd, SO_TYPE);
	at->listens = fd_option(at->fd, SO_ACCEPTCONN) == 1;
	/* COMMAND does not get the socket that its descriptors came by, so that the peer sees end of file; the standard
	 * streams are COMMAND's in any case. */
	return at->fd > 2 ? fcntl(at->fd, F_SETFD, FD_CLOEXEC) : 0;
}

/* ---- addresses ---- */

struct address {
	struct sockaddr_un un;
	socklen_t len;
	int base;               /* the descriptor that a long path begins with; close it after use; or -1 */
};

/* A path that does not fit sun_path begins at /proc/self/fd: to connect, with an O_PATH descriptor of the socket
 * file; to bind, with one of its directory. */
static int address_of(struct address *a, const struct endpoint *at, bool to_bind)
{
	size_t size = sizeof a->un.sun_path, len = strlen(at->text);
	*a = (struct address){.un.sun_family = AF_UNIX, .len = sizeof a->un, .base = -1};
	if (at->kind == END_ABSTRACT) {
		memcpy(a->un.sun_path + 1, at->text, len);
		a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
		return 0;
	}
	if (len < size) {
		memcpy(a->un.sun_path, at->text, len);
		return 0;
	}
	const char *slash = strrchr(at->text, '/');
	size_t dir = !to_bind ? len : slash ? (size_t)(slash + 1 - at->text) : 0;
	char base[PATH_MAX] = ".";
	if (dir >= sizeof base) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(base, at->text, dir);
	a->base = open(base, O_PATH | O_CLOEXEC);
	if (a->base == -1)
		return -1;
	if (snprintf(a->un.sun_path, size, "/proc/self/fd/%d%s%s", a->base, to_bind ? "/" : "", at->text + dir) < (int)size)
		return 0;
	errno = ENAMETOOLONG;
	return fd_drop(a->base);
}

static int connect_to(const struct endpoint *at, int sock)
{
	struct address a;
	int result;
	if (address_of(&a, at, false) == -1)
		return -1;
	do
		result = connect(sock, (struct sockaddr *)&a.un, a.len);
	while (result == -1 && errno == EINTR);
	fd_drop(a.base);
	return result;
}

/* Is a socket file at PATH? errno ENOTSOCK: another file. To bind, a symbolic link is none, as bind(2) does not
 * follow it. */
static int find_file(const char *path, bool to_bind)
{
	struct stat st;
	if ((to_bind ? lstat(path, &st) : stat(path, &st)) == -1)
		return -1;
	if (S_ISSOCK(st.st_mode))
		return 0;
	errno = ENOTSOCK;
	return -1;
}

/* ---- stale socket files ---- */

/* Returns 0 if the file at the path of AT is a socket file without a socket, or not there. errno EADDRINUSE: a socket
 * is bound to it. Kernel: connect looks for the socket by the file's inode before it looks at anything else
 * (unix_find_bsd, net/unix/af_unix.c): ECONNREFUSED means that there is none, EPROTOTYPE that there is one, even if
 * it does not listen yet. A listening socket does not notice that a datagram socket asks. */
static int check_stale(const struct endpoint *at)
{
	if (find_file(at->text, true) == -1)
		return errno == ENOENT ? 0 : -1;
	int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool refused = probe != -1 && connect_to(at, probe) == -1 && errno == ECONNREFUSED;
	fd_drop(probe);
	errno = EADDRINUSE;
	return refused ? 0 : -1;
}

/* Two processes may find the same stale file; without a lock, the slower one would remove the new file of the faster
 * one. The lock is a file beside the socket that no other uid can open, and so none can hold. */
struct lock {
	char path[PATH_MAX];
	int fd;                 /* -1: not held */
};

/* errno EADDRINUSE: another process holds it, or has just released it; ENOLCK: another file has its name. */
static int lock_take(struct lock *l, const char *path)
{
	struct stat st;
	if (snprintf(l->path, sizeof l->path, "%s.fdkit-lock", path) >= (int)sizeof l->path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	int fd = open(l->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd == -1)
		errno = errno == ELOOP ? ENOLCK : errno;
	else if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size)
		errno = ENOLCK;
	else if (flock(fd, LOCK_EX | LOCK_NB) == -1)
		errno = errno == EWOULDBLOCK ? EADDRINUSE : errno;
	else if (fstat(fd, &st) == -1 || !st.st_nlink) /* its last holder has removed it */
		errno = EADDRINUSE;
	else
		l->fd = fd;
	return l->fd == -1 ? fd_drop(fd) : 0;
}

/* errno stays. */
static void lock_release(struct lock *l)
{
	int error = errno;
	if (l->fd != -1)
		unlink(l->path);
	fd_drop(l->fd);
	l->fd = -1;
	errno = error;
}

/* Remove a stale file at the path of AT. On success L is held, to be released when a new file is bound. */
static int replace_stale(const struct endpoint *at, struct lock *l)
{
	/* A process that was just killed may have left a child between vfork and exec, which still has the socket. */
	for (int64_t until = deadline_in(SETTLE_MS);; nap(5, until)) {
		if (check_stale(at) == 0 && lock_take(l, at->text) == 0 && check_stale(at) == 0 &&
		    (unlink(at->text) == 0 || errno == ENOENT))
			return 0;
		lock_release(l);
		if (errno != EADDRINUSE || !time_left(until))
			return -1;
	}
}

/* ---- listening ---- */

static int bind_to(struct endpoint *at, mode_t mode)
{
	struct address a;
	struct lock lock = {.fd = -1};
	struct stat st;
	if (address_of(&a, at, true) == -1)
		return -1;
	if (at->kind == END_ABSTRACT)
		return bind(at->fd, (struct sockaddr *)&a.un, a.len);
	/* Kernel: a socket file gets the socket's own mode, less the umask; fchmod(2) after bind(2) would not change the file
	 * (unix_bind_bsd, net/unix/af_unix.c). */
	mode_t umask_before = umask(0);
	int result = fchmod(at->fd, mode);
	if (result == 0)
		result = bind(at->fd, (struct sockaddr *)&a.un, a.len);
	if (result == -1 && errno == EADDRINUSE && replace_stale(at, &lock) == 0)
		result = bind(at->fd, (struct sockaddr *)&a.un, a.len);
	umask(umask_before);
	fd_drop(a.base);
	lock_release(&lock);
	if (result == -1)
		return -1;
	if (lstat(at->text, &st) == 0) {
		at->file = (struct file){.dev = st.st_dev, .ino = st.st_ino};
		return 0;
	}
	int error = errno;
	unlink(at->text);
	errno = error;
	return -1;
}

int endpoint_listen(struct endpoint *at, mode_t mode, int backlog)
{
	if (at->kind == END_EXEC)
		return exec_open(at);
	if (at->kind == END_FD)
		return given_open(at);
	int on = 1;
	at->listens = at->type != SOCK_DGRAM;
	at->fd = socket(AF_UNIX, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* SO_PASSCRED: every datagram, from the first one on, brings its sender's credentials. */
	if (at->fd != -1 && (at->listens || setsockopt(at->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0) &&
	    bind_to(at, mode) == 0 && (!at->listens || listen(at->fd, backlog) == 0))
		return 0;
	endpoint_close(at);
	return -1;
}

/* ---- connecting ---- */

int endpoint_dial(struct endpoint *at)
{
	if (at->kind == END_EXEC)
		return exec_open(at);
	if (at->kind == END_FD) {
		int result = given_open(at);
		if (result == -1 || !at->listens)
			return result;
		errno = EINVAL;
		return -1;
	}
	if (at->kind == END_PATH && find_file(at->text, false) == -1)
		return -1;
	int sock = socket(AF_UNIX, at->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock == -1 || connect_to(at, sock) == -1)
		return fd_drop(sock);
	at->fd = sock;
	return 0;
}

int endpoint_connect(struct endpoint *at, int64_t wait, int64_t deadline)
{
	/* No event tells that a bound socket begins to listen: try, less and less often. */
	for (int pause = 1;; pause = longer(pause, 50)) {
		if (endpoint_dial(at) != -1)
			return 0;
		bool absent = errno == ENOENT || errno == ECONNREFUSED;
		if (absent ? wait == 0 : errno != EAGAIN || at->kind == END_EXEC)
			return -1;
		int64_t until = absent ? sooner(wait, deadline) : deadline;
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
	file_remove(&at->file, at->text);
	if (at->fd > 2 || at->kind != END_FD)
		fd_drop(at->fd);
	at->fd = -1;
	if (at->child) {
		kill(at->child, SIGTERM);
		while (waitpid(at->child, NULL, 0) == -1 && errno == EINTR)
			;
	}
	at->child = 0;
	errno = error;
}
