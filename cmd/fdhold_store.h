/* SPDX-License-Identifier: ISC
 *
 * Descriptors by name. */
#ifndef FDHOLD_STORE_H
#define FDHOLD_STORE_H

#include "peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct entry {
	char *name;
	int fd;
	const char *kind;       /* what it was when it was put: tcp-listener, unix-connection, file, pipe... */
	char *address;          /* a socket's own address then, or NULL */
	bool connected;         /* a stream socket that was connected then */
	bool hung;              /* its peer has hung up: it is asked whether something is unread, */
	pid_t asked;            /* by this process, or 0 */
	struct peer who;        /* who put it there */
	int64_t since;          /* seconds since 1970 */
	int64_t expires;        /* deadline, or NEVER */
};

/* What a uid has put. */
struct owner {
	uid_t uid;
	size_t entries;
	size_t bytes;           /* of their names, and one for each */
};

struct store {
	struct entry **entry;   /* sorted by name */
	size_t count, room;
	struct owner *owner;
	size_t owners;
	size_t most, most_per_uid;
	size_t names_per_uid;   /* bytes of names, of a uid that is not trusted */
};

struct entry *store_find(const struct store *s, const char *name);

/* The first one whose name comes after NAME, or NULL. */
struct entry *store_after(const struct store *s, const char *name);

/* Keep FD, which is the store's from here on, under NAME. It is looked at in ways that never wait; of the address of a
 * stranger's Internet socket there is none. On failure returns the reason, and FD is still the caller's. */
const char *store_put(struct store *s, const char *name, int fd, const struct peer *who, int64_t expires);

/* Forget E. Returns its descriptor, which is the caller's to close. */
int store_drop(struct store *s, struct entry *e);

/* When the next entry expires. */
int64_t store_deadline(const struct store *s);

#endif
