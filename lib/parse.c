/* SPDX-License-Identifier: ISC */
/* The words in arguments: numbers, TIME, MODE, TYPE, lists of FD and NAME. */
#include "fdkit.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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

const char *parse_time(int64_t *ms, const char *arg)
{
	static const struct { const char *suffix; double ms; } units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000},
	};
	/* strtod alone would take hexadecimal, inf, nan and signs too. */
	size_t digits = strspn(arg, "0123456789.");
	if (!digits || strspn(arg, ".") == digits)
		return "not a time (such as 5, 0.5, 200ms, 1m)";
	char *end;
	double value = strtod(arg, &end);
	if (end != arg + digits)
		return "not a time (such as 5, 0.5, 200ms, 1m)";
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		value *= units[i].ms;
		if (value > 1e14)
			return "too long a time";
		*ms = (int64_t)value;
		*ms += (double)*ms < value;
		return NULL;
	}
	return "not a time (its suffix may be ms, s, m or h)";
}

const char *parse_mode(mode_t *mode, const char *arg)
{
	size_t digits = strspn(arg, "01234567");
	if (!digits || arg[digits])
		return "not an octal mode (such as 0660)";
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

/* NAME, where not NULL, becomes the list's on success. */
static const char *fdlist_add(struct fdlist *list, char *name, int fd)
{
	for (size_t i = 0; name && i < list->count; i++)
		if (list->word[i].name && strcmp(list->word[i].name, name) == 0)
			return "the same name twice";
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 8;
		struct fdword *grown = realloc(list->word, room * sizeof *grown);
		if (!grown)
			return "out of memory";
		list->word = grown;
		list->room = room;
	}
	list->word[list->count++] = (struct fdword){.name = name, .fd = fd};
	return NULL;
}

static const char *parse_named(struct fdlist *list, char *word, bool bare)
{
	char *equals = strchr(word, '=');
	long fd = -1;
	if (equals) {
		*equals = '\0';
		if (parse_number(&fd, equals + 1, 0, INT_MAX))
			return "not a descriptor (NAME=N)";
	} else if (!bare) {
		return "not a descriptor";
	}
	const char *why = parse_name(word);
	if (why)
		return why;
	char *name = strdup(word);
	why = name ? fdlist_add(list, name, (int)fd) : "out of memory";
	if (why)
		free(name);
	return why;
}

static const char *parse_range(struct fdlist *list, char *word)
{
	char *dash = strchr(word, '-');
	long first, last;
	if (dash)
		*dash = '\0';
	if (parse_number(&first, word, 0, INT_MAX))
		return "not a descriptor";
	last = first;
	if (dash && parse_number(&last, dash + 1, 0, INT_MAX))
		return "not a range of descriptors";
	if (last < first || last - first >= 1 << 20)
		return "not a range of descriptors";
	const char *why = NULL;
	for (; !why && first <= last; first++)
		why = fdlist_add(list, NULL, (int)first);
	return why;
}

static int compare(const void *a, const void *b)
{
	return ((const struct fdword *)a)->fd - ((const struct fdword *)b)->fd;
}

bool fdlist_distinct(const struct fdlist *list)
{
	struct fdword *sorted = malloc((list->count + 1) * sizeof *sorted);
	bool distinct = sorted;
	if (sorted && list->count) {
		memcpy(sorted, list->word, list->count * sizeof *sorted);
		qsort(sorted, list->count, sizeof *sorted, compare);
	}
	for (size_t i = 1; distinct && i < list->count; i++)
		distinct = sorted[i].fd == -1 || sorted[i].fd != sorted[i - 1].fd;
	free(sorted);
	return distinct;
}

const char *parse_fdlist(struct fdlist *list, const char *arg, bool bare)
{
	char *copy = strdup(arg), *rest = copy, *word;
	const char *why = copy ? NULL : "out of memory";
	while (!why && (word = strsep(&rest, ",")))
		why = isdigit((unsigned char)*word) && !strchr(word, '=') ? parse_range(list, word)
		                                                           : parse_named(list, word, bare);
	free(copy);
	return why;
}
