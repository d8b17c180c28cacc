/* SPDX-License-Identifier: ISC */
/* The receiver's side: peers that send records, plain messages, rubbish or nothing, in any order. Whatever others
 * do, what an honest peer sent is delivered, once. */
#include "fuzz.h"
#include "channel.h"
#include "closer.h"
#include "env.h"
#include "inbox.h"
#include "parse.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEERS = 8, SETS = 64 };

struct end {
	int sock;
	bool there, honest;     /* honest: whole sets in the record form and nothing else */
};

/* A set that an honest peer has sent. */
struct sent {
	ino_t ino;              /* its first descriptor */
	size_t fds;
	int delivered;
};

struct world {
	struct endpoint at;
	struct allow allow;
	struct inbox in;
	struct closer closer;
	int far;                /* the other end of a socket that is not listened on */
	struct sockaddr_un name;
	socklen_t name_len;
	struct end end[PEERS];
	struct sent sent[SETS];
	size_t sets;
	struct { uint64_t connection, id; } last; /* delivery */
	bool troubled;          /* an honest peer's sets may be lost too */
};

/* ---- peers ---- */

static void come(struct world *w, struct end *e)
{
	if (!w->at.listens && w->at.type != SOCK_DGRAM && w->far == -1)
		return;
	*e = (struct end){.sock = w->far, .there = true, .honest = true};
	if (!w->at.listens && w->at.type != SOCK_DGRAM) {
		w->far = -1;
		return;
	}
	e->sock = socket(AF_UNIX, w->at.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	must(e->sock != -1, "a socket");
	if (connect(e->sock, (struct sockaddr *)&w->name, w->name_len) == -1) {
		close(e->sock);
		e->there = false;
	}
}

static void leave(struct end *e)
{
	close(e->sock);
	e->there = false;
}

/* Some whole sets in one message. */
static void send_honest(struct world *w, struct end *e, struct input *input)
{
	static const char *const names[] = {"a", "a,b", ",b,a"};
	char data[400];
	struct set fds = {0};
	size_t len = 0, sets = w->sets;
	unsigned count = 1 + take_byte(input) % 4, kind = take_byte(input);
	count = w->at.type == SOCK_STREAM ? count : 1;
	for (; count-- && w->sets < SETS; w->sets++) {
		struct sent *s = &w->sent[w->sets];
		*s = (struct sent){.fds = 1 + kind % 3};
		must(set_add(&fds, token(&s->ino), NULL) == 0, "memory");
		add_tokens(&fds, s->fds - 1);
		len += (size_t)snprintf(data + len, sizeof data - len, "fdkit/1 set fds=%zu%s%s%s\n", s->fds,
		                        kind & 16 ? " id=7" : "", kind & 8 ? " names=" : "", kind & 8 ? names[s->fds - 1] : "");
	}
	size_t first = kind & 32 && w->at.type == SOCK_STREAM && len ? 8 + kind % (len - 8) : len;
	bool all = len && rights_send(e->sock, fds.fd, fds.count, data, first) == (ssize_t)first &&
	           (first == len || rights_send(e->sock, NULL, 0, data + first, len - first) == (ssize_t)(len - first));
	if (!all) {
		w->sets = sets;
		e->honest = e->honest && first == len;
	}
	set_close(&fds);
}

static void send_rubbish(struct world *w, struct end *e, struct input *input)
{
	char data[8 + 128 * 256] = "fdkit/1 ";
	struct set fds = {0};
	unsigned kind = take_byte(input);
	size_t len = take_byte(input), start = kind & 1 ? 8 : 0;
	const char *bytes = take_bytes(input, &len);
	if (len)
		memcpy(data + start, bytes, len);
	if (kind & 2)
		data[start + len++] = '\n';
	if (kind & 4)
		memset(data + start, 'x', len *= 127);
	/* What a peer has sent already is its own to spoil. */
	if (w->at.type != SOCK_DGRAM && e->honest)
		w->troubled = w->troubled || w->sets;
	e->honest = false;
	add_tokens(&fds, kind >> 5);
	if (start + len || w->at.type != SOCK_STREAM)
		rights_send(e->sock, fds.fd, fds.count, data, start + len);
	set_close(&fds);
}

/* Credentials that somebody claims; root may claim any. */
static void send_credentials(struct end *e, unsigned uid)
{
	union {
		struct cmsghdr align;
		char data[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct ucred cred = {.pid = getpid(), .uid = geteuid() ? geteuid() : uid, .gid = getegid()};
	ino_t any;
	int fd = token(&any);
	struct iovec iov = {.iov_base = "fdkit/1 set fds=1\n", .iov_len = 18};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof cred)};
	memcpy(CMSG_DATA(c), &cred, sizeof cred);
	c = (struct cmsghdr *)(control.data + CMSG_SPACE(sizeof cred));
	*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	sendmsg(e->sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* ---- the receiver ---- */

static void check_names(const struct delivery *d)
{
	for (size_t i = 0; i < d->set.count; i++)
		must(!d->set.name[i] || !parse_name(d->set.name[i]), "a name as names are");
	const char *twice;
	must(!set_repeats(&d->set, false, &twice), "each name once");
}

static void check_environment(const struct delivery *d)
{
	struct env env;
	must(env_open(&env) == 0 && env_begin(&env, 0, d->len) == 0, "an environment");
	env_delivery(&env, d);
	free(env.grown);
	free(env.var);
}

static void delivered(struct world *w, const struct delivery *d)
{
	must(d->set.count, "a delivery has descriptors");
	must(d->len <= MESSAGE_MAX && (d->text || !d->len), "a text no longer than a message");
	for (size_t i = 0; i < d->set.count; i++)
		must(fcntl(d->set.fd[i], F_GETFD) == FD_CLOEXEC, "an open descriptor, close-on-exec");
	if (!w->troubled)
		check_environment(d);
	for (size_t i = 0; i < w->sets; i++)
		if (w->sent[i].ino == inode(d->set.fd[0]))
			must(++w->sent[i].delivered == 1 && (w->sent[i].fds == d->set.count || w->in.gather), "a set once, and whole");
	w->last.connection = d->connection;
	w->last.id = d->id;
}

/* Take one event. */
static enum inbox_event next(struct world *w, bool hold)
{
	struct delivery d;
	enum inbox_event event = inbox_next(&w->in, &d, hold, deadline_in(1));
	bool message = event == INBOX_DELIVERY || event == INBOX_REQUEST || event == INBOX_HELLO;
	must(!hold || !message, "no message while none is to be taken");
	for (size_t i = 0; i < d.set.count; i++)
		must((event == INBOX_DELIVERY) == (d.set.fd[i] >= 0), "descriptors in a delivery only");
	check_names(&d);
	if (event == INBOX_DELIVERY)
		delivered(w, &d);
	if (event == INBOX_REQUEST)
		must(d.error || d.request, "a request");
	if (event == INBOX_HELLO || event == INBOX_REQUEST)
		w->last.connection = d.connection;
	if (message)
		must(inbox_has(&w->in, d.connection), "a message's connection");
	must(event != INBOX_FAILED || d.error, "a reason");
	set_close(&d.set);
	free(d.text);
	return event;
}

/* An answer may end its connection, and what else that has sent. */
static void answer(struct world *w, unsigned how)
{
	uint64_t connection = w->last.connection;
	bool there = inbox_has(&w->in, connection), channel = is_channel(&w->in, connection);
	must(there || !channel, "a channel is there");
	if (how % 8 == 0)
		inbox_drop(&w->in, connection);
	else if (how % 8 < 4)
		inbox_answer(&w->in, connection, RECORD_TAKEN, w->last.id, NULL);
	else if (how % 8 == 4)
		inbox_answer(&w->in, connection, RECORD_REFUSED, w->last.id, "why not");
	else if (how % 8 == 5)
		channel_offer(&w->in, connection, how, 2 * how);
	else
		channel_offer_one(&w->in);
	/* A datagram socket is everybody's: it does not go with one that cannot be answered. */
	bool ends = how % 8 == 0 || w->at.type != SOCK_DGRAM;
	w->troubled = w->troubled || (ends && (how % 8 > 5 || (there && !inbox_has(&w->in, connection))));
}

static void open_inbox(struct world *w, unsigned kind)
{
	static const int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	int on = 1, pair[2];
	w->at = (struct endpoint){.kind = END_ABSTRACT, .type = types[kind % 4], .listens = kind & 4 && kind % 4 != 3};
	w->far = -1;
	w->name = (struct sockaddr_un){.sun_family = AF_UNIX};
	w->name_len = sizeof w->name;
	if (w->at.type == SOCK_DGRAM || w->at.listens) {
		/* Kernel: a name of no length is one that is free (unix(7), autobind). */
		w->at.fd = socket(AF_UNIX, w->at.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		must(bind(w->at.fd, (struct sockaddr *)&w->name, sizeof(sa_family_t)) == 0 &&
		     getsockname(w->at.fd, (struct sockaddr *)&w->name, &w->name_len) == 0, "a name");
		must(w->at.listens ? listen(w->at.fd, 4) == 0
		                   : setsockopt(w->at.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0, "a listener");
	} else {
		w->at.kind = kind & 8 ? END_EXEC : END_FD;
		make_pair(w->at.type, pair);
		w->at.fd = pair[0];
		w->far = pair[1];
	}
	must(inbox_open(&w->in, &w->at, &w->allow, &w->closer, -1) == 0, "an inbox");
	w->in.requests = kind & 16;
	w->in.gather = kind >> 6;
	w->in.share = kind & 32 ? 8 : 0;
	w->troubled = w->in.share;
}

/* Take an event, or answer, while something fails. */
static void in_trouble(struct world *w, unsigned what, unsigned kind)
{
	w->troubled = true;
	if (what == 5)
		fail_allocation(1 + kind % 4);
	else if (what == 6)
		fail_sending(kind & 1 ? EAGAIN : ENOBUFS);
	else
		limit_descriptors((int)kind % 4);
	if (kind & 8)
		answer(w, kind);
	else
		next(w, kind & 4);
	fail_allocation(0);
	fail_sending(0);
	limit_descriptors(-1);
}

static void step(struct world *w, struct input *input)
{
	unsigned what = take_byte(input), kind = what >> 4;
	struct end *e = &w->end[kind % PEERS];
	if (what % 16 == 0 && !e->there)
		come(w, e);
	else if (what % 16 == 1)
		next(w, false);
	else if (what % 16 == 2)
		next(w, true);
	else if (what % 16 == 3)
		answer(w, take_byte(input));
	else if (what % 16 == 4)
		clock_forward(kind * 1000);
	else if (what % 16 >= 5 && what % 16 <= 7)
		in_trouble(w, what % 16, kind);
	else if (e->there && what % 16 == 8)
		leave(e);
	else if (e->there && what % 16 == 9)
		shutdown(e->sock, kind & 8 ? SHUT_RD : SHUT_WR);
	else if (e->there && what % 16 == 10)
		send_credentials(e, take_byte(input));
	else if (e->there && what % 16 < 13)
		send_rubbish(w, e, input);
	else if (e->there && e->honest)
		send_honest(w, e, input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.data = data, .left = size};
	struct world w = {0};
	fuzz_begin();
	open_inbox(&w, take_byte(&input));
	while (input.left)
		step(&w, &input);
	clock_forward(1000);
	for (int n = 0; next(&w, false) != INBOX_TIMEOUT; n++)
		must(n < 10000, "an end of what there is to take");
	for (size_t i = 0; i < w.sets; i++)
		must(w.sent[i].delivered || w.troubled || w.in.gather, "what an honest peer sent, delivered");
	inbox_close(&w.in);
	closer_wait(&w.closer, 0);
	close(w.at.fd);
	if (w.far != -1)
		close(w.far);
	for (size_t i = 0; i < PEERS; i++)
		if (w.end[i].there)
			leave(&w.end[i]);
	fuzz_end();
	return 0;
}
