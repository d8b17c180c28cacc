/* SPDX-License-Identifier: ISC */
#include "table.h"

#include <errno.h>
#include <stdlib.h>

enum { INDEX_BITS = 20 };       /* of an id: the slot's index; the rest counts up */

static size_t index_of(uint64_t id)
{
	return id & (((uint64_t)1 << INDEX_BITS) - 1);
}

static int grow(struct table *t)
{
	size_t room = t->room ? 2 * t->room : 4;
	struct slot *slot = room >> INDEX_BITS ? NULL : realloc(t->slot, room * sizeof *slot);
	if (!slot) {
		errno = ENOMEM;
		return -1;
	}
	t->slot = slot;
	for (; t->room < room; t->room++) {
		slot[t->room] = (struct slot){.id = t->vacant};
		t->vacant = t->room + 1;
	}
	return 0;
}

uint64_t table_add(struct table *t, void *item)
{
	if (!t->vacant && grow(t) == -1)
		return 0;
	size_t i = t->vacant - 1;
	struct slot *s = &t->slot[i];
	t->vacant = (size_t)s->id;
	t->count++;
	*s = (struct slot){.id = ++t->last << INDEX_BITS | i, .item = item};
	return s->id;
}

void *table_find(const struct table *t, uint64_t id)
{
	size_t i = index_of(id);
	return i < t->room && t->slot[i].id == id ? t->slot[i].item : NULL;
}

uint64_t table_renew(struct table *t, uint64_t id)
{
	size_t i = index_of(id);
	return t->slot[i].id = ++t->last << INDEX_BITS | i;
}

void table_remove(struct table *t, uint64_t id)
{
	size_t i = index_of(id);
	t->slot[i] = (struct slot){.id = t->vacant};
	t->vacant = i + 1;
	t->count--;
}

void table_free(struct table *t)
{
	free(t->slot);
	*t = (struct table){0};
}
