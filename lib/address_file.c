/* SPDX-License-Identifier: ISC */
#include "address_file.h"
#include "parse.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *address_file_parse(struct address_file *f, const char *path)
{
	long fd = -1;
	const char *why = NULL;
	if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdout") == 0)
		fd = 1;
	else if (strcmp(path, "/dev/stderr") == 0)
		fd = 2;
	else if (strncmp(path, "/dev/fd/", 8) == 0)
		why = parse_number(&fd, path + 8, 0, INT_MAX);
	*f = (struct address_file){.path = path, .kind = fd == -1 ? FILE_RENAMED : FILE_INHERITED, .fd = (int)fd};
	if (fd == -1)
		return why;
	int flags = fcntl(f->fd, F_GETFL);
	if (flags == -1)
		return strerror(errno);
	return (flags & O_ACCMODE) == O_RDONLY ? "not open for writing" : NULL;
}

/* Only root makes a device; anything else must be our own. */
static bool trusted(const struct stat *st)
{
	return S_ISCHR(st->st_mode) || st->st_uid == geteuid();
}

const char *address_file_prepare(struct address_file *f)
{
	struct stat st;
	if (f->kind == FILE_INHERITED)
		return NULL;
	if (lstat(f->path, &st) == -1)
		return errno == ENOENT ? NULL : strerror(errno);
	if (S_ISLNK(st.st_mode))
		return "is a symbolic link (name the file itself)";
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return "is there, but is no regular file";
	if (!trusted(&st))
		return "belongs to another user";
	if (S_ISREG(st.st_mode))
		return unlink(f->path) == 0 ? NULL : strerror(errno);
	f->kind = FILE_IN_PLACE;
	return NULL;
}

/* Write the rest of the LEN bytes of TEXT. Kernel: a pipe that poll(2) shows as ready takes PIPE_BUF bytes without waiting (pipe(7)). */
static int write_rest(struct address_file *f, const char *text, size_t len)
{
	while (f->written < len) {
		struct pollfd p = {.fd = f->fd, .events = POLLOUT};
		if (f->kind != FILE_RENAMED && poll(&p, 1, 0) != 1) {
			errno = EAGAIN;
			return -1;
		}
		size_t left = len - f->written;
		ssize_t n = write(f->fd, text + f->written, left < PIPE_BUF ? left : PIPE_BUF);
		if (n == -1 && errno != EINTR)
			return -1;
		f->written += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int write_in_place(struct address_file *f, const char *text, size_t len)
{
	struct stat st;
	if (f->fd == -1) {
		f->fd = open(f->path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
		/* Kernel: ENXIO: nobody has the FIFO open for reading (fifo(7)). */
		if (f->fd == -1 && errno == ENXIO)
			errno = EAGAIN;
		if (f->fd == -1)
			return -1;
		/* It may have been replaced meanwhile. */
		if (fstat(f->fd, &st) == -1 || S_ISREG(st.st_mode) || !trusted(&st)) {
			errno = ESTALE;
			return f->fd = fd_drop(f->fd);
		}
	}
	if (write_rest(f, text, len) == -1)
		return -1;
	f->fd = fd_drop(f->fd);
	return 0;
}

/* mkostemp makes the file 0600; it becomes readable for whoever the umask lets read. */
static int write_aside(struct address_file *f, const char *text, size_t len)
{
	char *aside;
	if (asprintf(&aside, "%s.XXXXXX", f->path) == -1)
		return -1;
	struct stat st;
	int result = -1;
	mode_t mask = umask(0);
	umask(mask);
	f->fd = mkostemp(aside, O_CLOEXEC);
	if (f->fd != -1 && write_rest(f, text, len) == 0 && fchmod(f->fd, 0666 & ~mask) == 0 && fstat(f->fd, &st) == 0)
		result = rename(aside, f->path);
	int error = errno;
	if (result == 0)
		f->file = (struct file){.dev = st.st_dev, .ino = st.st_ino};
	else if (f->fd != -1)
		unlink(aside);
	f->fd = fd_drop(f->fd);
	free(aside);
	errno = error;
	return result;
}

int address_file_write(struct address_file *f, const char *text, size_t len)
{
	switch (f->kind) {
	case FILE_RENAMED: return write_aside(f, text, len);
	case FILE_IN_PLACE: return write_in_place(f, text, len);
	default: return write_rest(f, text, len);
	}
}

int address_file_finish(struct address_file *f, const char *text, size_t len, int sigfd, int64_t deadline)
{
	void (*before)(int) = signal(SIGPIPE, SIG_IGN);
	int result;
	f->written = 0;
	for (int pause = 1; (result = address_file_write(f, text, len)) == -1 && errno == EAGAIN; pause = longer(pause, 50)) {
		struct pollfd p = {.fd = sigfd, .events = POLLIN};
		int sig = await_any(&p, 1, sooner(deadline_in(pause), deadline)) > 0 ? signals_next(sigfd) : 0;
		if (sig == SIGHUP || sig == SIGINT || sig == SIGTERM) {
			result = sig;
			break;
		}
		errno = ETIMEDOUT;
		if (time_left(deadline) == 0)
			break;
	}
	signal(SIGPIPE, before);
	return result;
}

void address_file_remove(struct address_file *f)
{
	if (f->kind == FILE_RENAMED)
		file_remove(&f->file, f->path);
}
