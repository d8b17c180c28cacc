/* SPDX-License-Identifier: ISC */
/* The record form: any bytes in any pieces, with any number of descriptors; what is written is read as it was. */
#include "fuzz.h"
#include "inbox.h"
#include "parse.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Does the set's owner what its reader does: takes what the record says. */
static void read_all(struct records *in)
{
	struct record r;
	struct set own = {0};
	int got;
	while ((got = records_next(in, &r)) != 0) {
		must(in->start <= in->end && in->end <= RECORDS_ROOM, "a stream within its buffer");
		if (got == -1)
			continue;
		must(r.fds <= in->fds.count, "no more descriptors named than came");
		must(!r.text || (r.text_len && r.text_len < RECORD_MAX), "a text of some length");
		must(r.word <= RECORD_ENTRY, "a word that is known");
		for (const char *c = r.why; c && *c; c++)
			must((unsigned char)*c >= ' ' && *c != 0x7f, "a reason without control characters");
		if (r.word == RECORD_SET)
			set_move(&own, &in->fds, r.fds);
	}
	set_close(&own);
}

/* One piece: its descriptors, then its length, a line of that length, or a line's beginning. */
static void add(struct records *in, struct input *input)
{
	enum { PAD = 128 };
	char data[8 + PAD * 256];
	struct set fds = {0};
	unsigned kind = take_byte(input);
	size_t len = take_byte(input);
	add_tokens(&fds, kind >> 5);
	if (kind & 1) {
		memset(data, 'x', len *= PAD);
	} else {
		const char *bytes = take_bytes(input, &len);
		size_t start = kind & 2 ? 8 : 0;
		memcpy(data, "fdkit/1 ", start);
		if (len)
			memcpy(data + start, bytes, len);
		len += start;
		if (kind & 4)
			data[len++] = '\n';
	}
	if (kind & 8)
		fail_allocation(1 + len % 2);
	if (records_add(in, data, len, &fds) == 0)
		must(fds.count == 0, "descriptors move");
	fail_allocation(0);
	set_close(&fds);
}

static void names(struct input *input)
{
	char text[600];
	struct set set = {0};
	for (unsigned n = take_byte(input) % 4; n; n--) {
		size_t more = 1 + take_byte(input) % 4, before = set.count;
		const char *list = take_text(input, take_byte(input) * 2, text, sizeof text);
		while (set.count < before + more)
			must(set_add(&set, -1, NULL) == 0, "memory");
		if (take_byte(input) & 1)
			fail_allocation(1 + n);
		int result = set_name(&set, before, list);
		fail_allocation(0);
		for (size_t i = before; i < set.count; i++)
			must(!set.name[i] || (result == 0 && !parse_name(set.name[i])), "a name as names are, or none");
	}
	bool unique = true;
	for (size_t i = 0; i < set.count; i++)
		unique = unique && (!set.name[i] || set_find(&set, set.name[i]) == i);
	const char *twice;
	must(!set_repeats(&set, false, &twice) == unique, "set_repeats tells whether one is there twice");
	set_forget(&set);
}

/* A record that is written is read as it was. */
static void round_trip(struct input *input)
{
	char line[RECORD_MAX], names[300], why[300];
	size_t len = take_byte(input);
	struct record r = {.word = take_byte(input) % (RECORD_ENDED + 1)}, got;
	r.text = take_bytes(input, &len);
	r.text_len = len;
	r.text = len ? r.text : NULL;
	r.id = take_byte(input) * 123456789;
	r.more = take_byte(input) & 1;
	r.n = r.word == RECORD_SLOTS ? take_byte(input) << 20 : 0;
	r.names = take_text(input, take_byte(input), names, sizeof names);
	r.why = take_text(input, take_byte(input), why, sizeof why);
	for (char *c = names; *c; c++)
		*c = *c > ' ' && *c <= '~' ? *c : '_';
	printable(why, strlen(why));
	unsigned bits = take_byte(input);
	r.cwd = bits & 1;
	r.tty = bits & 2;
	r.args = bits & 4;
	r.words = r.word == RECORD_RUN && r.args ? take_byte(input) : 0;
	r.signal = r.word == RECORD_ENDED ? take_byte(input) & 127 : 0;
	r.status = r.word == RECORD_ENDED && !r.signal ? take_byte(input) : SIZE_MAX;
	ssize_t n = record_format(line, sizeof line, &r);
	must(n > 0, "room for a short record");
	must(record_format(line, (size_t)n - 1, &r) == -1, "no room for a byte more than there is");
	record_format(line, (size_t)n, &r);
	struct records in = {0};
	must(records_add(&in, line, (size_t)n, &(struct set){0}) == 0 && records_next(&in, &got) == 1, "a record");
	must(got.word == r.word && got.id == r.id && got.more == r.more && got.n == r.n, "its figures");
	must(got.cwd == r.cwd && got.tty == r.tty && got.args == r.args && got.words == r.words, "what a request brings");
	must(got.signal == r.signal && got.status == r.status, "an end");
	must(strcmp(got.names, r.names) == 0 && strcmp(got.why, r.why) == 0, "its names and reason");
	must(got.text_len == r.text_len && (!len || memcmp(got.text, r.text, len) == 0), "its text");
	must(records_next(&in, &got) == 0, "one record");
	records_free(&in);
}

/* What set_send sends in several messages is one set, with its text and its names. */
static void send_set(struct input *input)
{
	char text[SET_TEXT_MAX], data[RECORD_MAX], name[256];
	int pair[2], null = dup(0);
	make_pair(SOCK_STREAM, pair);
	struct set set = {0}, came = {0};
	size_t text_len = 1 + take_byte(input) * 32;
	size_t count = 1 + take_byte(input), wide = take_byte(input), step = 1 + take_byte(input);
	memset(text, (int)take_byte(input), text_len);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof name, "%0*zu", (int)(wide > 5 ? wide : 5), i);
		must(set_add(&set, null, i % step ? NULL : name) == 0, "memory");
	}
	for (size_t sent = 0; sent < count;) {
		ssize_t n = set_send(pair[0], &set, sent, text, text_len, true);
		must(n > 0, "a set sent");
		sent += (size_t)n;
	}
	struct records in = {0};
	struct record r = {.more = true};
	for (size_t got = 0; r.more; got = came.count) {
		struct set fds = {0};
		ssize_t len = rights_receive(pair[1], &fds, data, sizeof data, NULL);
		must(len > 0 && records_add(&in, data, (size_t)len, &fds) == 0 && records_next(&in, &r) == 1, "a record each");
		must(!got == !!r.text && (!r.text || (r.text_len == text_len && memcmp(r.text, text, text_len) == 0)), "the text, once");
		must(set_move(&came, &in.fds, r.fds) == 0 && set_name(&came, got, r.names) == 0, "its names");
		must(r.more ? !r.id : r.id == 1 && came.count == count, "an answer wanted for the last");
		set_close(&fds);
	}
	for (size_t i = 0; i < count; i++)
		must(!set.name[i] == !came.name[i] && (!came.name[i] || strcmp(came.name[i], set.name[i]) == 0), "each name at its place");
	set_close(&came);
	set_forget(&set);
	records_free(&in);
	close(pair[0]);
	close(pair[1]);
	close(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.data = data, .left = size};
	struct records in = {0};
	fuzz_begin();
	while (input.left)
		switch (take_byte(&input) % 8) {
		case 0: names(&input); break;
		case 1: round_trip(&input); break;
		case 2: send_set(&input); break;
		case 3: read_all(&in); break;
		case 4: records_free(&in); break;
		default: add(&in, &input);
		}
	read_all(&in);
	records_free(&in);
	fuzz_end();
	return 0;
}
