/* SPDX-License-Identifier: ISC
 *
 * Descriptors with names: one type from the command line over the wire to COMMAND. */
#ifndef SET_H
#define SET_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is the empty set. It owns its names, its arrays and its descriptors; if it borrows those, end it with
 * set_forget. */
struct set {
	int *fd;                /* -1 where only a name is known */
	char **name;            /* NULL where it has none */
	size_t count, room;
};

/* Append FD with a copy of NAME, which may be NULL. On -1 (ENOMEM) FD is still the caller's. */
int set_add(struct set *s, int fd, const char *name);

/* Append the first COUNT of FROM, which loses them. On -1 (ENOMEM) those that found no room are closed. */
int set_move(struct set *to, struct set *from, size_t count);

/* Append what the comma list ARG says: N, N-M, NAME=N or, if BARE, NAME alone. Returns NULL or the reason. */
const char *set_parse(struct set *s, const char *arg, bool bare);

/* Does any descriptor have a name? */
bool set_named(const struct set *s);

/* The index of the first descriptor called NAME; S->count if there is none. */
size_t set_find(const struct set *s, const char *name);

/* Name the descriptors from FIRST on by the comma list NAMES, in which an empty word is no name. On -1 none of them
 * has a name: ENOMEM; EPROTO: an invalid name, or not as many words as descriptors. */
int set_name(struct set *s, size_t first, const char *names);

/* The other way round: write the names from FIRST on into TEXT, of SIZE bytes, as many as fit and at most MOST.
 * Returns how many. */
size_t set_names(const struct set *s, size_t first, size_t most, char *text, size_t size);

/* Returns NULL if no name and, if NUMBERS, no number occurs twice; else the reason, and in *NAME the name, which is
 * the set's, or NULL. */
const char *set_repeats(const struct set *s, bool numbers, const char **name);

/* Free the names and the arrays; the set is empty. The descriptors stay open. */
void set_forget(struct set *s);

/* The same, and close the descriptors. */
void set_close(struct set *s);

#endif
