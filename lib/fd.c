/* SPDX-License-Identifier: ISC */
#include "fd.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_drop(int fd)
{
	int error = errno;
	if (fd != -1)
		close(fd);
	errno = error;
	return -1;
}

int fd_option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) == -1 ? -1 : value;
}

struct file file_of(const struct stat *st)
{
	return (struct file){.dev = st->st_dev, .ino = st->st_ino};
}

bool file_is(const struct file *f, const struct stat *st)
{
	return f->ino && f->dev == st->st_dev && f->ino == st->st_ino;
}

bool file_is_at(const struct file *f, const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && file_is(f, &st);
}

void file_remove(struct file *f, const char *path)
{
	int error = errno;
	if (f->ino && file_is_at(f, path))
		unlink(path);
	*f = (struct file){0};
	errno = error;
}
