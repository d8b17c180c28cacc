/* SPDX-License-Identifier: ISC
 *
 * Items by ids that never come back, so that who keeps an id too long finds nothing. */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>

/* All zero is the empty table. */
struct table {
	struct slot {
		uint64_t id;            /* of the item; in a free slot: the next free one, counted from 1, or 0 */
		void *item;             /* the owner's; NULL: free */
	} *slot;
	size_t room;                    /* go through SLOT up to here for all items */
	size_t count;
	size_t vacant;                  /* the first free slot, counted from 1; 0 for none */
	uint64_t last;                  /* ids given so far */
};

/* Add ITEM. Returns its id, from 1 to 2^63 - 1; 0 for ENOMEM. */
uint64_t table_add(struct table *t, void *item);

/* The item of ID; NULL if there is none any more. */
void *table_find(const struct table *t, uint64_t id);

/* Give the item of ID another id, which is returned. */
uint64_t table_renew(struct table *t, uint64_t id);

/* Remove the item of ID, which is the caller's to free. */
void table_remove(struct table *t, uint64_t id);

/* Free the table, which is empty afterwards; not the items. */
void table_free(struct table *t);

#endif
