/* SPDX-License-Identifier: ISC */
#include "address.h"
#include "fd.h"
#include "parse.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- parsing ---- */

/* HOST:PORT, with HOST in brackets if it has colons itself; empty or * for every address. */
const char *inet_split(struct inet *inet, char *arg)
{
	char *colon = strrchr(arg, ':'), *host = arg;
	long port;
	*inet = (struct inet){0};
	if (!colon && *arg && !arg[strspn(arg, "0123456789")])
		return "a port alone stands behind a colon (:PORT)";
	if (!colon || !colon[1])
		return *arg == '-' ? "not an address (options stand before the first one)"
		                   : "not an address (HOST:PORT, unix:PATH or fd:N; COMMAND follows --)";
	*colon = '\0';
	if (*host == '[') {
		if (colon[-1] != ']')
			return "a bracket is missing ([::1]:PORT)";
		host++;
		colon[-1] = '\0';
		if (!strchr(host, ':'))
			return "no IPv6 address in the brackets ([::1]:PORT)";
		inet->numeric = true;
	} else if (strchr(host, ':')) {
		return "an IPv6 address stands in brackets ([::1]:PORT)";
	}
	if (colon[1] >= '0' && colon[1] <= '9' && parse_number(&port, colon + 1, 0, 65535))
		return "not a port (0 to 65535)";
	inet->host = host;
	inet->port = colon + 1;
	inet->wildcard = !*host || strcmp(host, "*") == 0;
	return NULL;
}

static const char *look_up(struct listener *l, char *arg)
{
	struct inet inet;
	const char *why = inet_split(&inet, arg);
	if (why)
		return why;
	/* No name server is asked for 1::g. */
	struct addrinfo hints = {.ai_socktype = l->at.type, .ai_flags = AI_PASSIVE | (inet.numeric ? AI_NUMERICHOST : 0)};
	l->wildcard = inet.wildcard;
	int error = getaddrinfo(l->wildcard ? NULL : inet.host, inet.port, &hints, &l->found);
	return !error ? NULL : error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
}

const char *listener_parse(struct listener *l, const char *arg)
{
	bool named = strncmp(arg, "unix:", 5) == 0, udp = strncmp(arg, "udp:", 4) == 0;
	const char *path = named ? arg + 5 : arg;
	*l = (struct listener){.arg = arg, .local = strncmp(arg, "fd:", 3) != 0 && (named || strchr(arg, '/'))};
	if (l->local && *path != '@') {
		l->at = (struct endpoint){.kind = END_PATH, .arg = arg, .text = path, .type = SOCK_STREAM, .fd = -1};
		return *path ? NULL : "empty";
	}
	if (l->local || strncmp(arg, "fd:", 3) == 0)
		return endpoint_parse(&l->at, path);
	l->at = (struct endpoint){.kind = END_INET, .arg = arg, .text = arg, .type = udp ? SOCK_DGRAM : SOCK_STREAM, .fd = -1};
	char *copy = strdup(udp ? arg + 4 : arg);
	const char *why = copy ? look_up(l, copy) : "out of memory";
	free(copy);
	return why;
}

/* ---- opening ---- */

static int open_inet(const struct listener *l, const struct addrinfo *a, int backlog)
{
	int on = 1, v6only = !l->wildcard;
	int fd = socket(a->ai_family, l->at.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* Kernel: for UDP, SO_REUSEADDR would let two sockets have the same port (socket(7)). */
	if (fd != -1 && (!l->at.listens || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0) &&
	    (a->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) == 0) &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 && (!l->at.listens || listen(fd, backlog) == 0))
		return fd;
	return fd_drop(fd);
}

/* Open the first address of FAMILY that can be bound. */
static int open_found(struct listener *l, int family, int backlog)
{
	errno = EAFNOSUPPORT;
	for (const struct addrinfo *a = l->found; a && l->at.fd == -1; a = a->ai_next)
		if (family == AF_UNSPEC || a->ai_family == family)
			l->at.fd = open_inet(l, a, backlog);
	return l->at.fd == -1 ? -1 : 0;
}

/* A wildcard is one IPv6 socket, which accepts IPv4 too; an IPv4 socket where there is no IPv6. */
static int open_port(struct listener *l, int backlog)
{
	l->at.listens = l->at.type == SOCK_STREAM;
	int result = open_found(l, l->wildcard ? AF_INET6 : AF_UNSPEC, backlog);
	return result == -1 && l->wildcard && errno == EAFNOSUPPORT ? open_found(l, AF_INET, backlog) : result;
}

static const char *open_inherited(struct listener *l)
{
	int fd = l->at.fd;
	if (fcntl(fd, F_GETFD) == -1)
		return strerror(errno);
	if (fd_option(fd, SO_ACCEPTCONN) != 1 || fd_option(fd, SO_TYPE) != SOCK_STREAM)
		return "not a listening stream socket";
	l->at.listens = true;
	l->local = fd_option(fd, SO_DOMAIN) == AF_UNIX;
	return fd > 2 && fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 ? strerror(errno) : NULL;
}

const char *listener_open(struct listener *l, mode_t mode, int backlog)
{
	if (l->at.kind == END_FD)
		return open_inherited(l);
	int result = l->local ? endpoint_listen(&l->at, mode, backlog) : open_port(l, backlog);
	return result == -1 ? strerror(errno) : NULL;
}

int listener_blocking(const struct listener *l)
{
	if (l->at.kind == END_FD)
		return 0;
	int flags = fcntl(l->at.fd, F_GETFL);
	return flags == -1 ? -1 : fcntl(l->at.fd, F_SETFL, flags & ~O_NONBLOCK);
}

size_t listener_queue(const struct listener *l)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;
	if (l->at.kind == END_FD)
		return 0;
	if (l->local)
		return SOMAXCONN; /* the kernel does not tell; accept finds the end */
	/* Kernel: tcpi_unacked of a listening socket is the length of its queue (tcp_get_info, net/ipv4/tcp.c). */
	return getsockopt(l->at.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_unacked : 0;
}

int listener_name(const struct listener *l, char *buf, size_t len)
{
	union {
		struct sockaddr any;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	} a = {0};
	socklen_t size = sizeof a;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	const char *udp = l->at.type == SOCK_DGRAM ? "udp:" : "";
	int n, v6only = 1;
	if (l->at.kind == END_PATH) {
		n = snprintf(buf, len, "unix:%s", l->at.text);
	} else if (getsockname(l->at.fd, &a.any, &size) == -1) {
		return -1;
	} else if (a.any.sa_family == AF_UNIX) {
		int bytes = (int)(size - offsetof(struct sockaddr_un, sun_path));
		bool abstract = bytes > 0 && !a.un.sun_path[0];
		n = snprintf(buf, len, "unix:%s%.*s", abstract ? "@" : "", bytes - abstract, a.un.sun_path + abstract);
	} else if (getnameinfo(&a.any, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV)) {
		errno = EAFNOSUPPORT;
		return -1;
	} else if (a.any.sa_family != AF_INET6) {
		n = snprintf(buf, len, "%s%s:%s", udp, host, port);
	} else {
		size = sizeof v6only;
		getsockopt(l->at.fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size);
		bool any = IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr) && !v6only;
		n = any ? snprintf(buf, len, "%s*:%s", udp, port) : snprintf(buf, len, "%s[%s]:%s", udp, host, port);
	}
	if (n < (int)len)
		return 0;
	errno = ENAMETOOLONG;
	return -1;
}

void listener_close(struct listener *l)
{
	endpoint_close(&l->at);
	if (l->found)
		freeaddrinfo(l->found);
	l->found = NULL;
}
