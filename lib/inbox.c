/* SPDX-License-Identifier: ISC */
/* Messages from whoever connects to a SOCKET: accepts, checks each peer, and gathers the
 * descriptors that each sends, so that a silent or broken peer costs only its own connection. */
#include "fdkit.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct connection {
	int sock;
	bool ours;              /* accepted here, to be closed here */
	bool delivered;         /* something of it has reached the caller */
	struct peer peer;
	struct fds fds;         /* gathered so far */
	char *text;             /* the first of their messages' bytes */
	size_t len;
};

enum { REST_MS = 100 };

static int connection_add(struct inbox *in, int sock, bool ours, struct peer peer)
{
	if (in->count == in->room) {
		size_t room = in->room ? 2 * in->room : 4;
		struct connection *grown = realloc(in->connection, room * sizeof *grown);
		if (!grown)
			return -1;
		in->connection = grown;
		in->room = room;
	}
	in->connection[in->count++] = (struct connection){.sock = sock, .ours = ours, .peer = peer};
	return 0;
}

static void connection_drop(struct inbox *in, size_t i)
{
	struct connection *c = &in->connection[i];
	fds_free(&c->fds);
	free(c->text);
	if (c->ours)
		close(c->sock);
	*c = in->connection[--in->count];
}

int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, int sigfd)
{
	*in = (struct inbox){.at = at, .allow = allow, .sigfd = sigfd, .data = malloc(MESSAGE_MAX)};
	struct peer peer = {0};
	if (!in->data)
		return -1;
	if (at->listens)
		return 0;
	/* A socket that the caller gave needs no check, but COMMAND may know who made it. */
	if (at->kind != END_EXEC && at->type != SOCK_DGRAM && peer_of(at->fd, &peer) == -1)
		return -1;
	return connection_add(in, at->fd, false, peer);
}

bool inbox_over(const struct inbox *in)
{
	return !in->at->listens && in->count == 0;
}

void inbox_close(struct inbox *in)
{
	while (in->count)
		connection_drop(in, in->count - 1);
	free(in->connection);
	free(in->data);
	*in = (struct inbox){.at = in->at, .sigfd = -1};
}

/* Returns true where there is something to tell: in *EVENT and *D. */
static bool accept_one(struct inbox *in, struct delivery *d, enum inbox_event *event)
{
	struct peer peer;
	int sock = accept4(in->at->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock == -1) {
		/* Any other error is the one connection's, which is gone. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			in->resting = deadline_in(REST_MS);
		return false;
	}
	if (peer_of(sock, &peer) == 0 && peer_allowed(in->allow, &peer, sock)) {
		if (connection_add(in, sock, true, peer) == 0)
			return false;
		in->resting = deadline_in(REST_MS);
		close(sock);
		return false;
	}
	close(sock);
	d->peer = peer;
	*event = INBOX_REFUSED;
	return true;
}

/* Hand what connection C has gathered to the caller. */
static void deliver(struct connection *c, struct delivery *d)
{
	d->fds = c->fds;
	d->text = c->text;
	d->len = c->len;
	c->fds = (struct fds){0};
	c->text = NULL;
	c->delivered = true;
}

void delivery_free(struct delivery *d)
{
	fds_free(&d->fds);
	free(d->text);
	d->text = NULL;
}

/* Keep the N bytes that came with the first of a set's messages. */
static int keep_text(struct connection *c, const char *data, size_t n)
{
	c->text = malloc(n + 1);
	if (!c->text)
		return -1;
	memcpy(c->text, data, n);
	c->len = n;
	return 0;
}

/* The peer has closed. */
static enum inbox_event ended(struct inbox *in, size_t i)
{
	const struct connection *c = &in->connection[i];
	enum inbox_event event = c->fds.count ? INBOX_SHORT : c->delivered ? INBOX_ENDED : INBOX_EMPTY;
	connection_drop(in, i);
	return event;
}

/* Read once from connection I. Returns true where there is something to tell. */
static bool read_one(struct inbox *in, size_t i, struct delivery *d, enum inbox_event *event)
{
	struct connection *c = &in->connection[i];
	bool datagrams = in->at->type == SOCK_DGRAM;
	struct peer peer = c->peer;
	size_t before = c->fds.count;
	ssize_t n = rights_receive(c->sock, &c->fds, in->data, MESSAGE_MAX, datagrams ? &peer : NULL);
	d->peer = peer;
	if (n == -1 && errno == EAGAIN)
		return false;
	if (n == -1 && errno == ECONNRESET)
		n = 0;
	if (n == -1) {
		d->error = errno;
		*event = INBOX_FAILED;
		if (!datagrams)
			connection_drop(in, i);
		return true;
	}
	/* An empty packet can carry descriptors; without them it looks like end of file, and on a
	 * datagram socket it is just that: empty. */
	if (n == 0 && c->fds.count == before) {
		*event = ended(in, i);
		return !datagrams;
	}
	if (datagrams && !endpoint_given(in->at) && !peer_allowed(in->allow, &peer, -1)) {
		fds_trim(&c->fds, before);
		*event = INBOX_REFUSED;
		return true;
	}
	if (c->fds.count == before)
		return false;
	if (!c->text && keep_text(c, in->data, (size_t)n) == -1) {
		d->error = errno;
		*event = INBOX_FAILED;
		connection_drop(in, i);
		return true;
	}
	if (c->fds.count < in->gather)
		return false;
	deliver(c, d);
	*event = INBOX_DELIVERY;
	return true;
}

/* The descriptors to wait for, in P: signals, then the listening socket, then connections. */
static size_t poll_set(const struct inbox *in, struct pollfd *p, bool hold)
{
	size_t n = 0;
	p[n++] = (struct pollfd){.fd = in->sigfd, .events = POLLIN};
	bool accepting = in->at->listens && !hold && (!in->resting || !time_left(in->resting));
	p[n++] = (struct pollfd){.fd = accepting ? in->at->fd : -1, .events = POLLIN};
	for (size_t i = 0; i < in->count && !hold; i++)
		p[n++] = (struct pollfd){.fd = in->connection[i].sock, .events = POLLIN};
	return n;
}

enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline)
{
	*d = (struct delivery){0};
	for (;;) {
		struct pollfd few[8], *p = few;
		if (in->count + 2 > sizeof few / sizeof *few && !(p = malloc((in->count + 2) * sizeof *p))) {
			d->error = errno;
			return INBOX_FAILED;
		}
		size_t n = poll_set(in, p, hold);
		bool rests = in->resting && time_left(in->resting);
		int left = time_left(deadline), rest = rests ? time_left(in->resting) : -1;
		if (!rests)
			in->resting = 0;
		int ready = poll(p, n, rest != -1 && (left == -1 || rest < left) ? rest : left);
		enum inbox_event event = INBOX_SIGNAL;
		bool tell = ready > 0 && p[0].revents;
		/* In turn, so that a busy connection, or many new ones, delay nobody else for long. */
		for (size_t k = 1; ready > 0 && !tell && k < n; k++) {
			size_t i = 1 + (in->turn + k) % (n - 1);
			if (!p[i].revents)
				continue;
			tell = i == 1 ? accept_one(in, d, &event) : read_one(in, i - 2, d, &event);
			if (tell)
				in->turn = i - 1;
		}
		if (p != few)
			free(p);
		if (tell)
			return event;
		if (ready == 0 && left == 0)
			return INBOX_TIMEOUT;
	}
}
