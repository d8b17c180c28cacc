/* SPDX-License-Identifier: ISC */
/* Lines of the record form, read a second time as fdkit-protocol(7) says it, in pieces, and after they were written again. */
#include "exhaust.h"
#include "parse.h"
#include "record.h"
#include "set.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FDS = 2 };               /* descriptors that have come */

static const char *const word[] = {"set", "taken", "refused", "hello", "slots", "done", "get", "list", "drop", "entry", "run",
                                   "takes", "signal", "stopped", "ended"};

/* What a line says. */
struct line {
	bool valid, more, cwd, tty, args;
	size_t word, fds, n, words, status, signal, names_len, text_len, why_len;
	uint64_t id;
	const char *names, *why;
	char text[LENGTH_MOST * 24];
};

static bool is(const char *field, size_t len, const char *key)
{
	return len == strlen(key) && memcmp(field, key, len) == 0;
}

/* LEN digits, MIN to MAX; else the line is invalid. */
static uint64_t figure(struct line *l, const char *text, size_t len, uint64_t min, uint64_t max)
{
	uint64_t n = 0;
	bool valid = len > 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9' || n > (UINT64_MAX - 9) / 10) {
			l->valid = false;
			return 0;
		}
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	l->valid = l->valid && valid && n >= min && n <= max;
	return n;
}

static void decoded(struct line *l, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef0123456789ABCDEF";
	l->text_len = 0;
	for (size_t i = 0; i < len; i++) {
		const char *high = NULL, *low = NULL;
		if (text[i] == '%' && i + 2 < len) {
			high = memchr(hex, text[i + 1], sizeof hex - 1);
			low = memchr(hex, text[i + 2], sizeof hex - 1);
		}
		if (text[i] == '%' && (!high || !low)) {
			l->valid = false;
			return;
		}
		l->text[l->text_len++] = (char)(high ? ((high - hex) & 15) << 4 | ((low - hex) & 15) : text[i]);
		i += high ? 2 : 0;
	}
	l->valid = l->valid && len > 0;
}

static void field(struct line *l, const char *f, size_t len)
{
	const char *equals = memchr(f, '=', len);
	size_t key = equals ? (size_t)(equals - f) : len, left = equals ? len - key - 1 : 0;
	const char *value = f + key + 1;
	l->args = l->args || is(f, key, "args");
	if (!equals) {
		l->more = l->more || is(f, key, "more");
		l->cwd = l->cwd || is(f, key, "cwd");
		l->tty = l->tty || is(f, key, "tty");
	} else if (is(f, key, "fds")) {
		l->fds = (size_t)figure(l, value, left, 0, 253);
	} else if (is(f, key, "n")) {
		l->n = (size_t)figure(l, value, left, 0, INT_MAX);
	} else if (is(f, key, "args")) {
		l->words = (size_t)figure(l, value, left, 0, INT_MAX);
	} else if (is(f, key, "status")) {
		l->status = (size_t)figure(l, value, left, 0, 255);
	} else if (is(f, key, "signal")) {
		l->signal = (size_t)figure(l, value, left, 0, 127);
	} else if (is(f, key, "id")) {
		l->id = figure(l, value, left, 1, INT64_MAX);
	} else if (is(f, key, "names")) {
		l->names = value;
		l->names_len = left;
	} else if (is(f, key, "text")) {
		decoded(l, value, left);
	}
}

/* TEXT is what stands behind "fdkit/1 ". */
static struct line read_line(const char *text, size_t len)
{
	struct line l = {.valid = !memchr(text, '\0', len), .status = SIZE_MAX};
	const char *end = text + len, *space = memchr(text, ' ', len);
	size_t first = space ? (size_t)(space - text) : len;
	while (l.word < sizeof word / sizeof *word && !is(text, first, word[l.word]))
		l.word++;
	l.valid = l.valid && l.word < sizeof word / sizeof *word;
	for (const char *f = space ? space + 1 : NULL; f && l.valid; f = space ? space + 1 : NULL) {
		if (end - f >= 4 && memcmp(f, "why=", 4) == 0) {
			l.why = f + 4;
			l.why_len = (size_t)(end - f) - 4;
			break;
		}
		space = f < end ? memchr(f, ' ', (size_t)(end - f)) : NULL;
		field(&l, f, space ? (size_t)(space - f) : (size_t)(end - f));
	}
	l.valid = l.valid && l.fds <= FDS;
	return l;
}

static bool same_text(const char *got, size_t len, const char *text, size_t text_len)
{
	return !got == !text && (!got || (len == text_len && memcmp(got, text, len) == 0));
}

static bool same(const struct record *r, const struct line *l)
{
	char why[LENGTH_MOST * 24 + 1];
	if (l->why) {
		memcpy(why, l->why, l->why_len);
		printable(why, l->why_len);
	}
	return r->word == (enum record_word)l->word && r->fds == l->fds && r->n == l->n && r->id == l->id && r->more == l->more &&
	       r->cwd == l->cwd && r->tty == l->tty && r->args == l->args && r->words == l->words && r->status == l->status &&
	       r->signal == l->signal && same_text(r->names, r->names ? strlen(r->names) : 0, l->names, l->names_len) &&
	       same_text(r->text, r->text_len, l->text_len ? l->text : NULL, l->text_len) &&
	       same_text(r->why, r->why ? strlen(r->why) : 0, l->why ? why : NULL, l->why_len);
}

/* Read LINE in two pieces, the first of PART bytes. */
static int read_pieces(struct records *in, const char *line, size_t len, size_t part, struct record *r)
{
	struct set none = {0};
	in->fds.count = FDS;
	must_be(records_add(in, line, part, &none) == 0, "room", line, len);
	if (part < len) {
		must_be(records_next(in, r) == 0, "no line before its newline", line, len);
		must_be(records_add(in, line + part, len - part, &none) == 0, "room", line, len);
	}
	int got = records_next(in, r);
	must_be(in->start == in->end, "one line", line, len);
	return got;
}

/* What record_format writes of R, without what only other words have, is read as R. */
static void write_again(const struct record *r, const char *text, size_t len)
{
	char line[1024];
	struct records in = {0};
	struct record got;
	ssize_t n = record_format(line, sizeof line, r);
	must_be(n > 0 && record_format(line, (size_t)n - 1, r) == -1 && record_format(line, (size_t)n, r) == n, "a line written", text, len);
	must_be(read_pieces(&in, line, (size_t)n, (size_t)n, &got) == 1, "what was written is read", line, (size_t)n);
	bool ends = r->word == RECORD_ENDED, runs = r->word == RECORD_RUN;
	must_be(got.word == r->word && got.fds == r->fds && got.n == r->n && got.id == r->id && got.more == r->more && got.cwd == r->cwd &&
	        got.tty == r->tty && got.args == r->args && (!runs || !r->args || got.words == r->words), "the same figures", text, len);
	must_be(!ends || (got.signal == r->signal && (r->signal || got.status == r->status)), "the same end", text, len);
	must_be(same_text(got.text, got.text_len, r->text, r->text_len), "the same text", text, len);
	must_be(same_text(got.why, got.why ? strlen(got.why) : 0, r->why, r->why ? strlen(r->why) : 0), "the same reason", text, len);
	free(in.data);
}

static void record(const char *text, size_t len)
{
	char line[LENGTH_MOST * 24 + 16];
	struct line l = read_line(text, len);
	memcpy(line, "fdkit/1 ", 8);
	memcpy(line + 8, text, len);
	line[8 + len] = '\n';
	if (memchr(text, '\n', len))
		return;
	for (size_t part = 1; part <= len + 9; part += part == 1 ? len + 8 : len + 9) {
		struct records in = {0};
		struct record r;
		int got = read_pieces(&in, line, len + 9, part, &r);
		must_be(got == (l.valid ? 1 : -1) && (!l.valid || same(&r, &l)), "a record", text, len);
		if (l.valid && part > 1 && (r.word != RECORD_ENDED || r.signal || r.status != SIZE_MAX))
			write_again(&r, text, len);
		free(in.data);
	}
}

/* All bytes where a field, and where a value, stands. */
static void in_a_field(const char *text, size_t len)
{
	static const char *const before[] = {"set fds=1 ", "taken id=", "entry text=", "refused why=", "set fds=1 names=", "slots n="};
	char line[64] = "";
	for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
		size_t n = strlen(before[i]);
		memcpy(line, before[i], n);
		memcpy(line + n, text, len);
		record(line, n + len);
	}
}

void records_exhausted(int full)
{
	static const char *const tokens[] = {" ", "=", "set", "ended", "run", "fds", "id", "n", "names", "text", "why", "more", "args",
		"status", "signal", "cwd", "0", "1", "253", "254", "%", "%4", "%41", "%00", ",", "x", NULL};
	static const char *const fields[] = {"set", "ended", "run", "takes", "refused", " fds=0", " fds=1", " fds=3", " id=0", " id=9223372036854775807",
		" id=9223372036854775808", " n=2147483647", " n=2147483648", " status=255", " status=256", " signal=127", " signal=128", " args",
		" args=7", " argsx", " args=", " more", " more=1", " cwd", " tty", " names=a,b", " names=", " text=%25%zZ", " text=a%0ab", " text=",
		" why=", " why=a b=c", " later=1", " ", "x", NULL};
	size_t more = full ? 1 : 0;
	printf("records   %10lu\n", each_byte(0, 2 + more, record) + 6 * each_byte(0, 2, in_a_field) + each_of(tokens, 4 + more, record) +
	       each_of(fields, 3 + more, record));
}
