/* SPDX-License-Identifier: ISC */
#include "set.h"
#include "parse.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int make_room(struct set *s)
{
	if (s->count < s->room)
		return 0;
	size_t room = s->room ? 2 * s->room : 8;
	int *fd = realloc(s->fd, room * sizeof *fd);
	if (!fd)
		return -1;
	s->fd = fd;
	char **name = realloc(s->name, room * sizeof *name);
	if (!name)
		return -1;
	s->name = name;
	s->room = room;
	return 0;
}

int set_add(struct set *s, int fd, const char *name)
{
	char *copy = name ? strdup(name) : NULL;
	if ((name && !copy) || make_room(s) == -1) {
		free(copy);
		return -1;
	}
	s->fd[s->count] = fd;
	s->name[s->count++] = copy;
	return 0;
}

int set_move(struct set *to, struct set *from, size_t count)
{
	int result = 0;
	for (size_t i = 0; i < count; i++)
		if (make_room(to) == 0) {
			to->fd[to->count] = from->fd[i];
			to->name[to->count++] = from->name[i];
		} else {
			close(from->fd[i]);
			free(from->name[i]);
			result = -1;
		}
	from->count -= count;
	for (size_t i = 0; i < from->count; i++) {
		from->fd[i] = from->fd[i + count];
		from->name[i] = from->name[i + count];
	}
	return result;
}

/* ---- from the command line ---- */

static const char *parse_named(struct set *s, char *word, bool bare)
{
	char *equals = strchr(word, '=');
	long fd = -1;
	if (!equals && !bare)
		return "not a descriptor";
	if (equals)
		*equals = '\0';
	if (equals && parse_number(&fd, equals + 1, 0, INT_MAX))
		return "not a descriptor (NAME=N)";
	const char *why = parse_name(word);
	return why || set_add(s, (int)fd, word) == 0 ? why : "out of memory";
}

static const char *parse_range(struct set *s, char *word)
{
	char *dash = strchr(word, '-');
	long first, last;
	if (dash)
		*dash = '\0';
	if (parse_number(&first, word, 0, INT_MAX))
		return "not a descriptor";
	last = first;
	if ((dash && parse_number(&last, dash + 1, 0, INT_MAX)) || last < first || last - first >= 1 << 20)
		return "not a range of descriptors";
	for (; first <= last; first++)
		if (set_add(s, (int)first, NULL) == -1)
			return "out of memory";
	return NULL;
}

const char *set_parse(struct set *s, const char *arg, bool bare)
{
	char *copy = strdup(arg), *rest = copy, *word;
	const char *why = copy ? NULL : "out of memory";
	while (!why && (word = strsep(&rest, ",")))
		why = isdigit((unsigned char)*word) && !strchr(word, '=') ? parse_range(s, word) : parse_named(s, word, bare);
	free(copy);
	return why;
}

/* ---- names ---- */

bool set_named(const struct set *s)
{
	size_t i = 0;
	while (i < s->count && !s->name[i])
		i++;
	return i < s->count;
}

size_t set_find(const struct set *s, const char *name)
{
	size_t i = 0;
	while (i < s->count && !(s->name[i] && strcmp(s->name[i], name) == 0))
		i++;
	return i;
}

int set_name(struct set *s, size_t first, const char *names)
{
	char *copy = strdup(names), *rest = copy, *name;
	int error = copy ? 0 : ENOMEM;
	size_t i = first;
	for (; !error && (name = strsep(&rest, ",")); i++)
		if (i == s->count || (*name && parse_name(name)))
			error = EPROTO;
		else if (*name && !(s->name[i] = strdup(name)))
			error = ENOMEM;
	free(copy);
	if (!error && i == s->count)
		return 0;
	for (; first < s->count; first++) {
		free(s->name[first]);
		s->name[first] = NULL;
	}
	errno = error ? error : EPROTO;
	return -1;
}

size_t set_names(const struct set *s, size_t first, size_t most, char *text, size_t size)
{
	size_t n = 0;
	char *end = text;
	*end = '\0';
	for (; n < most && first + n < s->count; n++) {
		const char *name = s->name[first + n] ? s->name[first + n] : "";
		if (strlen(name) + 2 > size - (size_t)(end - text))
			break;
		end = stpcpy(stpcpy(end, n ? "," : ""), name);
	}
	return n;
}

/* Those without a name come first. */
static int by_name(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;
	return strcmp(x ? x : "", y ? y : "");
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

const char *set_repeats(const struct set *s, bool numbers, const char **name)
{
	*name = NULL;
	if (s->count < 2 || (!numbers && !set_named(s)))
		return NULL;
	char **names = malloc(s->count * sizeof *names);
	int *fds = malloc(s->count * sizeof *fds);
	const char *why = names && fds ? NULL : "out of memory";
	if (!why) {
		memcpy(names, s->name, s->count * sizeof *names);
		memcpy(fds, s->fd, s->count * sizeof *fds);
		qsort(names, s->count, sizeof *names, by_name);
		qsort(fds, s->count, sizeof *fds, by_number);
	}
	for (size_t i = 1; !why && i < s->count; i++)
		if (names[i - 1] && strcmp(names[i - 1], names[i]) == 0) {
			*name = names[i];
			why = "the same name twice";
		} else if (numbers && fds[i] != -1 && fds[i] == fds[i - 1]) {
			why = "the same number twice";
		}
	free(names);
	free(fds);
	return why;
}

void set_forget(struct set *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->name[i]);
	free(s->name);
	free(s->fd);
	*s = (struct set){0};
}

void set_close(struct set *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->fd[i] != -1)
			close(s->fd[i]);
	set_forget(s);
}
