/* SPDX-License-Identifier: ISC */
/* Bytes from one descriptor to another by the fastest way that the two allow. */
#include "copy.h"
#include "fd.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CHUNK = 1 << 20,        /* asked of splice(2) in one call; a pipe's usual most */
	BUFFER = 1 << 17,       /* and of read(2), as cat(1) does */
};

/* Kernel: a pseudo-terminal's master reads EIO once the last slave has closed (pty(7)). */
static ssize_t read_some(int in, char *buf, size_t len)
{
	ssize_t n = read(in, buf, len);
	if (n == -1 && errno == EIO) {
		if (isatty(in))
			return 0;
		errno = EIO;
	}
	return n;
}

/* After a failed call: wait until a non-blocking FD can go on. False: it failed for another reason. */
static bool again(int fd, short events)
{
	return errno == EAGAIN ? await(fd, events, NEVER) != -1 : errno == EINTR;
}

static int write_waiting(int out, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(out, buf, len);
		if (n >= 0) {
			buf += n;
			len -= (size_t)n;
		} else if (!again(out, POLLOUT)) {
			return -1;
		}
	}
	return 0;
}

static int read_write(int in, int out, int *side)
{
	char buf[BUFFER];
	for (;;) {
		*side = in;
		ssize_t n = read_some(in, buf, sizeof buf);
		if (n == 0)
			return 0;
		if (n == -1 && !again(in, POLLIN))
			return -1;
		*side = out;
		if (n > 0 && write_waiting(out, buf, (size_t)n) == -1)
			return -1;
	}
}

/* As splice(2), but wait for a non-blocking IN or OUT: EAGAIN does not say which of the two it was. */
static ssize_t move(int in, int out, size_t len)
{
	ssize_t n;
	do
		n = splice(in, NULL, out, NULL, len, SPLICE_F_MOVE);
	while (n == -1 && again(out, POLLOUT) && again(in, POLLIN));
	return n;
}

/* Let PIPE hold as much as one call moves, or as its owner may still have (EPERM, fcntl(2)). Anything else
 * stays as it is. Kernel: setting less than there is would shrink it. */
static void widen(int pipe)
{
	int size = fcntl(pipe, F_GETPIPE_SZ);
	for (int more = CHUNK; size != -1 && more > size && fcntl(pipe, F_SETPIPE_SZ, more) == -1; more /= 2)
		;
}

/* Did splice itself fail, so that read and write may do? A socket tells its own error only once. */
static bool cannot_splice(int error)
{
	return error == EINVAL || error == ENOSYS || error == ENOMEM;
}

/* Both are pipes. As copy, or 1: the rest goes by read and write. */
static int by_splice(int in, int out, int *side)
{
	ssize_t n;
	*side = out;
	while ((n = move(in, out, CHUNK)) > 0)
		;
	return n == -1 && cannot_splice(errno) ? 1 : (int)n;
}

/* The same by way of a pipe of our own. Kernel: splice(2) waits for a file or a socket with the lock of the
 * pipe at its other end held, and all who use that pipe hang; between two pipes it waits without a lock
 * (splice_file_to_pipe, splice_to_socket, ipipe_prep, opipe_prep, fs/splice.c). */
static int by_relay(int in, int out, int *side)
{
	int relay[2], result;
	ssize_t left = 0, n;
	if (pipe2(relay, O_CLOEXEC) == -1)
		return 1;
	widen(relay[0]);
	do {
		*side = in;
		left = move(in, relay[1], CHUNK);
		if (left <= 0)
			break;
		*side = out;
		while (left && (n = move(relay[0], out, (size_t)left)) > 0)
			left -= n;
	} while (left == 0);
	int error = errno;
	close(relay[1]);
	if (left == 0)
		result = 0;
	else if (!cannot_splice(error))
		result = -1;
	else if ((result = read_write(relay[0], out, side)) == 0)
		result = 1;
	else
		error = errno;
	close(relay[0]);
	errno = error;
	return result;
}

/* Kernel: write(2) alone locks an offset that it shares with other writers; splice, sendfile and
 * copy_file_range overwrite what those write meanwhile (fdget_pos, fs/file.c). So none of these into files. */
static bool splices(mode_t from, mode_t to)
{
	return (S_ISFIFO(from) || S_ISSOCK(from) || S_ISREG(from) || S_ISBLK(from)) && (S_ISFIFO(to) || S_ISSOCK(to));
}

/* Is IN the file that OUT writes, further on? Its end would go on before us for ever. */
static bool chases_itself(int in, const struct stat *from, int out, const struct stat *to)
{
	if (!S_ISREG(from->st_mode) || from->st_dev != to->st_dev || from->st_ino != to->st_ino)
		return false;
	return fcntl(out, F_GETFL) & O_APPEND || lseek(in, 0, SEEK_CUR) < lseek(out, 0, SEEK_CUR);
}

int copy_possible(int in, int out, int *side)
{
	int from = fcntl(in, F_GETFL), to = fcntl(out, F_GETFL);
	*side = from == -1 || (from & O_ACCMODE) == O_WRONLY ? in : out;
	if (*side == out && to != -1 && (to & O_ACCMODE) != O_RDONLY)
		return 0;
	errno = EBADF;
	return -1;
}

/* From IN to OUT until end of file. */
static int copy(int in, int out, int *side)
{
	struct stat from = {0}, to = {0};
	if (copy_possible(in, out, side) == -1)
		return -1;
	if (fstat(in, &from) == 0 && fstat(out, &to) == 0 && chases_itself(in, &from, out, &to)) {
		errno = EDEADLK;
		return -1;
	}
	widen(in);
	widen(out);
	int result = !splices(from.st_mode, to.st_mode)                  ? 1
	             : S_ISFIFO(from.st_mode) && S_ISFIFO(to.st_mode) ? by_splice(in, out, side)
	                                                              : by_relay(in, out, side);
	/* End of file is certain only from read(2): files of /proc look empty to splice. */
	if (result == 1 || (result == 0 && S_ISREG(from.st_mode)))
		return read_write(in, out, side);
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

/* A process for each direction: neither can hold up the other, whatever blocks. */
int copy_both(int both, int in, int out, int *side)
{
	if (copy_possible(in, out, side) == -1)
		return -1;
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
	if (result == -1 && error == ECONNRESET && fd_option(both, SO_DOMAIN) == AF_UNIX)
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

int copy_by_kind(int fd, int in, int out, int *side)
{
	struct stat st;
	char slave[32];
	int flags = fcntl(fd, F_GETFL);
	*side = fd;
	if (flags == -1 || fstat(fd, &st) == -1)
		return -1;
	errno = flags & O_PATH ? EBADF : S_ISDIR(st.st_mode) ? EISDIR : 0;
	if (!errno && S_ISSOCK(st.st_mode) && fd_option(fd, SO_ACCEPTCONN) == 1)
		errno = EINVAL;
	if (errno)
		return -1;
	if (S_ISSOCK(st.st_mode) || ptsname_r(fd, slave, sizeof slave) == 0)
		return copy_both(fd, in, out, side);
	bool writes = (flags & O_ACCMODE) != O_RDONLY;
	if ((flags & O_ACCMODE) == O_WRONLY || (writes && isatty(fd)))
		return copy(in, fd, side);
	return copy(fd, out, side);
}
