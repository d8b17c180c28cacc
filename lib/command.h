/* SPDX-License-Identifier: ISC
 *
 * COMMAND: its file, its limits, and the numbers of its descriptors. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

struct set;

/* COMMAND, and what the tool was started with, which COMMAND gets back. */
struct command {
	char **argv;
	bool in, out, err;      /* -i -o -e */
	bool blocking;          /* -B */
	char *path;             /* command_find: what to execute, */
	char **script;          /* and the words for a shell, should it be a script without #! */
	struct rlimit nofile;
	bool child_ignored;     /* SIGCHLD was ignored */
};

/* Raise our own limit of open descriptors as far as it goes, and tell what it was BEFORE. */
void raise_limit(struct rlimit *before);

/* Note what the tool was started with; raise its own limit of open descriptors. */
void command_prepare(struct command *c);

/* Look up COMMAND as execvp(3) does, from the directory that we are in, for the user that we are: an absolute path from here
 * on. Returns errno's value or 0. It may be called again. */
int command_find(struct command *c);

/* Append COUNT words to COMMAND's own, which stay the caller's. The arrays before are not freed. errno ENOMEM. */
int command_append(struct command *c, char **word, size_t count);

/* How many placements FDS descriptors make, and to which numbers: one goes to every one of -i -o -e; of more, each
 * takes the next, the rest go on from 3. There is room for three, and for FDS, in TO. */
size_t command_places(const struct command *c, size_t fds, int *to);

/* Has COMMAND, with FDS descriptors, numbers left below its soft limit, to open its libraries at? */
bool command_fits(const struct command *c, size_t fds);

/* The descriptor that goes to 0, or else to 1; -1 if none does. */
int connection_placed(const int *from, const int *to, size_t count);

/* Clear O_NONBLOCK on what came. */
void make_blocking(const struct set *set);

/* Make each FROM appear at TO, without close-on-exec, whatever the order; FROM is used up. Returns
 * errno's value or 0, and leaves errno alone; after a failure the table is half done: exit. */
int place(int *from, const int *to, size_t count);

/* 127 for a command that is not there, 126 for one that cannot be run: as env(1). */
int exec_status(int error);

#endif
