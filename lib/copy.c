/* SPDX-License-Identifier: ISC */
/* Bytes from one descriptor to another by the fastest way that the two allow. */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CHUNK = 1 << 20,        /* asked of the kernel in one call; a pipe's usual most */
	BUFFER = 128 * 1024,    /* for read and write */
};

/* What carries the bytes, the fastest first for each pair of kinds. */
enum way { RANGE, SENDFILE, SPLICE, RELAY, READ_WRITE };

static enum way best_way(int in, int out)
{
	struct stat from, to;
	if (fstat(in, &from) == -1 || fstat(out, &to) == -1)
		return READ_WRITE;
	if (S_ISFIFO(from.st_mode) || S_ISFIFO(to.st_mode))
		return SPLICE;
	if (S_ISREG(from.st_mode))
		return S_ISREG(to.st_mode) ? RANGE : SENDFILE;
	return S_ISSOCK(from.st_mode) ? RELAY : READ_WRITE;
}

/* Something may be non-blocking: wait until both can go on. */
static int await_both(int in, int out)
{
	return await(out, POLLOUT, NEVER) == -1 ? -1 : await(in, POLLIN, NEVER);
}

/* Kernel: a pseudo-terminal's master reads EIO once the last slave has closed (pty(7)). */
static ssize_t read_some(int in, char *buf, size_t len)
{
	ssize_t n = read(in, buf, len);
	return n == -1 && errno == EIO && isatty(in) ? 0 : n;
}

static int write_waiting(int out, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(out, buf, len);
		if (n >= 0) {
			buf += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN ? await(out, POLLOUT, NEVER) == -1 : errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

/* LIMIT: at most so many bytes; -1 for all. */
static int read_write(int in, int out, ssize_t limit, int *side)
{
	char buf[BUFFER];
	while (limit) {
		size_t want = limit > 0 && limit < BUFFER ? (size_t)limit : BUFFER;
		ssize_t n = read_some(in, buf, want);
		*side = in;
		if (n == 0)
			return 0;
		if (n == -1) {
			if (errno == EAGAIN ? await(in, POLLIN, NEVER) == -1 : errno != EINTR)
				return -1;
			continue;
		}
		*side = out;
		if (write_waiting(out, buf, (size_t)n) == -1)
			return -1;
		if (limit > 0)
			limit -= n;
	}
	return 0;
}

/* Empty PIPE, which holds LEFT bytes, into OUT: what OUT does not take by splice (a file open for
 * appending), by write. */
static int drain(int pipe, int out, ssize_t left, int *side)
{
	while (left) {
		ssize_t n = splice(pipe, NULL, out, NULL, (size_t)left, SPLICE_F_MOVE | SPLICE_F_MORE);
		if (n > 0)
			left -= n;
		else if (n == -1 && errno == EAGAIN ? await(out, POLLOUT, NEVER) == -1 : n == -1 && errno == EPIPE)
			return -1;
		else if (n == -1 && errno != EAGAIN && errno != EINTR)
			return read_write(pipe, out, left, side);
	}
	return 0;
}

/* One step of WAY. As read(2): the number of bytes, 0 at end of file; -2 after an error with bytes that
 * were read already, so that no other way would carry them. */
static ssize_t step(enum way way, int in, int out, const int relay[2], int *side)
{
	ssize_t n;
	switch (way) {
	case RANGE:
		return copy_file_range(in, NULL, out, NULL, 1 << 30, 0);
	case SENDFILE:
		return sendfile(out, in, NULL, 1 << 30);
	case SPLICE:
		return splice(in, NULL, out, NULL, CHUNK, SPLICE_F_MOVE);
	default:
		n = splice(in, NULL, relay[1], NULL, CHUNK, SPLICE_F_MOVE);
		return n > 0 && drain(relay[0], out, n, side) == -1 ? -2 : n;
	}
}

static int copy_way(enum way way, int in, int out, const int relay[2], int *side)
{
	for (;;) {
		*side = out;
		ssize_t n = step(way, in, out, relay, side);
		if (n > 0 || (n == -1 && errno == EINTR))
			continue;
		if (n == -2)
			return -1;
		if (n == -1 && errno == EAGAIN && await_both(in, out) != -1)
			continue;
		/* End of file is certain only from read(2): files of /proc look empty to the others. */
		if (n == 0 && (way == SPLICE || way == RELAY))
			return 0;
		if (n == -1 && (errno == EPIPE || errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
			return -1;
		if (n == -1 && errno == ECONNRESET) {
			*side = in;
			return -1;
		}
		return read_write(in, out, -1, side);
	}
}

/* Is IN the file that OUT writes, further on? Its end would go on before us for ever. */
static bool chases_itself(int in, int out)
{
	struct stat from, to;
	if (fstat(in, &from) == -1 || fstat(out, &to) == -1 || !S_ISREG(from.st_mode) ||
	    from.st_dev != to.st_dev || from.st_ino != to.st_ino)
		return false;
	return fcntl(out, F_GETFL) & O_APPEND || lseek(in, 0, SEEK_CUR) < lseek(out, 0, SEEK_CUR);
}

int copy(int in, int out, int *side)
{
	enum way way = best_way(in, out);
	int relay[2] = {-1, -1};
	if (chases_itself(in, out)) {
		*side = out;
		errno = EDEADLK;
		return -1;
	}
	if (way == READ_WRITE || (way == RELAY && pipe2(relay, O_CLOEXEC) == -1))
		return read_write(in, out, -1, side);
	if (way == RELAY)
		fcntl(relay[0], F_SETPIPE_SZ, CHUNK);
	int result = copy_way(way, in, out, relay, side), error = errno;
	if (way == RELAY) {
		close(relay[0]);
		close(relay[1]);
	}
	errno = error;
	return result;
}

/* Until CHILD has ended or BOTH has hung up, in which case nothing it still reads could be delivered.
 * Returns the child's errno, 0 for none. */
static int await_child(pid_t child, int both)
{
	struct pollfd p[] = {
		{.fd = both},
		{.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN},
	};
	while (await_any(p, 2, NEVER) == -1)
		;
	if (!p[1].revents)
		kill(child, SIGTERM);
	int status = 0;
	while (waitpid(child, &status, 0) == -1 && errno == EINTR)
		;
	if (p[1].fd != -1)
		close(p[1].fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

static bool local(int sock)
{
	int domain = 0;
	socklen_t len = sizeof domain;
	return getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
}

/* A process for each direction: neither can hold up the other, whatever blocks. */
int copy_both(int both, int in, int out, int *side)
{
	pid_t parent = getpid(), child = fork();
	if (child == -1)
		return -1;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(0);
		int error = copy(in, both, side) == -1 ? errno : 0;
		/* That may be the hang-up at which the parent ends us; what we have to tell comes first. */
		signal(SIGTERM, SIG_IGN);
		shutdown(both, SHUT_WR);
		/* A peer that wants no more has hung up, which is no failure. */
		_exit(error == EPIPE || error == ECONNRESET ? 0 : error);
	}
	int result = copy(both, out, side), error = errno;
	/* Kernel: a Unix socket's peer that closes with input unread is ECONNRESET here, once all that it
	 * wrote has been read; elsewhere that means that something was lost. */
	if (result == -1 && error == ECONNRESET && local(both))
		result = 0;
	if (result == -1) {
		kill(child, SIGTERM);
		waitpid(child, NULL, 0);
	} else if ((error = await_child(child, both))) {
		*side = in;
		result = -1;
	}
	errno = error;
	return result;
}

/* OUT is ours to write, so a pipe there may hold as much as one call moves; what came from others stays as
 * it is. Kernel: setting less than there is would shrink it (F_SETPIPE_SZ, fcntl(2)). */
static void widen(int out)
{
	int size = fcntl(out, F_GETPIPE_SZ);
	if (size != -1 && size < CHUNK)
		fcntl(out, F_SETPIPE_SZ, CHUNK);
}

int copy_by_kind(int fd, int in, int out, int *side)
{
	struct stat st;
	char slave[32];
	int flags = fcntl(fd, F_GETFL), listens = 0;
	socklen_t len = sizeof listens;
	*side = fd;
	if (flags == -1 || fstat(fd, &st) == -1)
		return -1;
	errno = flags & O_PATH ? EBADF : S_ISDIR(st.st_mode) ? EISDIR : 0;
	if (!errno && S_ISSOCK(st.st_mode) &&
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
		errno = EINVAL;
	if (errno)
		return -1;
	widen(out);
	if (S_ISSOCK(st.st_mode) || ptsname_r(fd, slave, sizeof slave) == 0)
		return copy_both(fd, in, out, side);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	if ((flags & O_ACCMODE) == O_WRONLY || (writes && isatty(fd)))
		return copy(in, fd, side);
	return copy(fd, out, side);
}
