/* SPDX-License-Identifier: ISC */
/* What fdrelay carries: two peers that send, read, half-close and leave at any moment, between any two of its calls, while
 * calls fail or do less than was asked. What comes out is what went in, in order, each descriptor with its byte. */
#include "fuzz.h"
#include "fdrelay_carry.h"
#include "options.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 140000, PERIOD = 251, MARKS = 256, HELD = 1 << 17 };

/* A packet; of a stream, a message with descriptors. */
struct mark {
	size_t at, len, count;
	ino_t first, last;
};

/* One direction, as its peers see it. */
struct flow {
	const char *bytes;      /* of the stream, from any place on, less than PERIOD */
	size_t sent, got;
	struct mark mark[MARKS];
	size_t marks, came;
	bool ended;             /* its writer sends no more */
	bool over;              /* its reader saw that */
	bool cut;               /* its reader reads no more: the rest may be lost */
};

struct world {
	struct input *input;
	struct relay relay;
	int sock[2], inner[2], type;
	struct flow flow[2];    /* [0] from side 0 to side 1 */
	unsigned rest;          /* so many calls without a step */
	char *buf;
};

static bool packets(const struct world *w)
{
	return w->type != SOCK_STREAM;
}

/* ---- writing ---- */

static void send_one(struct world *w, int side, size_t len, size_t count)
{
	struct flow *f = &w->flow[side];
	struct mark m = {.at = f->sent, .count = count};
	struct set set = {0};
	if (w->sock[side] == -1 || f->ended || f->marks == MARKS || (!len && !packets(w)))
		return;
	if (count)
		must(set_add(&set, token(&m.first), NULL) == 0, "memory");
	m.last = m.first;
	if (count > 1)
		must(set_add(&set, token(&m.last), NULL) == 0, "memory");
	while (set.count < count)
		must(set_add(&set, dup(set.fd[1]), NULL) == 0, "memory");
	ssize_t n = rights_send(w->sock[side], set.fd, count, f->bytes + f->sent % PERIOD, len);
	set_close(&set);
	if (n == -1) {
		must(errno == EAGAIN || errno == EMSGSIZE || f->cut, "a connection that lasts");
		return;
	}
	m.len = (size_t)n;
	f->sent += m.len;
	if (count || packets(w))
		f->mark[f->marks++] = m;
}

/* ---- reading ---- */

/* Empty packets look like the end: once that is near they may be lost. */
static void skip_empty(struct flow *f)
{
	while (f->ended && f->came < f->marks && !f->mark[f->came].len && !f->mark[f->came].count)
		f->came++;
}

static void end_comes(struct flow *f)
{
	skip_empty(f);
	must(f->ended || f->cut, "no end before its time");
	must(f->cut || (f->got == f->sent && f->came == f->marks), "all before the end");
	f->over = true;
}

static void compare(const struct flow *f, const struct mark *m, const struct set *set, size_t n, const char *buf)
{
	must(memcmp(buf, f->bytes + f->got % PERIOD, n) == 0, "the bytes that were sent");
	must(set->count == (m ? m->count : 0), "descriptors with the message that had them");
	if (set->count)
		must(inode(set->fd[0]) == m->first && inode(set->fd[set->count - 1]) == m->last, "the descriptors that were sent");
	for (size_t i = 0; i < set->count; i++)
		must(fcntl(set->fd[i], F_GETFD) == FD_CLOEXEC, "an open descriptor, close-on-exec");
}

/* Read LEN bytes from SIDE, or a packet; of a stream no further than a message with descriptors, and of that a byte. Returns
 * whether there was something. */
static bool read_some(struct world *w, int side, size_t len)
{
	struct flow *f = &w->flow[!side];
	const struct mark *m = f->came < f->marks ? &f->mark[f->came] : NULL;
	struct set set = {0};
	if (w->sock[side] == -1 || f->over)
		return false;
	if (packets(w))
		len = MOST;
	else if (m && m->at == f->got)
		len = 1;
	else if (m && m->at - f->got < len)
		len = m->at - f->got;
	ssize_t n = rights_receive(w->sock[side], &set, w->buf, len, NULL);
	must(n >= 0 || errno == EAGAIN || errno == ENOTCONN, "a read that works");
	bool empty = packets(w) && m && !m->len && !m->count;
	if (empty && (n > 0 || set.count)) {
		skip_empty(f);
		m = f->came < f->marks ? &f->mark[f->came] : NULL;
	}
	bool end = n == 0 && !set.count && !empty;
	if (end)
		end_comes(f);
	else if (n >= 0) {
		must(f->sent - f->got >= (size_t)n && (!packets(w) || (m && m->len == (size_t)n)), "no more than was sent");
		bool here = m && m->at == f->got;
		compare(f, here ? m : NULL, &set, (size_t)n, w->buf);
		f->came += here;
		f->got += (size_t)n;
	}
	set_close(&set);
	return n >= 0 && !end;
}

/* ---- leaving ---- */

static void end_writing(struct world *w, int side)
{
	/* Kernel: the peer of a datagram socket does not see it. */
	if (w->type == SOCK_DGRAM || w->sock[side] == -1)
		return;
	shutdown(w->sock[side], SHUT_WR);
	w->flow[side].ended = true;
}

static void leave(struct world *w, int side, bool reads_no_more)
{
	if (w->sock[side] == -1 || (w->type == SOCK_DGRAM && w->sock[!side] == -1))
		return;
	w->flow[!side].cut = w->flow[!side].over = true;
	/* Kernel: whoever then writes to a datagram socket loses what had come from it (unix_dgram_disconnected). */
	w->flow[side].cut = w->flow[side].cut || w->type == SOCK_DGRAM;
	if (reads_no_more && w->type != SOCK_DGRAM) {
		shutdown(w->sock[side], SHUT_RD);
		return;
	}
	close(w->sock[side]);
	w->sock[side] = -1;
	w->flow[side].ended = true;
}

/* ---- what happens meanwhile ---- */

/* Of a direction, what neither queue has is held. */
static void check_held(const struct world *w, int side)
{
	const struct flow *f = &w->flow[side];
	const struct way *way = &w->relay.way[side];
	int before, after;
	must(way->set.count <= FDS_PER_MESSAGE, "one message's descriptors held at most");
	if (packets(w) || f->cut || w->sock[side] == -1 || ioctl(w->inner[side], FIONREAD, &before) == -1 ||
	    ioctl(w->sock[!side], FIONREAD, &after) == -1)
		return;
	size_t held = f->sent - f->got - (size_t)before - (size_t)after;
	must(held <= HELD, "one message held at most");
	must(held || !way->set.count, "descriptors held no longer than their byte");
}

static void fail_next(struct world *w, unsigned kind)
{
	static const int errors[] = {EAGAIN, ENOBUFS, ETOOMANYREFS, ENOMEM, EINTR, EAGAIN, EPERM, EPIPE};
	fail_sending(errors[kind]);
	/* After these all may be lost, in the direction that sends next; a datagram socket's directions end together. */
	if (errors[kind] == EPIPE || errors[kind] == EPERM)
		w->flow[0].cut = w->flow[1].cut = true;
}

/* The input is over: all is read, one direction ends, and then the other. */
static bool finish(struct world *w)
{
	bool any = false, more = false;
	for (int i = 0; i < 2; i++) {
		while (read_some(w, i, MOST))
			any = true;
		bool ends = !w->flow[i].ended && w->type != SOCK_DGRAM && (i == 0 || w->flow[0].over || w->flow[0].cut);
		any = any || ends;
		if (ends)
			end_writing(w, i);
	}
	for (int i = 0; i < 2; i++)
		more = more || w->type != SOCK_DGRAM || (w->flow[i].came < w->flow[i].marks && !w->flow[i].cut);
	if (more)
		return any;
	/* Kernel: only a writer sees that a datagram socket's peer is gone. */
	leave(w, 1, false);
	return send(w->sock[w->sock[0] == -1], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static bool step(void *arg)
{
	static const size_t sizes[] = {1, 2, 3, 17, 256, 5000, 60000, MOST};
	struct world *w = arg;
	check_held(w, 0);
	check_held(w, 1);
	if (w->rest) {
		w->rest--;
		return true;
	}
	if (!w->input->left)
		return finish(w);
	unsigned what = take_byte(w->input), kind = what >> 5;
	int side = what >> 4 & 1;
	if (what % 16 < 6)
		send_one(w, side, packets(w) && (kind == 4 || kind == 6) ? 0 : sizes[take_byte(w->input) % 8],
		         kind == 7 ? FDS_PER_MESSAGE : kind % 4);
	else if (what % 16 < 10)
		read_some(w, side, sizes[kind]);
	else if (what % 16 == 10 && kind < 4)
		end_writing(w, side);
	else if (what % 16 == 11 && kind < 2)
		leave(w, side, kind);
	else if (what % 16 == 12)
		fail_next(w, kind);
	else if (what % 16 == 13)
		shorten(1 + take_byte(w->input), 0);
	else if (what % 16 == 14)
		shorten(0, 1 + take_byte(w->input));
	else if (what % 16 == 15)
		w->rest = kind + 1;
	return true;
}

static void open_world(struct world *w, const struct cli *c, unsigned kind)
{
	static const int types[] = {SOCK_STREAM, SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	static char bytes[2][MOST + PERIOD];
	int small = 1;
	w->type = types[kind % 4];
	w->relay = (struct relay){.cli = c, .object = "s", .type = w->type};
	for (int i = 0; i < 2; i++) {
		int pair[2];
		make_pair(w->type, pair);
		w->sock[i] = pair[0];
		w->inner[i] = pair[1];
		w->relay.side[i] = (struct side){.fd = pair[1], .name = "s", .local = true, .uid = kind & 32 ? 0 : 1};
		/* Kernel: no less than 4608 bytes. */
		if (kind & 4U << i)
			must(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0, "a small queue");
		for (size_t k = bytes[i][0] ? MOST + PERIOD : 0; k < sizeof bytes[i]; k++)
			bytes[i][k] = (char)(i ? PERIOD - k % PERIOD : 1 + k % PERIOD);
		w->flow[i].bytes = bytes[i];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buf[MOST];
	struct input input = {.data = data, .left = size};
	static struct world w;
	w = (struct world){.input = &input, .buf = buf};
	fuzz_begin();
	unsigned kind = take_byte(&input), fails = take_byte(&input);
	const struct cli c = {.loud = kind >> 4 & 1};
	open_world(&w, &c, kind);
	meanwhile(step, &w);
	fail_allocation(fails > 240 ? fails - 240 : 0);
	int status = carry(&w.relay, -1, NEVER);
	fail_allocation(0);
	meanwhile(NULL, NULL);
	must(status == 0 || fails > 240 || w.flow[0].cut, "success");
	for (int i = 0; i < 2; i++) {
		must(status || !w.relay.way[i].set.count, "nothing left");
		set_close(&w.relay.way[i].set);
		free(w.relay.way[i].data);
		close(w.inner[i]);
		w.flow[i].ended = true;
		w.flow[i].cut = w.flow[i].cut || status;
	}
	for (int i = 0; i < 2; i++) {
		while (read_some(&w, i, MOST))
			;
		/* Kernel: a datagram socket shows no end. */
		if (w.type == SOCK_DGRAM && !w.flow[!i].over)
			end_comes(&w.flow[!i]);
		must(w.flow[!i].over, "an end");
		if (w.sock[i] != -1)
			close(w.sock[i]);
	}
	fuzz_end();
	return 0;
}
