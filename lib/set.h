/* SPDX-License-Identifier: ISC
 *
 * Descriptors with names: one type from the command line over the wire to COMMAND. */
#ifndef SET_H
#define SET_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is the empty set. The names, and the two arrays, are the set's. So are its descriptors, unless they were
 * borrowed: then end it with set_forget. */
struct set {
	int *fd;                /* -1 where only a name is known */
	char **name;            /* NULL where it has none */
	size_t count, room;
};

/* Append FD with a copy of NAME, which may be NULL. On -1 (ENOMEM) FD is still the caller's. */
int set_add(struct set *s, int fd, const char *name);

/* Append the first COUNT of FROM, which loses them. On -1 (ENOMEM) those that did not fit are closed. */
int set_move(struct set *to, struct set *from, size_t count);

/* Append what the words N, N-M, NAME=N or, where BARE, NAME say, with commas between. Returns NULL or the reason. */
const char *set_parse(struct set *s, const char *arg, bool bare);

/* Does any descriptor have a name? */
bool set_named(const struct set *s);

/* The index of the first descriptor called NAME; S->count if there is none. */
size_t set_find(const struct set *s, const char *name);

/* Name the descriptors from FIRST on by NAMES, which has commas between, and nothing where one has no name. -1: ENOMEM; EPROTO:
 * not as many as there are, or a bad name; then none of them has a name. */
int set_name(struct set *s, size_t first, const char *names);

/* Write the names from FIRST on into TEXT, which has SIZE bytes, as many as fit and MOST at most, with commas between. Returns
 * how many. */
size_t set_names(const struct set *s, size_t first, size_t most, char *text, size_t size);

/* NULL if no name and, where NUMBERS, no descriptor stands there twice; else the reason, and in *NAME the name, which
 * stays the set's, or NULL. */
const char *set_repeats(const struct set *s, bool numbers, const char **name);

/* Free the names and the arrays; the set is empty. The descriptors stay open. */
void set_forget(struct set *s);

/* The same, and close the descriptors. */
void set_close(struct set *s);

#endif
