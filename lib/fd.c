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

void file_remove(struct file *f, const char *path)
{
	struct stat st;
	int error = errno;
	if (f->ino && lstat(path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino)
		unlink(path);
	*f = (struct file){0};
	errno = error;
}
