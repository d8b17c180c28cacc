/* SPDX-License-Identifier: ISC */
/* Descriptors by name: what fdhold holds. */
#include "fdhold_store.h"
#include "door.h"
#include "kind.h"
#include "peer.h"
#include "wait.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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

static void describe(struct entry *e)
{
	char address[300];
	bool connected;
	e->kind = kind_of(e->fd, &connected);
	e->link = connected ? LINK_CONNECTED : LINK_NONE;
	if (kind_address(e->fd, uid_trusted(e->who.uid), address, sizeof address) == 0)
		e->address = strdup(address);
}

/* ---- the store ---- */

struct entry *store_after(const struct store *s, const char *name)
{
	size_t i = place_of(s, name);
	i += i < s->count && strcmp(s->entry[i]->name, name) == 0;
	return i < s->count ? s->entry[i] : NULL;
}

/* Watch for the end of E's peer, which our copy hides from all others. One event for each change: an error, such as a
 * timestamp in the error queue, lasts until a process reads it. */
static void watch(const struct store *s, struct entry *e)
{
	struct epoll_event event = {.events = EPOLLET, .data.ptr = e};
	if (e->link == LINK_CONNECTED)
		epoll_ctl(s->watch, EPOLL_CTL_ADD, e->fd, &event);
}

static int make_room(struct store *s)
{
	size_t room = s->room ? 2 * s->room : 16;
	if (s->count < s->room)
		return 0;
	struct entry **grown = realloc(s->entry, room * sizeof(void *));
	if (!grown)
		return -1;
	s->entry = grown;
	s->room = room;
	return 0;
}

/* The uid of SHARE has one entry less, which was called NAME. */
static void leave(struct store *s, struct share *share, const char *name)
{
	share->bytes -= strlen(name) + 1;
	share_leave(&s->shares, share);
}

/* Why not one more called NAME from UID, whose SHARE counts it already? NULL if it may. */
static const char *refusal(const struct store *s, const char *name, uid_t uid, const struct share *share)
{
	if (store_find(s, name))
		return "the name is taken";
	if (s->count >= s->most)
		return "the store is full";
	if (share->connections > s->most_per_uid)
		return "too many from that uid";
	if (!uid_trusted(uid) && share->bytes > s->names_per_uid)
		return "too long names from that uid";
	return NULL;
}

const char *store_put(struct store *s, char *name, int fd, const struct peer *who, int64_t expires)
{
	struct entry *e = make_room(s) == 0 ? malloc(sizeof *e) : NULL;
	struct share *share = e ? share_join(&s->shares, source_of_uid(who->uid)) : NULL;
	const char *why = "out of memory";
	if (share) {
		share->bytes += strlen(name) + 1;
		why = refusal(s, name, who->uid, share);
	}
	if (why) {
		if (share)
			leave(s, share, name);
		free(e);
		return why;
	}
	*e = (struct entry){.name = name, .fd = fd, .who = *who, .share = share, .since = time(NULL), .expires = expires};
	describe(e);
	watch(s, e);
	size_t i = place_of(s, name);
	memmove(s->entry + i + 1, s->entry + i, (s->count++ - i) * sizeof(void *));
	s->entry[i] = e;
	return NULL;
}

int store_drop(struct store *s, struct entry *e)
{
	size_t i = place_of(s, e->name);
	int fd = e->fd;
	/* Kernel: closing our copy would not end the watch while others have theirs (epoll(7)). */
	if (e->link != LINK_NONE)
		epoll_ctl(s->watch, EPOLL_CTL_DEL, fd, NULL);
	memmove(s->entry + i, s->entry + i + 1, (--s->count - i) * sizeof(void *));
	leave(s, e->share, e->name);
	free(e->address);
	free(e->name);
	free(e);
	return fd;
}

int64_t store_deadline(const struct store *s)
{
	int64_t next = NEVER;
	for (size_t i = 0; i < s->count; i++)
		next = sooner(next, s->entry[i]->expires);
	return next;
}
