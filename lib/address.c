/* SPDX-License-Identifier: ISC */
/* ADDRESS: a word of the command line to a listening socket. */
#include "address.h"
#include "parse.h"
#include "socket.h"

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

static bool inherited(const struct listener *l)
{
	return l->at.kind == END_FD;
}

static const char *resolve(struct listener *l, const char *host, const char *port, int flags)
{
	struct addrinfo hints = {.ai_socktype = l->at.type, .ai_flags = AI_PASSIVE | flags};
	int error = getaddrinfo(host, port, &hints, &l->found);
	if (error)
		return error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
	l->wildcard = !host;
	return NULL;
}

/* HOST:PORT, with HOST in brackets where it has colons itself; empty or * for every address. */
static const char *parse_inet(struct listener *l, char *arg)
{
	char *colon = strrchr(arg, ':'), *host = arg;
	long port;
	int flags = 0;
	if (!colon && *arg && !arg[strspn(arg, "0123456789")])
		return "a port alone stands behind a colon (:PORT)";
	if (!colon || !colon[1])
		return "not an address (HOST:PORT, unix:PATH or fd:N)";
	*colon = '\0';
	if (*host == '[') {
		if (colon[-1] != ']')
			return "a bracket is missing ([::1]:PORT)";
		host++;
		colon[-1] = '\0';
		if (!strchr(host, ':'))
			return "no IPv6 address in the brackets ([::1]:PORT)";
		flags = AI_NUMERICHOST; /* no name server is asked for 1::g */
	} else if (strchr(host, ':')) {
		return "an IPv6 address stands in brackets ([::1]:PORT)";
	}
	if (colon[1] >= '0' && colon[1] <= '9' && parse_number(&port, colon + 1, 0, 65535))
		return "not a port (0 to 65535)";
	return resolve(l, *host && strcmp(host, "*") != 0 ? host : NULL, colon + 1, flags);
}

const char *listener_parse(struct listener *l, const char *arg)
{
	*l = (struct listener){.arg = arg, .at = {.fd = -1, .type = SOCK_STREAM}};
	if (strncmp(arg, "fd:", 3) == 0)
		return endpoint_parse(&l->at, arg);
	bool named = strncmp(arg, "unix:", 5) == 0;
	if (named || strchr(arg, '/')) {
		l->local = true;
		const char *path = named ? arg + 5 : arg;
		if (*path == '@')
			return endpoint_parse(&l->at, path);
		l->at = (struct endpoint){.kind = END_PATH, .arg = arg, .text = path, .type = SOCK_STREAM, .fd = -1};
		return *path ? NULL : "empty";
	}
	bool udp = strncmp(arg, "udp:", 4) == 0;
	if (udp)
		l->at.type = SOCK_DGRAM;
	char *copy = strdup(udp ? arg + 4 : arg);
	if (!copy)
		return "out of memory";
	const char *why = parse_inet(l, copy);
	free(copy);
	return why;
}

static int open_inet(const struct listener *l, const struct addrinfo *a, int backlog)
{
	int fd = socket(a->ai_family, l->at.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd == -1)
		return -1;
	int only = !l->wildcard;
	bool stream = l->at.type == SOCK_STREAM;
	/* Kernel: for UDP, SO_REUSEADDR would let two have the same port (socket(7)). */
	if ((!stream || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0) &&
	    (a->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0) &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 && (!stream || listen(fd, backlog) == 0))
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static const char *open_inherited(struct listener *l)
{
	int listens = 0, type = 0, flags = fcntl(l->at.fd, F_GETFL);
	socklen_t len = sizeof listens;
	if (flags == -1)
		return strerror(errno);
	if (getsockopt(l->at.fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == -1 || !listens ||
	    getsockopt(l->at.fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1 || type != SOCK_STREAM)
		return "not a listening stream socket";
	int domain = 0;
	l->local = getsockopt(l->at.fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
	return l->at.fd > 2 && fcntl(l->at.fd, F_SETFD, FD_CLOEXEC) == -1 ? strerror(errno) : NULL;
}

const char *listener_open(struct listener *l, mode_t mode, int backlog)
{
	if (inherited(l))
		return open_inherited(l);
	if (l->local)
		return endpoint_listen(&l->at, mode, backlog, false) == -1 ? strerror(errno) : NULL;
	/* Every address: one IPv6 socket takes IPv4 as well; IPv4 alone where there is no IPv6. */
	int families[] = {l->wildcard ? AF_INET6 : AF_UNSPEC, l->wildcard ? AF_INET : AF_UNSPEC};
	for (size_t f = 0; f < 2 && l->at.fd == -1; f++) {
		for (const struct addrinfo *a = l->found; a && l->at.fd == -1; a = a->ai_next)
			if (families[f] == AF_UNSPEC || a->ai_family == families[f])
				l->at.fd = open_inet(l, a, backlog);
		if (l->at.fd == -1 && (!l->wildcard || errno != EAFNOSUPPORT))
			break;
	}
	return l->at.fd == -1 ? strerror(errno) : NULL;
}

/* What snprintf returned for LEN bytes: did they do? */
static int fits(int printed, size_t len)
{
	if (printed < (int)len)
		return 0;
	errno = ENAMETOOLONG;
	return -1;
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
	if (l->local && l->at.kind == END_PATH)
		return fits(snprintf(buf, len, "unix:%s", l->at.text), len);
	if (getsockname(l->at.fd, &a.any, &size) == -1)
		return -1;
	if (a.any.sa_family == AF_UNIX) {
		int n = (int)(size - offsetof(struct sockaddr_un, sun_path));
		bool abstract = n > 0 && !a.un.sun_path[0];
		return fits(snprintf(buf, len, "unix:%s%.*s", abstract ? "@" : "", n - abstract, a.un.sun_path + abstract), len);
	}
	if (getnameinfo(&a.any, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV)) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	int only = 1;
	size = sizeof only;
	bool in6 = a.any.sa_family == AF_INET6;
	if (in6 && IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr) &&
	    getsockopt(l->at.fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size) == 0 && !only)
		in6 = snprintf(host, sizeof host, "*") < 0;
	return fits(snprintf(buf, len, in6 ? "%s[%s]:%s" : "%s%s:%s", l->at.type == SOCK_DGRAM ? "udp:" : "", host, port), len);
}

int listener_blocking(const struct listener *l)
{
	int flags = fcntl(l->at.fd, F_GETFL);
	if (inherited(l))
		return 0;
	return flags == -1 ? -1 : fcntl(l->at.fd, F_SETFL, flags & ~O_NONBLOCK);
}

size_t listener_queue(const struct listener *l)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;
	if (inherited(l))
		return 0;
	if (l->local)
		return SOMAXCONN; /* not told; it ends where accept finds none */
	return getsockopt(l->at.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_unacked : 0;
}

void listener_close(struct listener *l)
{
	endpoint_close(&l->at);
	if (l->found)
		freeaddrinfo(l->found);
	l->found = NULL;
}
