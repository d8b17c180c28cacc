/* SPDX-License-Identifier: ISC */
/* fdhold --list and --drop: a question to a store. */
#include "fdhold.h"
#include "messages.h"
#include "parse.h"
#include "record.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static _Noreturn void fail_form(const struct options *o)
{
	errx(FAILED, "%s: does not speak the record form", o->at.arg);
}

/* Handle one record of the store's answer. Returns whether it was the last. */
static bool show(const struct options *o, const struct record *r)
{
	if (r->word == RECORD_REFUSED)
		errx(FAILED, "%s: refused: %s", o->at.arg, r->why ? r->why : "no reason given");
	if (o->list && r->word == RECORD_ENTRY && r->text) {
		for (size_t i = 0, n; i < r->text_len; i += n ? n : 1) {
			n = r->text[i] == '\t' ? 1 : printable_length(r->text + i, r->text_len - i);
			fwrite(n ? r->text + i : "?", 1, n ? n : 1, stdout);
		}
		putchar('\n');
		return false;
	}
	if (r->word != RECORD_TAKEN || r->id != 1)
		fail_form(o);
	return true;
}

/* No answer, or no more of it. */
static _Noreturn void fail_answer(const struct options *o)
{
	if (errno == EPIPE || errno == ECONNRESET)
		exit(say_closed(&o->at, "without an answer"));
	fail(o->at.arg);
}

int ask(struct options *o)
{
	char data[4096];
	struct records in = {0};
	struct set none = {0};
	struct record r = {.word = o->list ? RECORD_LIST : RECORD_DROP, .names = o->drop, .id = 1};
	int64_t deadline = deadline_in(o->cli.timeout);
	if (endpoint_connect(&o->at, wait_deadline(&o->cli), deadline) == -1)
		exit(say_unconnected(o->at.arg));
	check_peer(&o->cli, &o->at);
	if (record_send(o->at.fd, &r, NULL, deadline) == -1)
		fail_answer(o);
	for (bool last = false; !last;) {
		int got = 0;
		ssize_t n = await(o->at.fd, POLLIN, deadline) == -1 ? -1 : recv(o->at.fd, data, sizeof data, 0);
		if (n == 0)
			errno = EPIPE;
		if (n <= 0 || records_add(&in, data, (size_t)n, &none) == -1)
			fail_answer(o);
		while (!last && (got = records_next(&in, &r)) == 1)
			last = show(o, &r);
		if (got == -1)
			fail_form(o);
		/* A peer that keeps sending cannot postpone the deadline. */
		errno = ETIMEDOUT;
		if (!last && time_left(deadline) == 0)
			fail_answer(o);
	}
	if (fflush(stdout) == EOF || ferror(stdout))
		err(FAILED, "standard output");
	return 0;
}
