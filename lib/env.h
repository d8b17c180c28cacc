/* SPDX-License-Identifier: ISC
 *
 * The environment of COMMAND. */
#ifndef ENV_H
#define ENV_H

#include <stdbool.h>
#include <stddef.h>

struct delivery;

struct env {
	char **var;             /* NULL-terminated, for exec */
	size_t count;
	size_t base;            /* the first BASE are borrowed from the caller's environment, the others stand in */
	char *text;             /* which has ROOM bytes: */
	char *grown;            /* NULL while they are behind VAR's */
	size_t room, used;
};

/* Does VAR, NAME=VALUE or the beginning of a NAME, say where programs or their parts are, or belong to a family that
 * fdkit sets? No client may choose it. */
bool env_reserved(const char *var);

/* The caller's environment without the families of variables that fdkit sets. errno ENOMEM. */
int env_open(struct env *env);

/* Does VAR, NAME=VALUE, belong to these families? */
bool env_family(const char *var);

/* Add VAR, NAME=VALUE, which stays the caller's. */
void env_add(struct env *env, char *var);

/* Remove NAME, right after env_open. */
void env_unset(struct env *env, const char *name);

/* Forget all that was set since env_open. Make room for lists of FDS descriptors, and BYTES of their names and the
 * message. On -1 (ENOMEM) nothing may be set. Each of the functions below is called once after it at most. */
int env_begin(struct env *env, size_t fds, size_t bytes);

/* FDKIT_FDS: the numbers where descriptors were placed. */
void env_fds(struct env *env, const int *to, size_t count);

/* LISTEN_FDS, LISTEN_FDNAMES (NAME NULL: none has any) and, unless NO_PID, LISTEN_PID as this process's
 * own; nothing where the descriptors do not lie at 3, 4, 5..., in whatever order. errno ENOMEM. */
int env_listen(struct env *env, const int *to, char *const *name, size_t count, bool no_pid);

/* FDKIT_PEER_PID, _UID, _GID, as far as they are known, and, if it is text, FDKIT_MESSAGE. */
void env_delivery(struct env *env, const struct delivery *d);

/* PROTO, TCPREMOTEIP and the rest, from the connection FD itself; nothing if it is none. What others do with a
 * connection can hold this up. For the process that executes COMMAND next; it may share its parent's memory. */
void env_connection(struct env *env, int fd);

#endif
