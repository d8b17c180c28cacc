/* SPDX-License-Identifier: ISC */
/* Send a set to one peer, hear its answer, and tell whether it has taken the set. */
#include "transfer.h"
#include "messages.h"
#include "rights.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	RESEND_MS = 10, RESEND_MOST_MS = 100, /* while too many descriptors are on their way: at first, and at most */
	QUEUE_MOST_MS = 20,     /* between two looks at a queue, at most */
	OUTPUT_MS = 50,         /* between two looks at a full standard output */
};

struct transfer transfer_begin(struct sending *s, int sock, uid_t uid, int64_t until)
{
	return (struct transfer){
		.sending = s, .sock = sock, .uid = uid, .shared = s->at.kind == END_FD && endpoint_given(&s->at),
		.begun = now(), .until = until, .again = NEVER, .pause = RESEND_MS,
	};
}

void transfer_end(struct transfer *t)
{
	bool queue = !t->shared && t->sending->at.type != SOCK_DGRAM && t->state != ENDED;
	if (queue)
		closer_hang_up(&t->sending->closer, t->sock, t->uid);
	else if (!t->shared)
		close(t->sock);
	records_free(&t->in);
}

/* Go on when poll(2) reports EVENTS or, where these are 0, after MS. */
static int later(struct transfer *t, short events, int ms)
{
	t->events = events;
	t->again = events ? NEVER : deadline_in(ms);
	return UNFINISHED;
}

static int taken(const struct transfer *t)
{
	note(t->sending->cli, "%s: taken", t->sending->at.arg);
	return 0;
}

static int not_taken(const struct transfer *t)
{
	struct endpoint peer = t->sending->at;
	peer.fd = t->sock;
	say_closed(&peer, "without taking the descriptors");
	return FAILED;
}

/* ---- sending ---- */

/* Everything is sent, or the peer takes nothing more. Kernel: closing with bytes unread makes that ECONNRESET, so end
 * of file says that all was read (unix_release_sock, net/unix/af_unix.c). */
static int await_answer(struct transfer *t)
{
	t->state = AWAITING_ANSWER;
	shutdown(t->sock, SHUT_WR);
	return later(t, POLLIN, 0);
}

static int not_sent(struct transfer *t)
{
	const struct sending *s = t->sending;
	if (errno == EAGAIN)
		return later(t, POLLOUT, 0);
	/* No event tells when others have received theirs. */
	if (errno == ETOOMANYREFS || errno == ENOBUFS) {
		later(t, 0, t->pause);
		t->pause = longer(t->pause, RESEND_MOST_MS);
		return UNFINISHED;
	}
	if (errno != EPIPE && errno != ECONNRESET)
		return say_failed(s->at.arg);
	if (t->shared || s->at.type == SOCK_DGRAM)
		return not_taken(t);
	t->reset = true;
	return await_answer(t); /* the peer may have said why */
}

/* Send the next message without waiting. Returns how many descriptors it had, or -1 and errno. */
static ssize_t send_some(const struct transfer *t)
{
	const struct sending *s = t->sending;
	/* No answer comes to a datagram, nor can it be read from a socket that others may read too. */
	bool answered = !t->shared && s->at.type != SOCK_DGRAM && !s->no_wait;
	if (s->records)
		return set_send(t->sock, &s->set, t->sent, s->text.data, s->text.len, answered);
	size_t most = s->one_each ? 1 : FDS_PER_MESSAGE, left = s->set.count - t->sent, n = left < most ? left : most;
	return rights_send_all(t->sock, s->set.fd + t->sent, n, s->text.data ? s->text.data : "",
	                       s->text.data ? s->text.len : 1, AT_ONCE) == -1 ? -1 : (ssize_t)n;
}

/* Kernel: TIOCOUTQ (SIOCOUTQ by another name) is the queue's length; no event tells that it is empty, and a receiver
 * that closes without having read empties it too, leaving ECONNRESET in SO_ERROR. */
static int look_at_queue(struct transfer *t)
{
	int queued = 0, error = 0;
	socklen_t len = sizeof error;
	if (ioctl(t->sock, TIOCOUTQ, &queued) == 0 && queued > 0) {
		t->pause += t->pause < QUEUE_MOST_MS;
		return later(t, 0, t->pause);
	}
	bool reset = getsockopt(t->sock, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == ECONNRESET;
	return reset ? not_taken(t) : taken(t);
}

static int send_rest(struct transfer *t)
{
	const struct sending *s = t->sending;
	while (t->sent < s->set.count) {
		ssize_t n = send_some(t);
		if (n == -1)
			return not_sent(t);
		t->sent += (size_t)n;
	}
	note_sent(s->cli, s->at.arg, &s->set, t->sock);
	if (s->no_wait || s->at.type == SOCK_DGRAM)
		return 0;
	if (!t->shared)
		return await_answer(t);
	t->state = AWAITING_EMPTY_QUEUE;
	t->pause = 1;
	return look_at_queue(t);
}

/* ---- hearing ---- */

/* Copy it to standard output, which is not buffered. */
static int reply(const char *data, size_t len)
{
	if (!len || fwrite(data, 1, len, stdout) == len)
		return UNFINISHED;
	warn("standard output");
	return FAILED;
}

/* Take in what the receiver says. It may begin with records: a refusal is obeyed in either form, and in the record form
 * an answer must be there. The bytes after them are a reply. */
static int hear(struct transfer *t, const char *data, size_t len)
{
	const struct sending *s = t->sending;
	struct record r;
	struct set none = {0};
	if (t->state == COPYING_REPLY)
		return reply(data, len);
	if (records_add(&t->in, data, len, &none) == -1)
		return say_failed(s->at.arg);
	while (s->records || may_be_record(t->in.data + t->in.start, t->in.end - t->in.start)) {
		int got = records_next(&t->in, &r);
		if (got == 0)
			return UNFINISHED;
		if (got == 1 && r.word == RECORD_REFUSED) {
			warnx("%s: refused: %s", s->at.arg, r.why ? r.why : "no reason given");
			return FAILED;
		}
		if (!s->records || (got == 1 && r.word == RECORD_GET))
			continue; /* a receiver may ask for the set that we send anyway */
		if (got == -1 || r.word != RECORD_TAKEN || r.id != 1) {
			warnx("%s: does not speak the record form", s->at.arg);
			return FAILED;
		}
		break;
	}
	t->state = COPYING_REPLY;
	int status = reply(t->in.data + t->in.start, t->in.end - t->in.start);
	records_free(&t->in);
	return status;
}

/* The receiver has closed, and everything that it sent is read. */
static int closed(struct transfer *t)
{
	const struct sending *s = t->sending;
	bool answered = t->state == COPYING_REPLY;
	t->state = ENDED;
	if (t->reset)
		return not_taken(t);
	if (s->records && !answered) {
		warnx("%s: closed without an answer (names, and without -P more than %d descriptors, need a receiver that "
		      "speaks the record form)", s->at.arg, FDS_PER_MESSAGE);
		return FAILED;
	}
	/* It looked like the beginning of a record, but is a reply. */
	bool written = !t->in.data || reply(t->in.data + t->in.start, t->in.end - t->in.start) == UNFINISHED;
	return written ? taken(t) : FAILED;
}

static int hear_some(struct transfer *t)
{
	char data[1024];
	struct set fds = {0};
	/* A slow reader of our standard output must not hold up other peers. */
	struct pollfd output = {.fd = 1, .events = POLLOUT};
	if (t->sending->listen && poll(&output, 1, 0) == 0)
		return later(t, 0, OUTPUT_MS);
	later(t, POLLIN, 0);
	ssize_t n = rights_read(t->sock, &fds, data, sizeof data, NULL);
	int error = errno;
	bool end = n == 0 && !fds.count;
	closer_trim(&t->sending->closer, &fds, 0, t->uid); /* a reply is bytes */
	set_forget(&fds);
	errno = error;
	if (end)
		return closed(t);
	if (n == -1 && errno == ECONNRESET)
		t->reset = true;
	else if (n == -1 && errno != EAGAIN && errno != EMFILE)
		return say_failed(t->sending->at.arg);
	return n > 0 ? hear(t, data, (size_t)n) : UNFINISHED;
}

int transfer_continue(struct transfer *t)
{
	int status = t->state == SENDING                ? send_rest(t)
	             : t->state == AWAITING_EMPTY_QUEUE ? look_at_queue(t)
	                                                : hear_some(t);
	/* A receiver that never stops talking cannot postpone the deadline. */
	if (status != UNFINISHED || time_left(t->until))
		return status;
	warnx("%s: timed out: not taken in time", t->sending->at.arg);
	return TIMED_OUT;
}
