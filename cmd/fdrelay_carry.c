/* SPDX-License-Identifier: ISC */
/* Messages from one socket to another, as they came. */
#include "fdrelay_carry.h"
#include "door.h"
#include "fd.h"
#include "messages.h"
#include "options.h"
#include "peer.h"
#include "rights.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
	ROOM = 1 << 17,         /* bytes of a message, at first; of a stream, at most */
	PAUSE_MS = 10, PAUSE_MOST_MS = 100, /* while too many descriptors are on their way: at first, and at most */
	QUEUE_MOST = 1024,      /* packets in a queue; Kernel: net.unix.max_dgram_qlen, 10 or 512 as a rule */
	SETTLE_MS = 1000,       /* how long closing may take when many are to be closed */
	GO_ON = -1,             /* no exit status yet */
};

static bool packets(const struct relay *r)
{
	return r->type != SOCK_STREAM;
}

static int failed(const struct side *s, const char *why)
{
	warnx("%s: %s", s->name, why);
	return FAILED;
}

/* Close what W holds. */
static void drop(struct relay *r, struct way *w)
{
	r->closing += w->set.count;
	closer_trim(&r->closer, &w->set, 0, w->from->uid);
	w->len = w->sent = 0;
	w->again = NEVER;
}

/* ---- ends ---- */

/* All that came is sent, and end of file is next. */
static int end_of_file(struct relay *r, struct way *w)
{
	note(r->cli, "%s: %c end of file", r->object, w->arrow);
	w->state = OVER;
	shutdown(w->to->fd, SHUT_WR);
	return GO_ON;
}

/* Nobody reads any more: the writer gets errors. Kernel: a datagram socket shows the end of its peer to writers alone
 * (unix_release_sock, net/unix/af_unix.c), so the other direction is at its end too. */
static int unread(struct relay *r, struct way *w)
{
	note(r->cli, "%s: %c closed", r->object, w->arrow);
	drop(r, w);
	w->state = OVER;
	r->passed = true;
	shutdown(w->from->fd, SHUT_RD);
	r->way[w == r->way].last = r->type == SOCK_DGRAM;
	return GO_ON;
}

/* ---- reading ---- */

/* A peek copies no further than the first message that has descriptors. */
struct look {
	ssize_t len;            /* bytes copied, or -1 and errno */
	bool fds;               /* that message was reached */
};

/* Kernel: a peek installs no descriptor where there is no room for control data (MSG_CTRUNC). It goes on up to that
 * message after COUNT parts are full, so that with none it only asks for descriptors (unix_stream_read_generic). */
static struct look peek(int sock, struct iovec *part, unsigned short count)
{
	struct msghdr msg = {.msg_iov = part, .msg_iovlen = count};
	struct look look;
	do
		look.len = recvmsg(sock, &msg, MSG_PEEK | MSG_DONTWAIT);
	while (look.len == -1 && (errno == EINTR || errno == ECONNRESET));
	look.fds = look.len != -1 && msg.msg_flags & MSG_CTRUNC;
	return look;
}

/* How many of the first LEN bytes to read, so that descriptors come with the first of them or not at all. Kernel: a
 * message that cannot be copied whole ends the copy before it (skb_copy_datagram_msg), and a constant cannot be written. */
static size_t until_descriptors(int sock, char *data, size_t len)
{
	static const char wall = 0;
	struct iovec part[] = {{.iov_base = data, .iov_len = len}, {.iov_base = (void *)&wall, .iov_len = 1}};
	if (!peek(sock, part, 0).fds)
		return len;
	struct look all = peek(sock, part, 1);
	if (all.len < 2)
		return 1;
	/* The last of these bytes is the message's, or of one that is longer than LEN. */
	part[0].iov_len = (size_t)all.len - 1;
	struct look before = peek(sock, part, 2);
	return (size_t)(before.len > 0 ? before.len : all.len);
}

/* Read from a stream. Kernel: a read ends with a message that has descriptors, but begins with the bytes before that
 * (unix(7)). What comes after FIONREAD may have descriptors. */
static ssize_t read_stream(const struct side *from, struct way *w)
{
	int queued = 0;
	size_t len = w->room;
	if (from->local && (ioctl(from->fd, FIONREAD, &queued) == -1 || queued < 2))
		len = 1;
	else if (from->local)
		len = until_descriptors(from->fd, w->data, (size_t)queued < len ? (size_t)queued : len);
	return rights_receive(from->fd, &w->set, w->data, len, NULL);
}

/* Read a packet, which poll(2) saw. Kernel: the length queued is the first one's, or that of all (unix_inq_len). */
static ssize_t read_packet(const struct side *from, struct way *w, short events)
{
	int queued = 0, left = events & (POLLRDHUP | POLLHUP) ? QUEUE_MOST : 0;
	ssize_t n;
	if (ioctl(from->fd, FIONREAD, &queued) == 0 && queued > 0 && (size_t)queued > w->room) {
		char *grown = realloc(w->data, (size_t)queued);
		if (!grown)
			return -1;
		w->data = grown;
		w->room = (size_t)queued;
	}
	/* The end looks like an empty packet, behind which may be one with descriptors alone. */
	do
		n = rights_receive(from->fd, &w->set, w->data, w->room, NULL);
	while (n == 0 && !w->set.count && !queued && left--);
	return n;
}

/* Did a read of nothing reach the end, where an empty packet may come? */
static bool at_end(const struct relay *r, const struct side *from, short events)
{
	return !packets(r) || (events & (POLLRDHUP | POLLHUP) && !rights_waiting(from->fd));
}

/* Report what W holds. */
static void trace(const struct relay *r, const struct way *w)
{
	char text[SHOWN_MOST];
	if (w->set.count)
		note(r->cli, "%s: %c %zu byte%s, %s", r->object, w->arrow, w->len, plural(w->len),
		     show_set(r->cli, &w->set, w->from->uid, text));
}

/* Take the next message from the source of W, for which poll(2) saw EVENTS. */
static int take(struct relay *r, struct way *w, short events)
{
	struct side *from = w->from;
	ssize_t n = packets(r) ? read_packet(from, w, events) : read_stream(from, w);
	if (n == -1 && errno == EAGAIN)
		return r->type == SOCK_DGRAM && events & POLLRDHUP ? end_of_file(r, w) : GO_ON;
	if (n == -1 && (errno == ENOTCONN || errno == ECONNREFUSED))
		return end_of_file(r, w);
	if (n == -1)
		return failed(from, errno == EMFILE ? "descriptors did not fit: Too many open files" : strerror(errno));
	if (n == 0 && !w->set.count && at_end(r, from, events))
		return end_of_file(r, w);
	w->state = WRITING;
	w->len = (size_t)n;
	w->sent = 0;
	w->again = NEVER;
	w->pause = PAUSE_MS;
	w->widened = false;
	r->passed = r->passed || w->set.count;
	trace(r, w);
	return w->set.count && !w->to->local ? failed(w->to, "cannot take descriptors: not a Unix socket") : GO_ON;
}

/* ---- writing ---- */

/* A packet as large as the sender's queue allowed may be too large for ours. */
static bool widen(struct way *w)
{
	int size = (int)w->len;
	bool first = !w->widened;
	w->widened = true;
	return first && setsockopt(w->to->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0;
}

static int not_given(struct relay *r, struct way *w)
{
	switch (errno) {
	case EAGAIN: return GO_ON;
	/* No event tells when others have received theirs. */
	case ETOOMANYREFS: case ENOBUFS: case ENOMEM:
		w->again = deadline_in(w->pause);
		w->pause = longer(w->pause, PAUSE_MOST_MS);
		return GO_ON;
	case EPIPE: case ECONNRESET: case ECONNREFUSED: case ENOTCONN: return unread(r, w);
	/* Kernel: SO_PASSRIGHTS (6.16). */
	case EPERM: return failed(w->to, "cannot take descriptors: it refuses them");
	default: return failed(w->to, strerror(errno));
	}
}

/* Send what W holds, or some of it. */
static int give(struct relay *r, struct way *w)
{
	ssize_t n = rights_send(w->to->fd, w->set.fd, w->set.count, w->data + w->sent, w->len - w->sent);
	if (n == -1 && errno == EMSGSIZE && packets(r) && widen(w))
		n = rights_send(w->to->fd, w->set.fd, w->set.count, w->data, w->len);
	if (n == -1)
		return not_given(r, w);
	/* Descriptors go with the first byte. */
	r->closing += w->set.count;
	closer_trim(&r->closer, &w->set, 0, w->from->uid);
	w->again = NEVER;
	w->sent += (size_t)n;
	if (packets(r) || w->sent == w->len)
		w->state = READING;
	return GO_ON;
}

/* ---- both directions ---- */

/* Go on with W, whose source is ready for EVENTS. */
static int go(struct relay *r, struct way *w, short events)
{
	int status = w->state == READING ? take(r, w, events) : GO_ON;
	if (status == GO_ON && w->state == WRITING)
		status = give(r, w);
	if (r->closing && r->closing > share_of_uid()) {
		closer_settle(&r->closer, SETTLE_MS);
		r->closing = 0;
	}
	return status;
}

/* What to wait for at side I. Where a direction into it goes on, its end is awaited too: POLLHUP, which lasts. */
static struct pollfd interest(const struct relay *r, int i)
{
	const struct way *out = &r->way[i], *in = &r->way[!i];
	short events = out->state == READING ? POLLIN | POLLRDHUP : 0;
	if (in->state == WRITING && in->again == NEVER)
		events |= POLLOUT;
	return (struct pollfd){.fd = events || in->state != OVER ? r->side[i].fd : -1, .events = events};
}

/* Side I, for which poll(2) saw EVENTS. */
static int step(struct relay *r, int i, short events)
{
	struct way *out = &r->way[i], *in = &r->way[!i];
	int status = GO_ON;
	bool last = out->last;
	if (events & POLLERR)
		fd_option(r->side[i].fd, SO_ERROR); /* which clears it */
	if (in->state == WRITING && (events & POLLOUT || (in->again != NEVER && !time_left(in->again))))
		status = go(r, in, 0);
	if (status == GO_ON && events & POLLHUP && in->state != OVER)
		status = unread(r, in);
	if (status == GO_ON && out->state == READING && events & (POLLIN | POLLRDHUP | POLLHUP))
		status = go(r, out, events);
	else if (status == GO_ON && out->state == READING && last)
		status = end_of_file(r, out);
	return status;
}

int carry(struct relay *r, int sigfd, int64_t deadline)
{
	int status = GO_ON;
	for (int i = 0; i < 2; i++) {
		r->way[i] = (struct way){.from = &r->side[i], .to = &r->side[!i], .arrow = i ? '<' : '>', .data = malloc(ROOM),
		                         .room = ROOM, .again = NEVER};
		if (!r->way[i].data)
			return failed(&r->side[i], strerror(errno));
	}
	while (status == GO_ON && (r->way[0].state != OVER || r->way[1].state != OVER)) {
		struct pollfd p[] = {interest(r, 0), interest(r, 1), {.fd = sigfd, .events = POLLIN}};
		int64_t until = sooner(deadline, sooner(r->way[0].again, r->way[1].again));
		for (int i = 0; i < 2; i++)
			if (r->way[i].last && r->way[i].state == READING)
				until = AT_ONCE;
		if (await_any(p, 3, until) == -1)
			continue;
		int sig = p[2].revents ? signals_next(sigfd) : 0;
		if (sig)
			return 128 + sig;
		if (!time_left(deadline)) {
			warnx("%s: timed out", r->object);
			return TIMED_OUT;
		}
		for (int i = 0; i < 2 && status == GO_ON; i++)
			status = step(r, i, p[i].revents);
	}
	return status == GO_ON ? 0 : status;
}
