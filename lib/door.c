/* SPDX-License-Identifier: ISC */
#include "door.h"
#include "closer.h"
#include "peer.h"
#include "socket.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	REST_MS = 100,
	FLOOD_MS = 10000,       /* report the refusals of a uid once in this time */
	ACCEPTS_MOST = 64,      /* refused at a time, so that a flood costs others little */
};

size_t share_of_uid(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)(limit.rlim_cur / 4) : 0;
}

size_t connections_of_uid(void)
{
	size_t share = share_of_uid();
	return share < CONNECTIONS_OF_UID ? share : CONNECTIONS_OF_UID;
}

/* ---- one refusal of a flood ---- */

bool door_tells(struct door *d, uid_t uid)
{
	struct refusal *free = NULL;
	for (size_t i = 0; i < sizeof d->refused / sizeof *d->refused; i++) {
		struct refusal *r = &d->refused[i];
		if (!r->until || !time_left(r->until))
			free = r;
		else if (r->uid == uid)
			return false;
	}
	if (free)
		*free = (struct refusal){.uid = uid, .until = deadline_in(FLOOD_MS)};
	return free;
}

/* ---- accepting ---- */

void door_open(struct door *d, const struct endpoint *at, const struct allow *allow, struct closer *closer)
{
	*d = (struct door){.fd = at->fd, .inherited = at->kind == END_FD, .flags = SOCK_NONBLOCK, .allow = allow, .closer = closer};
}

void door_rest(struct door *d)
{
	d->resting = deadline_in(REST_MS);
}

bool door_rests(struct door *d)
{
	if (d->resting && !time_left(d->resting))
		d->resting = 0;
	return d->resting;
}

static void wake(int sig)
{
	(void)sig;
}

/* A blocking listening socket that others share must stay blocking. They may take the connection that poll(2) showed, and
 * accept4 would then wait for the next one, deaf to signals. A timer ends it with EINTR: a timer of its own, so that the
 * caller's alarm(2) stays, and one that goes off again, should it go off before accept4 waits. */
static int accept_briefly(int listening, int flags)
{
	const struct itimerspec often = {.it_value.tv_nsec = 10000000, .it_interval.tv_nsec = 10000000};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX};
	struct sigaction sa = {.sa_handler = wake}, action_before;
	sigset_t signals, mask_before;
	timer_t timer;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) == -1)
		return -1;
	sigemptyset(&signals);
	sigaddset(&signals, SIGRTMAX);
	sigaction(SIGRTMAX, &sa, &action_before);
	sigprocmask(SIG_UNBLOCK, &signals, &mask_before);
	timer_settime(timer, 0, &often, NULL);
	int fd = accept4(listening, NULL, NULL, flags);
	int error = fd == -1 && errno == EINTR ? EAGAIN : errno;
	timer_delete(timer);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	sigaction(SIGRTMAX, &action_before, NULL);
	errno = error;
	return fd;
}

/* Accept without waiting. errno EAGAIN: no connection is there. Never EINTR. */
static int accept_now(const struct door *d)
{
	int fd, flags = d->flags | SOCK_CLOEXEC;
	if (d->inherited && !(fcntl(d->fd, F_GETFL) & O_NONBLOCK))
		return accept_briefly(d->fd, flags);
	do
		fd = accept4(d->fd, NULL, NULL, flags);
	while (fd == -1 && errno == EINTR);
	return fd;
}

/* Is the listening socket of no use any more? Kernel: whoever shares it can shut it down, and then accept(2) says EINVAL. */
static bool is_gone(int error)
{
	return error == EINVAL || error == EBADF || error == ENOTSOCK || error == EOPNOTSUPP;
}

int door_accept(struct door *d, struct peer *peer)
{
	*peer = (struct peer){.uid = NOBODY};
	d->resting = 0;
	for (int i = 0; d->fd != -1 && i < ACCEPTS_MOST; i++) {
		int sock = accept_now(d);
		if (sock == -1 && is_gone(errno)) {
			d->fd = -1;
			errno = ESHUTDOWN;
			return -1;
		}
		if (sock == -1 && out_of_resources(errno))
			door_rest(d);
		if (sock == -1 && (d->resting || errno == EAGAIN))
			return -1;
		if (sock == -1) /* any other error is the one connection's, which is gone */
			continue;
		if (!d->allow || (peer_of(sock, peer) == 0 && peer_allowed(d->allow, peer, sock)))
			return sock;
		closer_hang_up(d->closer, sock, peer->uid);
		if (door_tells(d, peer->uid)) {
			errno = EACCES;
			return -1;
		}
	}
	errno = ECONNABORTED;
	return -1;
}

void door_close(struct endpoint *at, struct closer *closer)
{
	struct pollfd p = {.fd = at->fd, .events = POLLIN};
	int sock = at->kind == END_FD ? -1 : at->fd;
	/* Closing a listening socket closes the connections in its queue. */
	if (sock != -1 && (at->listens ? poll(&p, 1, 0) != 0 : at->type != SOCK_DGRAM)) {
		at->fd = -1;
		endpoint_close(at);
		if (at->listens)
			closer_close(closer, sock, NOBODY);
		else
			closer_hang_up(closer, sock, NOBODY);
		return;
	}
	endpoint_close(at);
}

/* ---- shares ---- */

struct source source_of_uid(uid_t uid)
{
	struct source source = {.bytes = {[16] = AF_UNIX}};
	memcpy(source.bytes, &uid, sizeof uid);
	return source;
}

struct source source_of_address(int sock)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = {0};
	struct source source = {0};
	socklen_t len = sizeof a;
	if (getpeername(sock, &a.any, &len) == -1)
		return source;
	source.bytes[16] = (unsigned char)a.any.sa_family;
	if (a.any.sa_family == AF_INET)
		memcpy(source.bytes, &a.in.sin_addr, sizeof a.in.sin_addr);
	else if (a.any.sa_family == AF_INET6)
		memcpy(source.bytes, &a.in6.sin6_addr, sizeof a.in6.sin6_addr);
	return source;
}

struct share *share_find(struct share *shares, struct source source)
{
	while (shares && memcmp(&shares->source, &source, sizeof source) != 0)
		shares = shares->next;
	return shares;
}

struct share *share_join(struct share **shares, struct source source)
{
	struct share *s = share_find(*shares, source);
	if (!s) {
		if (!(s = malloc(sizeof *s)))
			return NULL;
		*s = (struct share){.next = *shares, .source = source};
		*shares = s;
	}
	s->connections++;
	return s;
}

void share_leave(struct share **shares, struct share *share)
{
	if (--share->connections)
		return;
	while (*shares != share)
		shares = &(*shares)->next;
	*shares = share->next;
	free(share);
}

bool share_exceeds(const struct share *s, size_t limit)
{
	return limit && (s->connections + s->fds > limit || s->connections > CONNECTIONS_OF_UID || s->bytes > BYTES_OF_UID);
}

bool share_reports(struct share *s, size_t limit, bool excess)
{
	size_t held = s->connections + s->fds;
	bool told = s->told && 2 * held >= (limit < CONNECTIONS_OF_UID ? limit : CONNECTIONS_OF_UID);
	s->told = excess || told;
	return excess && !told;
}
