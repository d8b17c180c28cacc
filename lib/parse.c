/* SPDX-License-Identifier: ISC */
/* The words in arguments: numbers, TIME, MODE, TYPE, NAME. */
#include "parse.h"
#include "record.h"
#include "set.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *parse_number(long *out, const char *arg, long min, long max)
{
	char *end;
	if (!isdigit((unsigned char)*arg))
		return "not a number";
	errno = 0;
	long n = strtol(arg, &end, 10);
	if (*end)
		return "not a number";
	if (errno || n < min || n > max)
		return "out of range";
	*out = n;
	return NULL;
}

size_t format_number(char *text, uint64_t n)
{
	char backwards[NUMBER_ROOM];
	size_t len = 0;
	do
		backwards[len++] = (char)('0' + n % 10);
	while (n /= 10);
	for (size_t i = 0; i < len; i++)
		text[i] = backwards[len - 1 - i];
	return len;
}

size_t printable_length(const char *text, size_t left)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n = *p < ' ' ? 0 : *p < 0x7f ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Neither U+0080 to U+009F nor an overlong form, a surrogate or what is beyond U+10FFFF (RFC 3629). */
	bool wrong = (*p == 0xc2 && p[1] < 0xa0) || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	             (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f);
	return wrong ? 0 : n;
}

void printable(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = printable_length(text + i, len - i);
		if (!n)
			text[i] = '?';
	}
}

const char *parse_time(int64_t *ms, const char *arg)
{
	static const struct { const char *suffix; int64_t ms; } units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
	};
	enum { MILLION = 1000000 };
	const int64_t most = 100000000000000;
	int64_t whole = 0, part = 0;    /* in units, and in millionths of one: */
	bool rest = false;              /* and less than that */
	const char *p = arg;
	for (; isdigit((unsigned char)*p); p++)
		whole = whole < most ? 10 * whole + (*p - '0') : most;
	if (*p == '.' && (p > arg || isdigit((unsigned char)p[1])))
		for (int64_t place = MILLION / 10; isdigit((unsigned char)*++p); place /= 10) {
			part += place * (*p - '0');
			rest = rest || (!place && *p > '0');
		}
	if (p == arg || *p == '.')
		return "not a time (5, 0.5, 200ms, 1m)";
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (strcmp(p, units[i].suffix) != 0)
			continue;
		if (whole > most / units[i].ms)
			return "too long a time";
		*ms = whole * units[i].ms + ((part + rest) * units[i].ms + MILLION - 1) / MILLION;
		return NULL;
	}
	return "not a time (its suffix may be ms, s, m or h)";
}

const char *parse_mode(mode_t *mode, const char *arg)
{
	size_t digits = strspn(arg, "01234567");
	if (!digits || arg[digits])
		return "not an octal mode (0660)";
	unsigned long n = strtoul(arg, NULL, 8);
	if (digits > 8 || n > 0777)
		return "out of range (0 to 0777)";
	*mode = (mode_t)n;
	return NULL;
}

const char *parse_type(int *type, const char *arg)
{
	if (strcmp(arg, "stream") == 0)
		*type = SOCK_STREAM;
	else if (strcmp(arg, "dgram") == 0)
		*type = SOCK_DGRAM;
	else if (strcmp(arg, "seqpacket") == 0)
		*type = SOCK_SEQPACKET;
	else
		return "not a socket type (stream, dgram or seqpacket)";
	return NULL;
}

/* systemd's rule for LISTEN_FDNAMES, made stricter. */
const char *parse_name(const char *name)
{
	size_t len = strlen(name);
	if (!len)
		return "an empty name";
	if (len > 255)
		return "a name longer than 255 bytes";
	for (; *name; name++)
		if (*name <= ' ' || *name > '~' || strchr(":=,", *name))
			return "a name has only printable ASCII other than : = , and space";
	return NULL;
}
