/* SPDX-License-Identifier: ISC */
#include "parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *parse_number(long *out, const char *arg, long min, long max)
{
	char *end;
	errno = 0;
	long n = strtol(arg, &end, 10);
	if (!isdigit((unsigned char)*arg) || *end)
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
	/* The lowest character of each length: below are control characters and overlong forms (RFC 3629). */
	static const unsigned lowest[] = {0, ' ', 0xa0, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)text;
	size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
	if (n > left || (*p >= 0x80 && *p < 0xc0) || *p >= 0xf8)
		return 0;
	unsigned c = n == 1 ? *p : *p & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	bool surrogate = c >= 0xd800 && c <= 0xdfff;
	return c < lowest[n] || c == 0x7f || surrogate || c > 0x10ffff ? 0 : n;
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
	char *end;
	unsigned long n = strtoul(arg, &end, 8);
	if (!isdigit((unsigned char)*arg) || *end)
		return "not an octal mode (0660)";
	if (n > 0777)
		return "out of range (0 to 0777)";
	*mode = (mode_t)n;
	return NULL;
}

const char *parse_type(int *type, const char *arg)
{
	static const struct { const char *name; int type; } types[] = {
		{"stream", SOCK_STREAM}, {"dgram", SOCK_DGRAM}, {"seqpacket", SOCK_SEQPACKET},
	};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(arg, types[i].name) == 0) {
			*type = types[i].type;
			return NULL;
		}
	return "not a socket type (stream, dgram or seqpacket)";
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
