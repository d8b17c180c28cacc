/* SPDX-License-Identifier: ISC */
#include "dial.h"
#include "address.h"
#include "fd.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MOST = 16,              /* addresses of a name that are tried */
	HEAD_START_MS = 250,    /* of each before the next: RFC 8305 */
	LOOK_UP_MS = 1000,      /* the longest pause before a name is looked up again, */
	CONNECT_MS = 50,        /* and before an address is tried again */
};

/* What getaddrinfo(3) gave, in a form that a pipe carries at once. */
struct found {
	int error;              /* its result, and errno */
	int system;
	size_t count;
	struct {
		socklen_t len;
		struct sockaddr_storage at;
	} address[MOST];
};
_Static_assert(sizeof(struct found) <= 4096, "PIPE_BUF");

const char *dial_parse(struct endpoint *at, const char *arg)
{
	const char *address = strchr(arg, ':') + 1;
	bool named = strncmp(address, "unix:", 5) == 0;
	*at = (struct endpoint){.kind = END_INET, .arg = arg, .text = address, .type = SOCK_STREAM, .fd = -1};
	if (named || strchr(address, '/')) {
		const char *why = named && address[5] == '@' ? endpoint_parse(at, address + 5) : NULL;
		at->kind = named && address[5] == '@' ? END_ABSTRACT : END_PATH;
		at->text = named ? address + 5 + (at->kind == END_ABSTRACT) : address;
		at->arg = arg;
		return !why && !*at->text ? "empty" : why;
	}
	if (!strchr(address, ':') || strncmp(address, "fd:", 3) == 0 || strncmp(address, "udp:", 4) == 0)
		return "no address to connect to (HOST:PORT or unix:PATH)";
	char *copy = strdup(address);
	struct inet inet;
	const char *why = copy ? inet_split(&inet, copy) : "out of memory";
	if (!why && inet.wildcard)
		why = "the host to connect to is missing";
	if (!why && inet.port[strspn(inet.port, "0")] == '\0')
		why = "port 0 is none to connect to";
	free(copy);
	return why;
}

static void ask(const struct inet *inet, int flags, struct found *f)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list = NULL;
	*f = (struct found){.error = getaddrinfo(inet->host, inet->port, &hints, &list), .system = errno};
	for (const struct addrinfo *a = list; !f->error && a && f->count < MOST; a = a->ai_next) {
		f->address[f->count].len = a->ai_addrlen;
		memcpy(&f->address[f->count++].at, a->ai_addr, a->ai_addrlen);
	}
	if (list)
		freeaddrinfo(list);
}

/* A name server may keep getaddrinfo(3) waiting, so a process asks that can be ended. Returns 0 if F is filled in. */
static int look_up(const struct inet *inet, struct found *f, int64_t deadline)
{
	int flags = inet->numeric ? AI_NUMERICHOST : 0, end[2];
	ask(inet, AI_NUMERICHOST | AI_NUMERICSERV, f);
	if (f->error != EAI_NONAME)
		return 0;
	if (pipe2(end, O_CLOEXEC) == -1)
		return -1;
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			ask(inet, flags, f);
		_exit(write(end[1], f, sizeof *f) != sizeof *f);
	}
	fd_drop(end[1]);
	int result = pid == -1 ? -1 : await(end[0], POLLIN, deadline), error = errno;
	if (result != -1 && read(end[0], f, sizeof *f) != sizeof *f) {
		result = -1;
		error = ECHILD;
	}
	if (pid != -1) {
		kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
			;
	}
	fd_drop(end[0]);
	errno = error;
	return result == -1 ? -1 : 0;
}

/* Begin to connect to the address N. Returns the socket. */
static int begin(const struct found *f, size_t n)
{
	const struct sockaddr *address = (const struct sockaddr *)&f->address[n].at;
	int sock = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock == -1 && errno == EAFNOSUPPORT)
		errno = ENETUNREACH;
	if (sock == -1 || connect(sock, address, f->address[n].len) == 0 || errno == EINPROGRESS)
		return sock;
	return fd_drop(sock);
}

/* The outcome of connecting SOCK: 0 or errno's value. Kernel: to a free port of ip_local_port_range a socket may connect
 * to itself, which would keep the server from it (tcp_rcv_synsent_state_process, net/ipv4/tcp_input.c). */
static int outcome(int sock)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	} here = {0}, there = {0};
	socklen_t len = sizeof here, far = sizeof there;
	int error = fd_option(sock, SO_ERROR);
	if (error)
		return error == -1 ? errno : error;
	if (getsockname(sock, &here.any, &len) == 0 && getpeername(sock, &there.any, &far) == 0 &&
	    len == far && memcmp(&here, &there, len) == 0)
		return setsockopt(sock, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger)) ? errno : ECONNREFUSED;
	return 0;
}

/* Connect to the first of F that answers. Returns the socket. */
static int connect_any(const struct found *f, int64_t deadline)
{
	struct pollfd p[MOST];
	size_t begun = 0, open = 0;
	int error = 0, sock = -1;
	for (int64_t next = AT_ONCE; sock == -1 && (open || begun < f->count);) {
		if (begun < f->count && (!open || time_left(next) == 0)) {
			p[begun] = (struct pollfd){.fd = begin(f, begun), .events = POLLOUT};
			error = p[begun].fd != -1 || error == ECONNREFUSED ? error : errno;
			open += p[begun++].fd != -1;
			next = deadline_in(HEAD_START_MS);
			continue;
		}
		int ready = await_any(p, begun, begun < f->count ? sooner(next, deadline) : deadline);
		for (size_t i = 0; ready > 0 && sock == -1 && i < begun; i++) {
			int came = p[i].fd == -1 || !p[i].revents ? -1 : outcome(p[i].fd);
			if (came == 0)
				sock = p[i].fd;
			if (came != -1 && came) {
				error = error == ECONNREFUSED ? error : came;
				open--;
			}
			if (came != -1)
				p[i].fd = came ? fd_drop(p[i].fd) : -1;
		}
		if (sock == -1 && time_left(deadline) == 0) {
			error = ETIMEDOUT;
			break;
		}
	}
	while (begun)
		fd_drop(p[--begun].fd);
	errno = error;
	return sock;
}

/* Try HOST:PORT once; F is kept between tries. */
static int dial_inet(struct endpoint *at, struct found *f, int64_t deadline, const char **why)
{
	struct inet inet;
	char *copy = strdup(at->text);
	int result = copy && !inet_split(&inet, copy) && (f->count || look_up(&inet, f, deadline) == 0) ? 0 : -1;
	*why = result == -1 && errno == ETIMEDOUT ? "timed out: the name was not found in time" : NULL;
	if (result == 0 && f->error) {
		errno = f->error == EAI_SYSTEM ? f->system : f->error == EAI_SERVICE ? EINVAL : ENOENT;
		*why = f->error == EAI_SYSTEM ? strerror(errno) : gai_strerror(f->error);
		result = -1;
	}
	int error = errno;
	free(copy);
	errno = error;
	at->fd = result == -1 ? -1 : connect_any(f, deadline);
	return at->fd == -1 ? -1 : 0;
}

static int try(struct endpoint *at, int64_t wait, int64_t deadline, const char **why)
{
	struct found f = {0};
	int64_t until = wait ? sooner(wait, deadline) : deadline;
	if (at->kind != END_INET)
		return endpoint_connect(at, wait, deadline);
	for (int pause = 1; dial_inet(at, &f, until, why) == -1; pause = longer(pause, *why ? LOOK_UP_MS : CONNECT_MS)) {
		if (!wait || (errno != ENOENT && errno != ECONNREFUSED && errno != ENETUNREACH && errno != EHOSTUNREACH))
			return -1;
		errno = ETIMEDOUT;
		if (time_left(until) == 0)
			return -1;
		nap(pause, until);
	}
	return 0;
}

int dial_connect(struct endpoint *at, int64_t wait, int64_t deadline, const char **why)
{
	*why = NULL;
	if (try(at, wait, deadline, why) == -1)
		return -1;
	int flags = fcntl(at->fd, F_GETFL);
	if (flags != -1 && fcntl(at->fd, F_SETFL, flags & ~O_NONBLOCK) != -1)
		return 0;
	endpoint_close(at);
	return -1;
}
