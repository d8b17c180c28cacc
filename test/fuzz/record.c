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
	struct fds own = {0};
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
			fds_move(&own, &in->fds, r.fds);
	}
	fds_free(&own);
}

/* One piece: its descriptors, then its length, a line of that length, or a line's beginning. */
static void add(struct records *in, struct input *input)
{
	enum { PAD = 128 };
	char data[8 + PAD * 256];
	struct fds fds = {0};
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
	fds_free(&fds);
}

static void check_names(char **name, size_t count)
{
	for (size_t i = 0; name && i < count; i++)
		must(!name[i] || !parse_name(name[i]), "a name as names are");
	bool unique = true;
	for (size_t i = 0; name && i < count; i++)
		for (size_t j = 0; name[i] && j < i; j++)
			unique = unique && (!name[j] || strcmp(name[i], name[j]) != 0);
	const char *twice;
	must(!names_repeat(name, count, &twice) == unique, "names_repeat tells whether one is there twice");
}

static void names(struct input *input)
{
	char text[600], **name = NULL;
	size_t count = 0;
	for (unsigned n = take_byte(input) % 4; n; n--) {
		size_t more = 1 + take_byte(input) % 4;
		const char *list = take_text(input, take_byte(input) * 2, text, sizeof text);
		if (take_byte(input) & 1)
			fail_allocation(1 + n);
		int result = names_append(&name, count, *list == '-' ? NULL : list, more);
		fail_allocation(0);
		if (result == 0)
			count += more;
	}
	check_names(name, count);
	names_free(name, count);
}

/* A record that is written is read as it was. */
static void round_trip(struct input *input)
{
	char line[RECORD_MAX], names[300], why[300];
	size_t len = take_byte(input);
	struct record r = {.word = take_byte(input) % (RECORD_ENTRY + 1)}, got;
	r.text = take_bytes(input, &len);
	r.text_len = len;
	r.text = len ? r.text : NULL;
	r.id = take_byte(input) * 123456789;
	r.more = take_byte(input) & 1;
	r.slots = r.word == RECORD_SLOTS ? take_byte(input) << 20 : 0;
	r.names = take_text(input, take_byte(input), names, sizeof names);
	r.why = take_text(input, take_byte(input), why, sizeof why);
	for (char *c = names; *c; c++)
		*c = *c > ' ' && *c <= '~' ? *c : '_';
	printable(why, strlen(why));
	ssize_t n = record_format(line, sizeof line, &r);
	must(n > 0, "room for a short record");
	must(record_format(line, (size_t)n - 1, &r) == -1, "no room for a byte more than there is");
	record_format(line, (size_t)n, &r);
	struct records in = {0};
	must(records_add(&in, line, (size_t)n, &(struct fds){0}) == 0 && records_next(&in, &got) == 1, "a record");
	must(got.word == r.word && got.id == r.id && got.more == r.more && got.slots == r.slots, "its figures");
	must(strcmp(got.names, r.names) == 0 && strcmp(got.why, r.why) == 0, "its names and reason");
	must(got.text_len == r.text_len && (!len || memcmp(got.text, r.text, len) == 0), "its text");
	must(records_next(&in, &got) == 0, "one record");
	records_free(&in);
}

/* What set_send sends in several messages is one set, with its text and its names. */
static void send_set(struct input *input)
{
	char text[SET_TEXT_MAX], data[RECORD_MAX], **name = NULL;
	int pair[2], null = dup(0);
	make_pair(SOCK_STREAM, pair);
	struct delivery set = {.text = text, .len = 1 + take_byte(input) * 32};
	size_t count = 1 + take_byte(input), wide = take_byte(input), step = 1 + take_byte(input);
	memset(text, (int)take_byte(input), set.len);
	set.name = calloc(count, sizeof *set.name);
	set.names = count;
	for (size_t i = 0; i < count; i++) {
		must(fds_add(&set.fds, null) == 0, "memory");
		set.name[i] = i % step ? NULL : malloc(256);
		if (set.name[i])
			snprintf(set.name[i], 256, "%0*zu", (int)(wide > 5 ? wide : 5), i);
	}
	must(set_send(pair[0], &set, true, now()) == 0, "a set sent");
	struct records in = {0};
	struct record r = {.more = true};
	for (size_t got = 0, n; r.more; got += n) {
		struct fds fds = {0}, own = {0};
		ssize_t len = rights_receive(pair[1], &fds, data, sizeof data, NULL);
		must(len > 0 && records_add(&in, data, (size_t)len, &fds) == 0 && records_next(&in, &r) == 1, "a record each");
		n = r.fds;
		must(!got == !!r.text && (!r.text || (r.text_len == set.len && memcmp(r.text, text, set.len) == 0)), "the text, once");
		must(names_append(&name, got, r.names, n) == 0 && fds_move(&own, &in.fds, n) == 0, "its names");
		must(r.more ? !r.id : r.id == 1 && got + n == count, "an answer wanted for the last");
		fds_free(&own);
		fds_free(&fds);
	}
	must(name, "its names");
	for (size_t i = 0; i < count; i++)
		must(!set.name[i] == !name[i] && (!name[i] || strcmp(name[i], set.name[i]) == 0), "each name at its place");
	names_free(name, count);
	names_free(set.name, count);
	set.fds.count = 0;
	fds_free(&set.fds);
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
