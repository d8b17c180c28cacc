/* SPDX-License-Identifier: ISC */
#include "lease.h"
#include "address.h"
#include "fd.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Kernel: include/uapi/linux/netlink.h, sock_diag.h, inet_diag.h; musl's compiler does not find them. */
enum {
	NETLINK_SOCK_DIAG = 4, SOCK_DIAG_BY_FAMILY = 20, NLM_REQUEST = 1, NLM_DUMP = 0x300, NLM_ERROR = 2, NLM_DONE = 3,
	LISTENS = 10, BOUND_INACTIVE = 13, /* enum, include/net/tcp_states.h */
};

struct header {
	uint32_t len;
	uint16_t type, flags;
	uint32_t sequence, port;
};

struct names {
	uint16_t local_port, remote_port; /* in network byte order */
	uint32_t local[4], remote[4], interface, cookie[2];
};

struct request {
	struct header header;
	uint8_t family, protocol, extension, unused;
	uint32_t states;
	struct names names;
};

struct answer {
	struct header header;
	uint8_t family, state, timer, retransmissions;
	struct names names;
	uint32_t expires, receive_queue, send_queue, uid, inode;
};

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in;
}

static struct names names_of(const union address *a)
{
	struct names n = {.cookie = {UINT32_MAX, UINT32_MAX}}; /* any */
	if (a->any.sa_family == AF_INET6) {
		memcpy(n.local, &a->in6.sin6_addr, sizeof a->in6.sin6_addr);
		n.interface = a->in6.sin6_scope_id;
		n.local_port = a->in6.sin6_port;
	} else {
		memcpy(n.local, &a->in.sin_addr, sizeof a->in.sin_addr);
		n.local_port = a->in.sin_port;
	}
	return n;
}

/* A socket bound to A. REUSE: with SO_REUSEADDR set before. On -1 errno as bind(2). */
static int bound_socket(const struct listener *l, const struct sockaddr *a, socklen_t len, int reuse)
{
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), only = !l->wildcard;
	if (fd == -1)
		return -1;
	if ((a->sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0) &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse) == 0 && bind(fd, a, len) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* ---- questions to the kernel: sock_diag(7) ---- */

/* Send a question. Kernel: its answer is there when sendto returns (netlink_rcv_skb calls the handler). */
static bool ask(int watch, int family, unsigned flags, uint32_t states, struct names names)
{
	struct request r = {
		.header = {.len = sizeof r, .type = SOCK_DIAG_BY_FAMILY, .flags = (uint16_t)(NLM_REQUEST | flags)},
		.family = (uint8_t)family, .protocol = IPPROTO_TCP, .states = states, .names = names,
	};
	return sendto(watch, &r, sizeof r, 0, NULL, 0) == (ssize_t)sizeof r;
}

/* Does a process listen where a connection to A would arrive? Kernel: without NLM_F_DUMP the look-up is that of a SYN
 * (inet_diag_find_one_icsk), so it finds wildcards and the other family's, and costs the same beside any number of
 * connections. */
static bool listens_at(int watch, const union address *a)
{
	union {
		struct answer answer;
		char bytes[1024];
	} in = {0};
	return ask(watch, a->any.sa_family, 0, UINT32_MAX, names_of(a)) &&
	       recv(watch, &in, sizeof in, MSG_DONTWAIT) >= (ssize_t)sizeof in.answer &&
	       in.answer.header.type == SOCK_DIAG_BY_FAMILY && in.answer.state == LISTENS;
}

static bool overlap(const struct names *a, const struct names *b)
{
	static const uint32_t any[4];
	return a->local_port == b->local_port && (memcmp(a->local, b->local, sizeof any) == 0 ||
	       memcmp(a->local, any, sizeof any) == 0 || memcmp(b->local, any, sizeof any) == 0);
}

/* Is another socket than the one of inode OWN bound where NAMES says, without listening? Kernel: they are listed since
 * Linux 6.8 (TCP_BOUND_INACTIVE); before, the list is empty. */
static bool bound_elsewhere(int watch, int family, struct names names, ino_t own)
{
	union {
		struct answer answer;
		char bytes[32768];
	} in;
	bool found = false, more = ask(watch, family, NLM_DUMP, 1U << BOUND_INACTIVE, (struct names){0});
	while (more) {
		ssize_t n = recv(watch, &in, sizeof in, 0);
		more = n > 0;
		for (size_t at = 0; more && at + sizeof(struct header) <= (size_t)n;) {
			struct answer a = {0};
			size_t left = (size_t)n - at;
			memcpy(&a, in.bytes + at, left < sizeof a ? left : sizeof a);
			more = a.header.type == SOCK_DIAG_BY_FAMILY && a.header.len >= sizeof a;
			found = found || (more && overlap(&a.names, &names) && a.inode != (uint32_t)own);
			at += (a.header.len + 3U) & ~3U; /* Kernel: NLMSG_ALIGN */
		}
	}
	return found;
}

int lease_watch(void)
{
	union address a = {.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	int watch = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	/* Kernel: ENOENT is the answer where nobody listens, and also where the kernel has no tcp_diag. So look up a listening
	 * socket of our own. */
	int known = watch == -1 ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool works = known != -1 && bind(known, &a.any, sizeof a.in) == 0 && listen(known, 1) == 0 &&
	             getsockname(known, &a.any, &len) == 0 && listens_at(watch, &a);
	if (known != -1)
		close(known);
	if (works || watch == -1)
		return watch;
	close(watch);
	return -1;
}

/* ---- leases ---- */

/* Bind to A, and fail if another process has the port. */
static int reserve(const struct listener *l, const union address *a)
{
	struct stat st;
	int on = 1, fd = bound_socket(l, &a->any, size_of(a), 0);
	/* Bound plainly, so that nobody else has it; servers bind over it from here on, if they set the same. */
	if (fd != -1)
		return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 ? fd : fd_drop(fd);
	/* Connections of an earlier server, in TIME_WAIT, are no reason; another lease is one. */
	if (errno != EADDRINUSE || !names_of(a).local_port || (fd = bound_socket(l, &a->any, size_of(a), 1)) == -1)
		return -1;
	int watch = lease_watch();
	bool taken = watch != -1 && fstat(fd, &st) == 0 && (bound_elsewhere(watch, AF_INET, names_of(a), st.st_ino) ||
	                                                    bound_elsewhere(watch, AF_INET6, names_of(a), st.st_ino));
	if (watch != -1)
		close(watch);
	if (!taken)
		return fd;
	close(fd);
	errno = EADDRINUSE;
	return -1;
}

const char *lease_open(struct listener *l)
{
	/* As for listening sockets: IPv6 takes IPv4 as well; IPv4 alone where there is no IPv6. */
	for (int family = l->wildcard ? AF_INET6 : AF_UNSPEC; l->at.fd == -1; family = AF_INET) {
		errno = EAFNOSUPPORT;
		for (const struct addrinfo *a = l->found; a && l->at.fd == -1; a = a->ai_next) {
			union address address = {0};
			if ((family != AF_UNSPEC && a->ai_family != family) || a->ai_addrlen > sizeof address)
				continue;
			memcpy(&address, a->ai_addr, a->ai_addrlen);
			l->at.fd = reserve(l, &address);
		}
		if (family != AF_INET6 || errno != EAFNOSUPPORT)
			break;
	}
	return l->at.fd == -1 ? strerror(errno) : NULL;
}

bool lease_served(const struct listener *l, int watch)
{
	union address a = {0};
	socklen_t len = sizeof a;
	if (getsockname(l->at.fd, &a.any, &len) == -1)
		return false;
	if (watch == -1) {
		/* Kernel: of sockets that all set SO_REUSEADDR only a listening one is in the way of another's bind. */
		int fd = bound_socket(l, &a.any, len, 1);
		bool served = fd == -1 && errno == EADDRINUSE;
		if (fd != -1)
			close(fd);
		return served;
	}
	/* A wildcard's clients connect to a loopback address. */
	uint16_t port = names_of(&a).local_port;
	const union address in = {.in = {.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	const union address in6 = {.in6 = {.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
	if (l->wildcard)
		return listens_at(watch, &in) || listens_at(watch, &in6);
	if (a.any.sa_family == AF_INET && a.in.sin_addr.s_addr == htonl(INADDR_ANY))
		return listens_at(watch, &in);
	if (a.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr))
		return listens_at(watch, &in6);
	return listens_at(watch, &a);
}
