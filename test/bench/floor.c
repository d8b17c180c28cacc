/* SPDX-License-Identifier: ISC */
/* floor: the same work as fdkit's, in as few system calls as there are, and nothing else: no checks, no
 * answers, no reaping. What is slower than this is ours; what this takes is the kernel's.
 *
 *   floor ok                            what is started for a connection: writes "ok"
 *   floor hold                          the same, and stays until the connection ends
 *   floor send SOCKET                   sends descriptor 0
 *   floor recv SOCKET COMMAND...        takes one, which becomes COMMAND's standard input
 *   floor spawn HOW ADDRESS COMMAND...  a process per connection; HOW is vfork or clone
 *   floor pass ADDRESS SOCKET           accepts, and sends each connection to SOCKET
 *   floor work HOW SOCKET [COMMAND...]  takes connections; COMMAND for each, or "ok" at once
 *   floor keep ADDRESS SOCKET           as pass, but keeps each connection until it is acknowledged
 *   floor acknowledge HOW SOCKET COMMAND...  as work; the process that becomes COMMAND acknowledges
 *   floor copy                          standard input to standard output, pipes both
 *   floor relay FD                      messages with their descriptors between sockets 0 and FD, both ways */
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A port of 127.0.0.1, or where there is a slash, a Unix socket: connected, or listening. */
static int open_at(const char *at, bool listens)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                         .sin_port = htons((in_port_t)strtoul(at, NULL, 10))};
	bool local = strchr(at, '/');
	const struct sockaddr *addr = local ? (const void *)&un : (const void *)&in;
	socklen_t len = local ? sizeof un : sizeof in;
	int sock = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(un.sun_path, at, strnlen(at, sizeof un.sun_path - 1));
	if (local && listens)
		unlink(at);
	if (sock == -1 || (listens ? bind(sock, addr, len) || listen(sock, 4096) : connect(sock, addr, len)))
		err(1, "%s", at);
	return sock;
}

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

/* FD, with its number here, by which it is acknowledged. */
static void send_fd(int sock, int fd)
{
	union control c = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)}};
	struct iovec iov = {&fd, sizeof fd};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.room};
	memcpy(CMSG_DATA(&c.header), &fd, sizeof fd);
	if (sendmsg(sock, &msg, 0) != sizeof fd)
		err(1, "sendmsg");
}

/* The next descriptor, and its number there; ends the program when there is none. */
static int recv_fd(int sock, int *there)
{
	union control c;
	int fd;
	struct iovec iov = {there, sizeof *there};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.room};
	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 1 || !CMSG_FIRSTHDR(&msg))
		exit(0);
	memcpy(&fd, CMSG_DATA(&c.header), sizeof fd);
	return fd;
}

/* ---- a process for a connection ---- */

enum { STACK = 8192, STACKS = 1024 };   /* a process has long executed when its stack's turn comes again */

static char **command;
static struct connection { int fd, there, acknowledge; } connections[STACKS];

static int child(void *connection)
{
	const struct connection *c = connection;
	if (c->acknowledge != -1 && send(c->acknowledge, &c->there, sizeof c->there, MSG_NOSIGNAL) == -1)
		_exit(1);
	dup2(c->fd, 0);
	dup2(c->fd, 1);
	execv(command[0], command);
	_exit(127);
}

/* Shares our memory until it has executed: vfork(2) stops us meanwhile, clone alone does not. */
static void spawn(struct connection c, int how)
{
	static char stacks[STACKS][STACK] __attribute__((aligned(64)));
	static unsigned turn;
	unsigned i = turn++ % STACKS;
	connections[i] = c;
	if (clone(child, stacks[i] + STACK, how | CLONE_VM | SIGCHLD, &connections[i]) == -1)
		err(1, "clone");
}

static void serve(int fd, int how)
{
	if (command[0])
		spawn((struct connection){fd, -1, -1}, how);
	else if (write(fd, "ok\n", 3) != 3)
		warn("write");
	close(fd);
}

static _Noreturn void work(int sock, int how, bool acknowledges)
{
	for (int there;;) {
		int fd = recv_fd(sock, &there);
		if (!acknowledges) {
			serve(fd, how);
			continue;
		}
		spawn((struct connection){fd, there, sock}, how);
		close(fd);
	}
}

static _Noreturn void keep(int from, int to)
{
	struct pollfd p[] = {{from, POLLIN, 0}, {to, POLLIN, 0}};
	for (;;) {
		int there[64];
		poll(p, 2, -1);
		if (p[0].revents)
			send_fd(to, accept4(from, NULL, NULL, SOCK_CLOEXEC));
		for (ssize_t n = p[1].revents ? read(to, there, sizeof there) : 0; n > 0; n -= (ssize_t)sizeof *there)
			close(there[n / (ssize_t)sizeof *there - 1]);
		if (p[1].revents & POLLHUP)
			exit(0);
	}
}

static int hold(void)
{
	char data[64];
	while (read(0, data, sizeof data) > 0)
		;
	return 0;
}

/* One message from one socket to another, waiting as long as it takes. Returns 0 at end of file. */
static ssize_t carry(int from, int to)
{
	static char data[1 << 17];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(253 * sizeof(int))];
	} c;
	struct iovec iov = {data, sizeof data};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.room};
	ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC), sent = 0, more;
	int fd[253];
	size_t count = 0;
	if (msg.msg_controllen) {
		count = (c.header.cmsg_len - CMSG_LEN(0)) / sizeof *fd;
		memcpy(fd, CMSG_DATA(&c.header), count * sizeof *fd);
	}
	for (; sent < n; sent += more) {
		iov = (struct iovec){data + sent, (size_t)(n - sent)};
		if ((more = sendmsg(to, &msg, MSG_NOSIGNAL)) < 0)
			err(1, "sendmsg");
		msg.msg_controllen = 0;
	}
	while (count)
		close(fd[--count]);
	return n;
}

static int relay(int to)
{
	struct pollfd p[] = {{0, POLLIN, 0}, {to, POLLIN, 0}};
	while (p[0].fd != -1 || p[1].fd != -1) {
		poll(p, 2, -1);
		for (int i = 0; i < 2; i++)
			if (p[i].revents && carry(p[i].fd, i ? 0 : to) <= 0) {
				shutdown(i ? 0 : to, SHUT_WR);
				p[i].fd = -1;
			}
	}
	return 0;
}

int main(int argc, char *argv[])
{
	const char *what = argc > 1 ? argv[1] : "";
	int how = argc > 2 && strcmp(argv[2], "vfork") == 0 ? CLONE_VFORK : 0;
	if (strcmp(what, "ok") == 0 || strcmp(what, "hold") == 0)
		return write(1, "ok\n", 3) != 3 || (*what == 'h' && hold());
	if (strcmp(what, "copy") == 0) {
		while (splice(0, NULL, 1, NULL, 1 << 20, SPLICE_F_MOVE) > 0)
			;
		return 0;
	}
	if (argc > 2 && strcmp(what, "relay") == 0)
		return relay(atoi(argv[2]));
	if (argc > 2 && strcmp(what, "send") == 0) {
		send_fd(open_at(argv[2], false), 0);
		return 0;
	}
	if (argc > 3 && strcmp(what, "recv") == 0) {
		dup2(recv_fd(accept4(open_at(argv[2], true), NULL, NULL, SOCK_CLOEXEC), &(int){0}), 0);
		unlink(argv[2]);
		execv(argv[3], argv + 3);
		err(127, "%s", argv[3]);
	}
	/* Kernel: children of a process that ignores SIGCHLD need no wait(2). */
	signal(SIGCHLD, SIG_IGN);
	command = argv + (argc > 3 ? 4 : argc);
	if (argc > 4 && strcmp(what, "spawn") == 0)
		for (int sock = open_at(argv[3], true);;)
			serve(accept4(sock, NULL, NULL, SOCK_CLOEXEC), how);
	if (argc > 3 && strcmp(what, "pass") == 0)
		for (int to = open_at(argv[3], false), sock = open_at(argv[2], true);;) {
			int fd = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
			send_fd(to, fd);
			close(fd);
		}
	if (argc > 3 && strcmp(what, "keep") == 0) {
		int to = open_at(argv[3], false);
		keep(open_at(argv[2], true), to);
	}
	if (argc > 3 && (strcmp(what, "work") == 0 || strcmp(what, "acknowledge") == 0))
		work(accept4(open_at(argv[3], true), NULL, NULL, SOCK_CLOEXEC), how, *what == 'a');
	errx(2, "see the top of floor.c");
}
