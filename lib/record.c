/* SPDX-License-Identifier: ISC */
/* The record form: a line of text beside the descriptors. fdkit-protocol(7) specifies it. */
#include "record.h"
#include "parse.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "fdkit/1 ";
enum { PREFIX = sizeof prefix - 1, FEW = 500 }; /* bytes of most lines */

static const char *const words[] = {
	[RECORD_SET] = "set", [RECORD_TAKEN] = "taken", [RECORD_REFUSED] = "refused",
	[RECORD_HELLO] = "hello", [RECORD_SLOTS] = "slots", [RECORD_DONE] = "done",
	[RECORD_GET] = "get", [RECORD_LIST] = "list", [RECORD_DROP] = "drop", [RECORD_ENTRY] = "entry",
	[RECORD_RUN] = "run", [RECORD_TAKES] = "takes", [RECORD_SIGNAL] = "signal", [RECORD_STOPPED] = "stopped",
	[RECORD_ENDED] = "ended",
};
enum { WORDS = sizeof words / sizeof *words };

bool may_be_record(const char *data, size_t len)
{
	return memcmp(data, prefix, len < PREFIX ? len : PREFIX) == 0;
}

bool is_record(const char *data, size_t len)
{
	return len >= PREFIX && may_be_record(data, len);
}

/* ---- writing ---- */

/* Can C stand in a field as it is? Other bytes are written as %XX. */
static bool plain(char c)
{
	return c > ' ' && c <= '~' && c != '%';
}

/* Append to LINE, which may hold SIZE bytes and holds *LEN; what does not fit only counts. */
static void put(char *line, size_t size, size_t *len, const char *text)
{
	for (; *text; text++, ++*len)
		if (*len < size)
			line[*len] = *text;
}

static void put_number(char *line, size_t size, size_t *len, const char *key, uint64_t n)
{
	char text[NUMBER_ROOM + 1];
	text[format_number(text, n)] = '\0';
	put(line, size, len, key);
	put(line, size, len, text);
}

static void put_text(char *line, size_t size, size_t *len, const char *text, size_t text_len)
{
	put(line, size, len, " text=");
	for (size_t i = 0; i < text_len; i++) {
		char c[4] = {text[i]};
		if (!plain(*c))
			snprintf(c, sizeof c, "%%%02X", (unsigned char)text[i]);
		put(line, size, len, c);
	}
}

ssize_t record_format(char *line, size_t size, const struct record *r)
{
	size_t len = 0;
	put(line, size, &len, prefix);
	put(line, size, &len, words[r->word]);
	if (r->word == RECORD_SET || r->fds)
		put_number(line, size, &len, " fds=", r->fds);
	if (r->id)
		put_number(line, size, &len, " id=", r->id);
	if (r->word == RECORD_SLOTS || r->n)
		put_number(line, size, &len, " n=", r->n);
	if (r->word == RECORD_ENDED)
		put_number(line, size, &len, r->signal ? " signal=" : " status=", r->signal ? r->signal : r->status);
	put(line, size, &len, r->more ? " more" : "");
	put(line, size, &len, r->late ? " late" : "");
	put(line, size, &len, r->cwd ? " cwd" : "");
	put(line, size, &len, r->tty ? " tty" : "");
	if (r->args && r->word == RECORD_RUN)
		put_number(line, size, &len, " args=", r->words);
	else if (r->args)
		put(line, size, &len, " args");
	if (r->env) {
		put(line, size, &len, " env=");
		put(line, size, &len, r->env);
	}
	if (r->names) {
		put(line, size, &len, " names=");
		put(line, size, &len, r->names);
	}
	if (r->text)
		put_text(line, size, &len, r->text, r->text_len);
	if (r->why) {
		put(line, size, &len, " why=");
		put(line, size, &len, r->why);
	}
	put(line, size, &len, "\n");
	if (len <= size)
		return (ssize_t)len;
	errno = EMSGSIZE;
	return -1;
}

/* In a frame of its own: it takes a page of the stack. */
__attribute__((noinline)) static int send_long(int sock, const struct record *r, const int *fd, int64_t deadline)
{
	char line[RECORD_MAX];
	ssize_t len = record_format(line, sizeof line, r);
	return len == -1 ? -1 : rights_send_all(sock, fd, fd ? r->fds : 0, line, (size_t)len, deadline);
}

int record_send(int sock, const struct record *r, const int *fd, int64_t deadline)
{
	char line[FEW];
	ssize_t len = record_format(line, sizeof line, r);
	return len == -1 ? send_long(sock, r, fd, deadline) : rights_send_all(sock, fd, fd ? r->fds : 0, line, (size_t)len, deadline);
}

/* ---- reading ---- */

static int hex(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode %XX in place. Returns the length, or -1. */
static ssize_t decode(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++) {
		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		int high = hex(from[1]), low = high == -1 ? -1 : hex(from[2]);
		if (low == -1)
			return -1;
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	return to - text;
}

/* An id is up to 2^63 - 1, whatever a long is here. */
static bool parse_id(uint64_t *id, const char *value)
{
	char *end;
	errno = 0;
	*id = isdigit((unsigned char)*value) ? strtoull(value, &end, 10) : 0;
	return *id && !*end && !errno && *id <= INT64_MAX;
}

static const struct { const char *name; size_t offset; long most; } numbers[] = {
	{"fds", offsetof(struct record, fds), FDS_PER_MESSAGE},
	{"n", offsetof(struct record, n), INT_MAX},
	{"args", offsetof(struct record, words), INT_MAX},
	{"status", offsetof(struct record, status), 255},
	{"signal", offsetof(struct record, signal), 127},
};

static bool parse_field(struct record *r, char *field)
{
	char *value = strchr(field, '=');
	if (value)
		*value++ = '\0';
	r->args = r->args || strcmp(field, "args") == 0;
	if (!value) {
		r->more = r->more || strcmp(field, "more") == 0;
		r->late = r->late || strcmp(field, "late") == 0;
		r->cwd = r->cwd || strcmp(field, "cwd") == 0;
		r->tty = r->tty || strcmp(field, "tty") == 0;
		return true;
	}
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		long n;
		if (strcmp(field, numbers[i].name) != 0)
			continue;
		if (parse_number(&n, value, 0, numbers[i].most))
			return false;
		*(size_t *)(void *)((char *)r + numbers[i].offset) = (size_t)n;
		return true;
	}
	if (strcmp(field, "id") == 0)
		return parse_id(&r->id, value);
	if (strcmp(field, "names") == 0)
		r->names = value;
	if (strcmp(field, "text") == 0) {
		ssize_t len = decode(value);
		r->text = value;
		r->text_len = (size_t)len;
		return len > 0;
	}
	return true; /* a field that is not known is for a later reader */
}

/* LINE, NUL-terminated and without its newline, is cut up; the record points into it. */
static bool parse_line(struct record *r, char *line)
{
	*r = (struct record){.status = SIZE_MAX};
	char *rest = line + PREFIX;
	const char *word = strsep(&rest, " ");
	size_t w = 0;
	while (w < WORDS && strcmp(word, words[w]) != 0)
		w++;
	r->word = (enum record_word)w;
	while (rest && strncmp(rest, "why=", 4) != 0)
		if (!parse_field(r, strsep(&rest, " ")))
			return false;
	/* The last field is all that is left of the line, and meant for a terminal. */
	r->why = rest ? rest + 4 : NULL;
	if (rest)
		printable(rest, strlen(rest));
	return w < WORDS;
}

static int make_room(struct records *in, size_t room)
{
	char *grown = realloc(in->data, room);
	if (!grown)
		return -1;
	in->data = grown;
	in->room = room;
	return 0;
}

int records_reserve(struct records *in)
{
	return make_room(in, FEW);
}

size_t records_room(const struct records *in)
{
	size_t left = in->end - in->start;
	return left < in->room ? in->room - left : RECORDS_ROOM;
}

int records_add(struct records *in, const char *data, size_t len, struct set *fds)
{
	if (in->start) {
		memmove(in->data, in->data + in->start, in->end - in->start);
		in->end -= in->start;
		in->start = 0;
	}
	/* Only the line that has begun has descriptors here: so moving some from the front is never much work. */
	if (in->end + len > RECORDS_ROOM || in->fds.count > FDS_PER_MESSAGE) {
		errno = EPROTO;
		return -1;
	}
	if (in->end + len > in->room && make_room(in, in->end + len > FEW ? RECORDS_ROOM : FEW) == -1)
		return -1;
	if (len)
		memcpy(in->data + in->end, data, len);
	in->end += len;
	return set_move(&in->fds, fds, fds->count);
}

int records_next(struct records *in, struct record *r)
{
	size_t left = in->end - in->start;
	if (!left)
		return 0;
	char *line = in->data + in->start, *newline = memchr(line, '\n', left);
	size_t len = newline ? (size_t)(newline - line) : left;
	if (!newline && left < RECORD_MAX)
		return 0;
	errno = EPROTO;
	in->start += newline ? len + 1 : left;
	if (!newline || len >= RECORD_MAX || !is_record(line, len) || memchr(line, '\0', len))
		return -1;
	*newline = '\0';
	return parse_line(r, line) && r->fds <= in->fds.count ? 1 : -1;
}

void records_free(struct records *in)
{
	set_close(&in->fds);
	free(in->data);
	*in = (struct records){0};
}

/* ---- sets ---- */

ssize_t set_send(int sock, const struct set *set, size_t sent, const char *text, size_t text_len, bool answered)
{
	char names[RECORD_MAX - 3 * SET_TEXT_MAX - 256];
	size_t n = set_names(set, sent, FDS_PER_MESSAGE, names, sizeof names);
	bool last = sent + n == set->count;
	const struct record r = {
		.word = RECORD_SET, .fds = n, .more = !last, .id = last && answered,
		.names = set_named(set) ? names : NULL, .text = sent ? NULL : text, .text_len = text_len,
	};
	return record_send(sock, &r, set->fd + sent, AT_ONCE) == -1 ? -1 : (ssize_t)n;
}
