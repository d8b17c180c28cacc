/* SPDX-License-Identifier: ISC */
/* Descriptors by name: what fdhold holds. */
#include "fdkit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Where NAME is, or would be. */
static size_t place_of(const struct store *s, const char *name)
{
	size_t low = 0, high = s->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(s->entry[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *store_find(const struct store *s, const char *name)
{
	size_t i = place_of(s, name);
	return i < s->count && strcmp(s->entry[i]->name, name) == 0 ? s->entry[i] : NULL;
}

static const char *refusal(const struct store *s, const char *name, uid_t uid)
{
	size_t of_uid = 0;
	if (store_find(s, name))
		return "the name is taken";
	if (s->count >= s->most)
		return "the store is full";
	for (size_t i = 0; s->count >= s->most_per_uid && i < s->count; i++)
		of_uid += s->entry[i]->who.uid == uid;
	return of_uid >= s->most_per_uid ? "too many from that uid" : NULL;
}

const char *store_put(struct store *s, const char *name, int fd, const struct peer *who, int64_t expires)
{
	const char *why = refusal(s, name, who->uid);
	if (why)
		return why;
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct entry **grown = realloc(s->entry, room * sizeof(void *));
		if (!grown)
			return "out of memory";
		s->entry = grown;
		s->room = room;
	}
	struct entry *e = malloc(sizeof *e);
	char *copy = strdup(name);
	if (!e || !copy) {
		free(e);
		free(copy);
		return "out of memory";
	}
	*e = (struct entry){.name = copy, .fd = fd, .who = *who, .since = time(NULL), .expires = expires};
	size_t i = place_of(s, name);
	memmove(s->entry + i + 1, s->entry + i, (s->count - i) * sizeof(void *));
	s->entry[i] = e;
	s->count++;
	return NULL;
}

void store_drop(struct store *s, struct entry *e)
{
	size_t i = place_of(s, e->name);
	memmove(s->entry + i, s->entry + i + 1, (--s->count - i) * sizeof(void *));
	close(e->fd);
	free(e->name);
	free(e);
}

int64_t store_deadline(const struct store *s)
{
	int64_t next = NEVER;
	for (size_t i = 0; i < s->count; i++)
		next = sooner(next, s->entry[i]->expires);
	return next;
}

static void describe_socket(int fd, char *text, size_t len)
{
	int domain = 0, type = 0, listens = 0;
	socklen_t size = sizeof domain;
	char name[4200] = "";
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
	getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
	const struct listener l = {.at = {.fd = fd, .kind = END_FD, .type = SOCK_STREAM}};
	listener_name(&l, name, sizeof name);
	const char *family = domain == AF_UNIX ? "unix" : type == SOCK_DGRAM ? "udp" : "tcp";
	for (char *c = name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	snprintf(text, len, "%s%s%s%s", family, listens ? "-listener" : type == SOCK_DGRAM ? "-socket" : "-connection",
	         *name ? " " : "", name);
}

void describe(int fd, char *text, size_t len)
{
	struct stat st;
	if (fstat(fd, &st) == -1)
		snprintf(text, len, "unknown");
	else if (S_ISSOCK(st.st_mode))
		describe_socket(fd, text, len);
	else
		snprintf(text, len, "%s", S_ISREG(st.st_mode) ? "file" : S_ISFIFO(st.st_mode) ? "pipe" : S_ISDIR(st.st_mode) ?
		         "directory" : isatty(fd) ? "terminal" : S_ISCHR(st.st_mode) ? "device" : "other");
}
