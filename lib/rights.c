/* SPDX-License-Identifier: ISC */
/* The only file that knows cmsghdr. */
#include "rights.h"
#include "fd.h"
#include "kernel.h"
#include "peer.h"
#include "set.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAUSE_MS = 10, PAUSE_MOST_MS = 100 }; /* while too many descriptors are on their way: at first, and at most */

/* Room for every descriptor that a message can bring and for the headers that may come with them: credentials, and a
 * pidfd or a label where somebody switched those on. */
union control {
	struct cmsghdr align;
	char data[CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred)) + 512];
};

/* musl before 1.2.4 takes 252 descriptors only, and says ENOMEM (src/network/sendmsg.c): then the kernel is asked. */
static ssize_t send_message(int sock, const struct msghdr *msg)
{
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	ssize_t n = sendmsg(sock, msg, flags);
	return n == -1 && errno == ENOMEM ? syscall(SYS_sendmsg, sock, msg, flags) : n;
}

static void attach(struct msghdr *msg, union control *control, const int *fd, size_t count)
{
	size_t size = count * sizeof *fd;
	/* The two lengths are a size_t in glibc, and a socklen_t in musl and in POSIX. */
	memset(control, 0, CMSG_SPACE(size));
	msg->msg_control = control;
	msg->msg_controllen = (socklen_t)CMSG_SPACE(size);
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = (socklen_t)CMSG_LEN(size);
	memcpy(CMSG_DATA(c), fd, size);
}

ssize_t rights_send(int sock, const int *fd, size_t count, const void *data, size_t len)
{
	union control control;
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (count > FDS_PER_MESSAGE) {
		errno = EINVAL;
		return -1;
	}
	if (count)
		attach(&msg, &control, fd, count);
	ssize_t n;
	do
		n = send_message(sock, &msg);
	while (n == -1 && errno == EINTR);
	return n;
}

int rights_send_all(int sock, const int *fd, size_t count, const void *data, size_t len,
                    int64_t deadline)
{
	const char *p = data;
	int pause = PAUSE_MS;
	while (len) {
		ssize_t n = rights_send(sock, fd, count, p, len);
		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			count = 0;
		} else if (deadline == AT_ONCE || (errno != EAGAIN && errno != ETOOMANYREFS && errno != ENOBUFS)) {
			return -1;
		} else if (time_left(deadline) == 0) {
			errno = ETIMEDOUT;
			return -1;
		} else if (errno == EAGAIN) {
			if (await(sock, POLLOUT, deadline) == -1)
				return -1;
		} else {
			/* No event tells that others have received theirs. */
			nap(pause, deadline);
			pause = longer(pause, PAUSE_MOST_MS);
		}
	}
	return 0;
}

/* Kernel: SCM_PIDFD (6.5), if it was switched on for the socket, as systemd's PassPIDFD= does: a descriptor of the
 * sender's process, or an error below 0. It is no part of the set. libc may not know its number yet. */
enum { PIDFD_HEADER = 4 };

/* Append the descriptors of one header to SET. They are open, so each is appended or closed. Returns 0 or ENOMEM. */
static int take(const struct cmsghdr *c, struct set *set)
{
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int error = 0, fd;
	for (size_t i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
		bool wanted = c->cmsg_type == SCM_RIGHTS;
		if (wanted && set_add(set, fd, NULL) == 0)
			continue;
		if (fd >= 0)
			close(fd);
		error = wanted ? ENOMEM : error;
	}
	return error;
}

/* CMSG_NXTHDR, which converts a sign in musl; the kernel wrote the lengths, so that they are right. */
static const struct cmsghdr *next_header(const union control *control, const struct msghdr *msg,
                                         const struct cmsghdr *c)
{
	size_t next = (size_t)((const char *)c - control->data) + CMSG_SPACE(c->cmsg_len - CMSG_LEN(0));
	return next + CMSG_LEN(0) <= msg->msg_controllen ? (const struct cmsghdr *)(control->data + next) : NULL;
}

bool rights_waiting(int sock)
{
	int queued = 0;
	/* Kernel: peeking at descriptors meets a defect in their garbage collector (CVE-2026-23394). A stream has no empty
	 * message, so there the length tells. */
	if (ioctl(sock, FIONREAD, &queued) == 0 && queued)
		return true;
	if (fd_option(sock, SO_TYPE) == SOCK_STREAM)
		return false;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;
	do
		n = recvmsg(sock, &msg, MSG_PEEK | MSG_DONTWAIT);
	while (n == -1 && (errno == EINTR || errno == ECONNRESET));
	return n > 0 || (n == 0 && msg.msg_flags & MSG_CTRUNC);
}

ssize_t rights_read(int sock, struct set *set, void *data, size_t len, struct peer *from)
{
	union control control;
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
	                     .msg_controllen = sizeof control};
	ssize_t n;
	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		return -1;
	int error = 0;
	for (const struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = next_header(&control, &msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if ((c->cmsg_type == SCM_RIGHTS || c->cmsg_type == PIDFD_HEADER) && take(c, set))
			error = ENOMEM;
		struct ucred cred;
		if (c->cmsg_type == SCM_CREDENTIALS && from && c->cmsg_len >= CMSG_LEN(sizeof cred)) {
			memcpy(&cred, CMSG_DATA(c), sizeof cred);
			*from = (struct peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
		}
	}
	if (msg.msg_flags & MSG_CTRUNC)
		error = EMFILE;
	if (!error)
		return n;
	if (len > (size_t)n)
		((char *)data)[n] = '\0';
	errno = error;
	return -1;
}

ssize_t rights_receive(int sock, struct set *set, void *data, size_t len, struct peer *from)
{
	ssize_t n;
	do
		n = rights_read(sock, set, data, len, from);
	while (n == -1 && errno == ECONNRESET);
	return n;
}

long rights_put(int sock, const int *fd, size_t count)
{
	union control control;
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (count > FDS_PER_MESSAGE)
		count = FDS_PER_MESSAGE;
	attach(&msg, &control, fd, count);
	long n = kernel(SYS_sendmsg, sock, (long)&msg, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	return n < 0 ? n : (long)count;
}

long rights_take(int sock, int *fd, size_t most)
{
	union control control = {.align = {0}};
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
	                     .msg_controllen = sizeof control};
	long n = kernel(SYS_recvmsg, sock, (long)&msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, 0, 0);
	const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	if (!c || msg.msg_flags & MSG_CTRUNC)
		return n < 0 ? n : -EMFILE;
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fd;
	memcpy(fd, CMSG_DATA(c), (count < most ? count : most) * sizeof *fd);
	return (long)count;
}
