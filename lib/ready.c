/* SPDX-License-Identifier: ISC */
/* Telling others that we are ready, and where. */
#include "ready.h"
#include "parse.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		if (n == -1 && errno != EINTR)
			return -1;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int ready_fd(int fd)
{
	if (fd == -1)
		return 0;
	int result = write_all(fd, "\n", 1);
	close(fd);
	/* No socket of ours comes to lie there, and COMMAND has a standard stream. */
	if (fd <= 2 && open("/dev/null", O_RDWR) != fd)
		return -1;
	return result;
}

int ready_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (!path || !*path)
		return 0;
	size_t len = strlen(path);
	if (len > sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, len);
	if (*path == '@')
		a.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&a,
	                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	int error = errno;
	close(fd);
	errno = error;
	return n == -1 ? -1 : 0;
}

const char *address_file_parse(struct address_file *f, const char *path)
{
	long fd = -1;
	const char *why = NULL;
	if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdout") == 0)
		fd = 1;
	else if (strcmp(path, "/dev/stderr") == 0)
		fd = 2;
	else if (strncmp(path, "/dev/fd/", 8) == 0)
		why = parse_number(&fd, path + 8, 0, INT32_MAX);
	*f = (struct address_file){.path = path, .fd = (int)fd, .inherited = fd != -1};
	if (why || !f->inherited)
		return why;
	int flags = fcntl(f->fd, F_GETFL);
	if (flags == -1)
		return strerror(errno);
	return (flags & O_ACCMODE) == O_RDONLY ? "not open for writing" : NULL;
}

const char *address_file_prepare(struct address_file *f)
{
	struct stat st;
	if (f->inherited)
		return NULL;
	if (lstat(f->path, &st) == -1)
		return errno == ENOENT ? NULL : strerror(errno);
	if (S_ISLNK(st.st_mode))
		return "is a symbolic link (name the file itself)";
	f->in_place = S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode);
	if (!f->in_place && !S_ISREG(st.st_mode))
		return "is there, but is no regular file";
	/* A character device was made by root. */
	if (!S_ISCHR(st.st_mode) && st.st_uid != geteuid())
		return "belongs to another user";
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return f->in_place || unlink(f->path) == 0 ? NULL : strerror(errno);
}

/* Open what is written in place, if it is still what it was. */
static int open_in_place(struct address_file *f)
{
	struct stat st;
	f->fd = open(f->path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
	if (f->fd == -1) {
		/* Kernel: ENXIO says that nobody has the FIFO open for reading (fifo(7)). */
		errno = errno == ENXIO ? EAGAIN : errno;
		return -1;
	}
	if (fstat(f->fd, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		return 0;
	close(f->fd);
	f->fd = -1;
	errno = ESTALE;
	return -1;
}

/* Write TEXT from where the last try ended. Kernel: a pipe that is ready takes PIPE_BUF bytes without waiting (pipe(7)). */
static int write_in_place(struct address_file *f, const char *text)
{
	if (f->fd == -1 && open_in_place(f) == -1)
		return -1;
	for (size_t len = strlen(text); f->written < len;) {
		struct pollfd p = {.fd = f->fd, .events = POLLOUT};
		if (poll(&p, 1, 0) != 1) {
			errno = EAGAIN;
			return -1;
		}
		size_t left = len - f->written;
		ssize_t n = write(f->fd, text + f->written, left < PIPE_BUF ? left : PIPE_BUF);
		if (n == -1 && errno != EINTR)
			return -1;
		f->written += n > 0 ? (size_t)n : 0;
	}
	if (!f->inherited)
		close(f->fd);
	return 0;
}

/* Write TEXT aside, and rename that to PATH. mkostemp makes it 0600; readers are whoever may read what this user writes. */
static int write_aside(struct address_file *f, const char *text)
{
	char *aside;
	if (asprintf(&aside, "%s.XXXXXX", f->path) == -1)
		return -1;
	struct stat st;
	int fd = mkostemp(aside, O_CLOEXEC), result = -1;
	mode_t mask = umask(0);
	umask(mask);
	if (fd != -1 && write_all(fd, text, strlen(text)) == 0 && fchmod(fd, 0666 & ~mask) == 0 && fstat(fd, &st) == 0)
		result = rename(aside, f->path);
	int error = errno;
	if (fd != -1)
		close(fd);
	if (result == 0) {
		f->ours = true;
		f->dev = st.st_dev;
		f->ino = st.st_ino;
	} else if (fd != -1) {
		unlink(aside);
	}
	free(aside);
	errno = error;
	return result;
}

int address_file_write(struct address_file *f, const char *text)
{
	return f->inherited || f->in_place ? write_in_place(f, text) : write_aside(f, text);
}

void address_file_remove(struct address_file *f)
{
	struct stat st;
	if (f->ours && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlink(f->path);
	f->ours = false;
}
