/* SPDX-License-Identifier: ISC */
/* lib/parse.c and set_parse: what is accepted, and its value. */
#include "exhaust.h"
#include "parse.h"
#include "set.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The value of LEN digits at TEXT to BASE, UINT64_MAX if it is greater. Returns whether all are digits, and there is one. */
static bool value_of(const char *text, size_t len, unsigned base, uint64_t *n)
{
	*n = 0;
	for (size_t i = 0; i < len; i++) {
		uint64_t d = (uint64_t)(text[i] - '0');
		if (text[i] < '0' || d >= base)
			return false;
		*n = *n > (UINT64_MAX - d) / base ? UINT64_MAX : *n * base + d;
	}
	return len;
}

static void number(const char *text, size_t len)
{
	static const struct { long min, max; } range[] = {{0, 255}, {3, 65535}, {1, INT_MAX}, {0, LONG_MAX}};
	uint64_t n;
	bool digits = value_of(text, len, 10, &n);
	for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
		long got = -7;
		bool valid = digits && n >= (uint64_t)range[i].min && n <= (uint64_t)range[i].max;
		must_be(!parse_number(&got, text, range[i].min, range[i].max) == valid && got == (valid ? (long)n : -7), "a number", text, len);
	}
}

static void mode(const char *text, size_t len)
{
	uint64_t n;
	bool valid = value_of(text, len, 8, &n) && n <= 0777;
	mode_t got = 07777;
	must_be(!parse_mode(&got, text) == valid && got == (valid ? (mode_t)n : 07777), "a mode", text, len);
}

/* Seconds, rounded up to milliseconds; -1 for no time. */
static int64_t time_of(const char *text)
{
	static const struct { const char *name; int64_t ms; } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	size_t whole = 0, after = 0;
	int64_t n = 0, scale = 1;
	while (digit(text[whole]))
		whole++;
	const char *rest = text + whole;
	if (*rest == '.')
		for (rest++; digit(rest[after]); after++)
			;
	if (!whole && !after)
		return -1;
	for (size_t i = 0; i < whole; i++)
		n = n * 10 + (text[i] - '0');
	for (size_t i = 0; i < after; i++, scale *= 10)
		n = n * 10 + (rest[i] - '0');
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(rest + after, units[i].name) == 0)
			return (n * units[i].ms + scale - 1) / scale;
	return -1;
}

static void duration(const char *text, size_t len)
{
	int64_t ms = time_of(text), got = -7;
	const char *why = parse_time(&got, text);
	must_be(!why == (ms >= 0) && got == (ms >= 0 ? ms : -7), "a time", text, len);
}

static void name(const char *text, size_t len)
{
	bool valid = len > 0;
	for (size_t i = 0; i < len; i++)
		valid = valid && text[i] >= 0x21 && text[i] <= 0x7e && text[i] != ':' && text[i] != '=' && text[i] != ',';
	must_be(!parse_name(text) == valid, "a name", text, len);
}

static void type(const char *text, size_t len)
{
	int got = -7, is = strcmp(text, "stream") == 0 ? SOCK_STREAM : strcmp(text, "dgram") == 0 ? SOCK_DGRAM :
	                   strcmp(text, "seqpacket") == 0 ? SOCK_SEQPACKET : -7;
	must_be(!parse_type(&got, text) == (is != -7) && got == is, "a type", text, len);
}

/* The Unicode Standard, table 3-7: the bytes of a well-formed character; and no control character. */
static size_t character(const unsigned char *p, size_t left)
{
	static const struct { unsigned char low, high, low2, high2; size_t len; } row[] = {
		{0x20, 0x7e, 0, 0, 1}, {0xc2, 0xc2, 0xa0, 0xbf, 2}, {0xc3, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		if (*p < row[i].low || *p > row[i].high)
			continue;
		bool valid = row[i].len <= left && (row[i].len == 1 || (p[1] >= row[i].low2 && p[1] <= row[i].high2));
		for (size_t k = 2; valid && k < row[i].len; k++)
			valid = p[k] >= 0x80 && p[k] <= 0xbf;
		return valid ? row[i].len : 0;
	}
	return 0;
}

static void shown(const char *text, size_t len)
{
	if (!len)
		return;
	/* Without its NUL: nothing behind the last byte may be looked at. */
	char *copy = malloc(len);
	if (!copy)
		exit(1);
	memcpy(copy, text, len);
	must_be(printable_length(copy, len) == character((const unsigned char *)text, len), "a character", text, len);
	printable(copy, len);
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = character((const unsigned char *)text + i, len - i);
		must_be(n ? memcmp(copy + i, text + i, n) == 0 : copy[i] == '?', "what may be shown", text, len);
	}
	free(copy);
}

/* One word of -f: how many descriptors it names, 0 if it is none. */
static size_t item(const char *word, size_t len, bool bare)
{
	const char *equals = memchr(word, '=', len), *dash = memchr(word, '-', len);
	size_t first = equals ? (size_t)(equals - word) : dash ? (size_t)(dash - word) : len;
	uint64_t n, last;
	bool digits = equals ? value_of(equals + 1, len - first - 1, 10, &n) : value_of(word, first, 10, &n);
	if (equals || !len || !digit(*word)) {
		size_t name_len = equals ? first : len;
		bool valid = name_len && (equals ? digits && n <= INT_MAX : bare);
		for (size_t i = 0; i < name_len; i++)
			valid = valid && word[i] >= 0x21 && word[i] <= 0x7e && word[i] != ':';
		return valid;
	}
	last = n;
	if (dash)
		digits = value_of(dash + 1, len - first - 1, 10, &last) && digits;
	return digits && n <= last && last <= INT_MAX && last - n < 1 << 20 ? (size_t)(last - n + 1) : 0;
}

static void list_of(const char *text, size_t len, bool bare)
{
	struct set set = {0};
	size_t count = 0;
	bool valid = true;
	for (const char *word = text, *comma; word; word = comma ? comma + 1 : NULL) {
		comma = strchr(word, ',');
		size_t n = item(word, comma ? (size_t)(comma - word) : strlen(word), bare);
		valid = valid && n;
		count += n;
	}
	must_be(!set_parse(&set, text, bare) == valid && (!valid || set.count == count), "a list of descriptors", text, len);
	set_forget(&set);
}

static void list(const char *text, size_t len)
{
	list_of(text, len, false);
	list_of(text, len, true);
}

static void format(void)
{
	for (uint64_t n = 0, i = 0; i < 64; i++)
		for (int d = -1; d <= 1; d++) {
			char text[NUMBER_ROOM + 1], is[32];
			n = ((uint64_t)1 << i) + (uint64_t)d;
			text[format_number(text, n)] = '\0';
			snprintf(is, sizeof is, "%llu", (unsigned long long)n);
			must_be(strcmp(text, is) == 0, "a number written", is, strlen(is));
		}
}

/* Numbers about the end of what a long holds. */
static void long_numbers(void)
{
	char text[64];
	for (int zeros = 0; zeros < 20; zeros++)
		for (int last = 0; last < 1000; last++) {
			int len = snprintf(text, sizeof text, "%0*d9223372036854775%03d", zeros, 0, last);
			number(text, (size_t)len);
			len = snprintf(text, sizeof text, "%llu", (unsigned long long)LONG_MAX - 500 + (unsigned)last);
			number(text, (size_t)len);
		}
}

void words_exhausted(int full)
{
	static const char *const for_numbers[] = {"0", "1", "2", "5", "9", "+", "-", " ", ".", "x", NULL};
	static const char *const for_times[] = {"0", "1", "5", "9", ".", "m", "s", "h", NULL};
	static const char *const for_lists[] = {"0", "1", "7", "-", ",", "=", "a", ":", NULL};
	static const char *const for_names[] = {"a", ":", "=", ",", " ", "~", "\x7f", "\x80", "\xff", "\t", NULL};
	static const char *const for_types[] = {"stream", "dgram", "seqpacket", "s", " ", NULL};
	static const char *const for_text[] = {"\x1f", " ", "~", "\x7f", "\x80", "\x8f", "\x90", "\x9f", "\xa0", "\xbf", "\xc0", "\xc1",
		"\xc2", "\xdf", "\xe0", "\xe1", "\xed", "\xef", "\xf0", "\xf1", "\xf4", "\xf5", "\xf8", "\xff", NULL};
	size_t bytes = full ? 3 : 2, more = full ? 2 : 0;
	format();
	long_numbers();
	printf("numbers   %10lu\n", each_byte(1, bytes, number) + each_of(for_numbers, 5 + more, number));
	printf("modes     %10lu\n", each_byte(1, bytes, mode) + each_of(for_numbers, 5 + more, mode));
	printf("times     %10lu\n", each_byte(1, bytes, duration) + each_of(for_times, 6 + more, duration));
	printf("names     %10lu\n", each_byte(1, bytes, name) + each_of(for_names, 5 + more, name));
	printf("types     %10lu\n", each_byte(1, bytes, type) + each_of(for_types, 4 + more, type));
	printf("text      %10lu\n", each_byte(0, bytes, shown) + each_of(for_text, 3 + more, shown));
	printf("lists     %10lu\n", each_byte(1, bytes, list) + each_of(for_lists, 5 + more, list));
}
