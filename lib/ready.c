/* SPDX-License-Identifier: ISC */
#include "ready.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int ready_fd(int fd)
{
	ssize_t n;
	if (fd == -1)
		return 0;
	do
		n = write(fd, "\n", 1);
	while (n == -1 && errno == EINTR);
	fd_drop(fd);
	/* COMMAND has its standard streams, and no socket of ours gets the number of one. */
	if (fd <= 2 && open("/dev/null", O_RDWR) != fd)
		return -1;
	return n == 1 ? 0 : -1;
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
	ssize_t n = fd == -1 ? -1 : sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&a,
	                                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	fd_drop(fd);
	return n == -1 ? -1 : 0;
}
