/* SPDX-License-Identifier: ISC */
/* Telling others that we are ready, and where. */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Is PATH something to be written in place: there, and no regular file? /dev/stdout is a symbolic
 * link, and is never to be renamed over. */
static bool in_place(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

int address_file_remove(const char *path)
{
	return in_place(path) || unlink(path) == 0 || errno == ENOENT ? 0 : -1;
}

int address_file_write(const char *path, const char *text)
{
	char *aside = NULL;
	bool there = in_place(path);
	if (!there && asprintf(&aside, "%s.XXXXXX", path) == -1)
		return -1;
	int fd = there ? open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY) : mkostemp(aside, O_CLOEXEC);
	int result = fd == -1 ? -1 : write_all(fd, text, strlen(text));
	if (!there && fd != -1) {
		/* mkostemp makes it 0600; readers are whoever may read what this user writes. */
		mode_t mask = umask(0);
		umask(mask);
		if (result == 0)
			result = fchmod(fd, 0666 & ~mask);
		if (result == 0)
			result = rename(aside, path);
		if (result == -1)
			unlink(aside);
	}
	int error = errno;
	if (fd != -1)
		close(fd);
	free(aside);
	errno = error;
	return result;
}
