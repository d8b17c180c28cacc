/* SPDX-License-Identifier: ISC */
/* The dispatcher's side of the worker channel: workers that are honest, slow, gone or rubbish, in any order.
 * Whatever they do, a connection is acknowledged once at most, and held until it is. */
#include "fuzz.h"
#include "fdserve_dispatch.h"
#include "closer.h"
#include "door.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 6, CONNECTIONS = 24 };

/* A connection: the client's end, and what became of the other. */
struct client {
	int sock;
	ino_t ino;
	int taken;              /* by so many workers that are honest */
	bool strayed;           /* one that is not has had it */
};

struct got {
	struct client *client;
	uint64_t id;
	bool taken;
};

/* A worker's end of its channel. */
struct far {
	int sock;
	bool there, rogue;
	struct records in;
	struct got got[CONNECTIONS];
	size_t count;
};

struct world {
	struct dispatch d;
	struct share *sources;
	struct far far[WORKERS];
	struct client client[CONNECTIONS];
	size_t clients;
	bool troubled;          /* memory or sockets failed */
	bool doubled;           /* a worker may have been given up, with a connection in its queue that another gets */
};

static void got_one(struct world *w, struct far *f, int fd, uint64_t id)
{
	ino_t ino = inode(fd);
	size_t i = 0;
	while (i < w->clients && w->client[i].ino != ino)
		i++;
	must(i < w->clients, "a connection that was given");
	struct client *c = &w->client[i];
	c->strayed = c->strayed || f->rogue;
	if (w->d.plain) {
		must(++c->taken == 1, "a connection sent once");
	} else if (f->count < CONNECTIONS) {
		f->got[f->count++] = (struct got){.client = c, .id = id};
	} else {
		c->strayed = true;
	}
}

/* Read all that the dispatcher sent to F. */
static void hear(struct world *w, struct far *f)
{
	char data[RECORD_MAX];
	struct record r;
	ssize_t n;
	if (!f->there)
		return;
	for (;;) {
		struct set fds = {0};
		n = rights_receive(f->sock, &fds, data, sizeof data, NULL);
		if (n <= 0)
			return;
		if (w->d.plain) {
			must(n == 1 && fds.count == 1, "the plain form");
			got_one(w, f, fds.fd[0], 0);
			set_close(&fds);
			continue;
		}
		must(records_add(&f->in, data, (size_t)n, &fds) == 0, "room for what a dispatcher says");
		set_close(&fds);
		while (f->in.start < f->in.end) {
			must(records_next(&f->in, &r) == 1, "whole lines");
			must(r.word == RECORD_HELLO || (r.word == RECORD_SET && r.id && r.fds == 1), "a dispatcher's word");
			if (r.word == RECORD_HELLO)
				continue;
			got_one(w, f, f->in.fds.fd[0], r.id);
			set_close(&f->in.fds);
		}
	}
}

/* Can it have been read? If not, whoever says so does not go on. */
static bool say(const struct far *f, const struct record *r)
{
	char line[RECORD_MAX];
	ssize_t len = record_format(line, sizeof line, r);
	return rights_send(f->sock, NULL, 0, line, (size_t)len) == len;
}

/* An honest worker answers what it has been sent; it executes nothing that it could not acknowledge. */
static void answer(struct far *f, unsigned how)
{
	if (!f->count)
		return;
	size_t i = (how >> 2) % f->count;
	struct got *g = &f->got[i];
	if (!g->taken && !(how & 2)) {
		g->taken = say(f, &(struct record){.word = RECORD_TAKEN, .id = g->id});
		if (g->taken && !f->rogue)
			must(++g->client->taken == 1 || g->client->strayed, "a connection acknowledged once");
		return;
	}
	say(f, &(struct record){.word = g->taken ? RECORD_DONE : RECORD_REFUSED, .id = g->id});
	*g = f->got[--f->count];
}

/* From here on F is not honest, nor can anybody know what becomes of what it has. */
static void go_astray(struct world *w, struct far *f)
{
	f->rogue = true;
	w->doubled = true;
	for (size_t i = 0; i < f->count; i++)
		f->got[i].client->strayed = true;
}

static void rubbish(struct world *w, struct far *f, struct input *input)
{
	char data[8 + 256] = "fdkit/1 ";
	struct set fds = {0};
	unsigned kind = take_byte(input);
	size_t len = take_byte(input), start = kind & 1 ? 8 : 0;
	const char *bytes = take_bytes(input, &len);
	if (len)
		memcpy(data + start, bytes, len);
	if (kind & 2)
		data[start + len++] = '\n';
	hear(w, f);
	go_astray(w, f);
	add_tokens(&fds, kind >> 6);
	if (start + len)
		rights_send(f->sock, fds.fd, fds.count, data, start + len);
	set_close(&fds);
}

static void flood(struct world *w, struct far *f, unsigned n)
{
	static const char pad[1024];
	go_astray(w, f);
	while (n--)
		rights_send(f->sock, NULL, 0, pad, sizeof pad);
}

/* F reads no more, so that nothing can be sent to it, or says no more. */
static void stop(struct world *w, const struct far *f, int how)
{
	w->doubled = true;
	shutdown(f->sock, how);
}

static void leave(struct world *w, struct far *f)
{
	hear(w, f);
	records_free(&f->in);
	close(f->sock);
	*f = (struct far){0};
}

static void come(struct world *w, struct far *f)
{
	int pair[2];
	make_pair(SOCK_STREAM, pair);
	*f = (struct far){.sock = pair[1], .there = true};
	if (dispatch_add(&w->d, pair[0]) == -1) {
		must(w->troubled, "no worker fails without a reason");
		leave(w, f);
	}
}

static void give(struct world *w, unsigned from)
{
	int pair[2];
	if (w->clients == CONNECTIONS)
		return;
	make_pair(SOCK_STREAM, pair);
	struct share *source = w->d.sources ? share_join(&w->sources, source_of_uid(from)) : NULL;
	w->client[w->clients++] = (struct client){.sock = pair[0], .ino = inode(pair[1])};
	if ((source || !w->d.sources) && dispatch_give(&w->d, pair[1], source) == 0)
		return;
	if (source)
		share_leave(&w->sources, source);
	must(w->troubled, "no connection fails without a reason");
	close(pair[1]);
	close(pair[0]);
	w->clients--;
}

static void check_figures(const struct world *w)
{
	const struct dispatch *d = &w->d;
	uint64_t sent = d->plain ? d->handed : d->acknowledged;
	must(w->clients == sent + d->pending, "what was given is pending or acknowledged");
	must(d->handed >= d->returned, "only what was handed over comes back");
	must(dispatch_room(d) <= dispatch_slots(d), "room for no more than the slots");
	size_t from = 0;
	for (const struct share *s = w->sources; s; s = s->next)
		from += s->connections;
	must(!d->sources || (from >= d->pending && from <= w->clients), "each is counted with its source");
}

/* Do all there is to do. That comes to an end: else the server would never sleep. What MEANWHILE, where not
 * NULL, says, it says between poll(2) and what follows that, LATE ms later. */
static void settle(struct world *w, struct far *meanwhile, unsigned late)
{
	for (int rounds = 0;; rounds++) {
		struct pollfd p[WORKERS * 8];
		must(rounds < 300, "that a dispatcher can sleep");
		must(w->d.workers <= sizeof p / sizeof *p, "as many workers as can be");
		dispatch_poll(&w->d, p);
		int ready = poll(p, w->d.workers, 0);
		int64_t until = dispatch_deadline(&w->d);
		if (ready == 0 && (until == NEVER || until > now() + late))
			break;
		clock_forward(late);
		for (size_t i = 0; meanwhile && meanwhile->there && i < meanwhile->count; i++)
			answer(meanwhile, (unsigned)i << 2);
		meanwhile = NULL;
		late = 0;
		dispatch_run(&w->d, p);
		dispatch_mute(&w->d);
		check_figures(w);
	}
	must(!dispatch_slots(&w->d) || dispatch_room(&w->d) == dispatch_slots(&w->d), "nobody waits while there is a slot");
}

/* Everybody has said everything: what nobody took is still there, what one took is not. */
static void check_end(struct world *w)
{
	char any;
	for (size_t i = 0; i < WORKERS; i++)
		hear(w, &w->far[i]);
	for (size_t i = 0; i < w->clients; i++) {
		const struct client *c = &w->client[i];
		bool closed = recv(c->sock, &any, 1, MSG_DONTWAIT) != -1;
		must(c->taken || c->strayed || !closed, "a connection that nobody took is open");
		must(!c->taken || c->strayed || w->doubled || w->d.sources || closed, "a connection that was taken is closed here");
	}
}

/* Do something while memory or the socket fails. */
static void in_trouble(struct world *w, bool memory, unsigned kind)
{
	static const int errors[] = {EAGAIN, ETOOMANYREFS, ENOBUFS, EPIPE};
	struct far *f = &w->far[kind % WORKERS];
	w->troubled = true;
	if (memory)
		fail_allocation(1 + (kind & 1));
	else
		fail_sending(errors[kind % 4]);
	w->doubled = w->doubled || (!memory && errors[kind % 4] == EPIPE);
	if (kind < 8)
		give(w, kind % 4);
	else if (kind < 12)
		settle(w, NULL, 0);
	else if (!f->there)
		come(w, f);
	fail_allocation(0);
	fail_sending(0);
}

static void step(struct world *w, struct input *input)
{
	unsigned what = take_byte(input), kind = what >> 4;
	struct far *f = &w->far[kind % WORKERS];
	if (what % 16 == 0 && !f->there)
		come(w, f);
	else if (what % 16 == 1)
		give(w, kind % 4);
	else if (what % 16 == 2)
		settle(w, kind ? f : NULL, kind & 8 ? 110 : 0);
	else if (what % 16 == 3)
		clock_forward(kind * 10);
	else if (what % 16 == 4 || what % 16 == 5)
		in_trouble(w, what % 16 == 4, kind);
	else if (f->there && what % 16 == 6)
		leave(w, f);
	else if (f->there && what % 16 == 7)
		stop(w, f, kind & 8 ? SHUT_RD : SHUT_WR);
	else if (f->there && what % 16 == 8)
		say(f, &(struct record){.word = RECORD_SLOTS, .n = take_byte(input) % 8});
	else if (f->there && what % 16 == 9)
		rubbish(w, f, input);
	else if (f->there && what % 16 == 10)
		flood(w, f, take_byte(input));
	else if (f->there && what % 16 == 11)
		hear(w, f);
	else if (f->there)
		answer(f, take_byte(input));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.data = data, .left = size};
	struct world w = {0};
	fuzz_begin();
	unsigned kind = take_byte(&input);
	w.d = (struct dispatch){.plain = kind & 1, .sources = kind & 2 ? &w.sources : NULL, .patience = kind & 4 ? 100 : NEVER};
	w.doubled = w.d.patience != NEVER;
	while (input.left) {
		step(&w, &input);
		check_figures(&w);
	}
	clock_forward(50);
	settle(&w, NULL, 0);
	check_end(&w);
	dispatch_close(&w.d);
	for (size_t i = 0; i < WORKERS; i++)
		if (w.far[i].there)
			leave(&w, &w.far[i]);
	for (size_t i = 0; i < w.clients; i++) {
		char any;
		must(recv(w.client[i].sock, &any, 1, MSG_DONTWAIT) == 0, "every connection closed at the end");
		close(w.client[i].sock);
	}
	fuzz_end();
	return 0;
}
