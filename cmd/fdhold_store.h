/* SPDX-License-Identifier: ISC
 *
 * Descriptors by name. */
#ifndef FDHOLD_STORE_H
#define FDHOLD_STORE_H

#include "door.h"
#include "peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A descriptor that is held under a name. */
struct entry {
	char *name;
	int fd;
	const char *kind;       /* what it was when it was put: tcp-listener, unix-connection, file, pipe... */
	char *address;          /* a socket's own address then, or NULL */
	enum {
		LINK_NONE,      /* no stream socket, or not connected when it was put */
		LINK_CONNECTED,
		LINK_HUNG_UP,   /* the other side has closed: has it unread bytes? */
		LINK_ASKED,     /* a process finds out */
	} link;
	struct peer who;        /* who put it there */
	struct share *share;    /* of WHO's uid: its entries, and the bytes of their names and one for each */
	int64_t since;          /* seconds since 1970 */
	int64_t expires;        /* deadline, or NEVER */
};

struct store {
	struct entry **entry;   /* sorted by name */
	size_t count, room;
	struct share *shares;
	size_t most, most_per_uid;
	size_t names_per_uid;   /* bytes of names, of a uid that is not trusted */
	int watch;              /* epoll(7): hang-ups of connections, whose data is the entry; the caller's */
};

/* The entry called NAME, or NULL. */
struct entry *store_find(const struct store *s, const char *name);

/* The first one whose name comes after NAME, or NULL. */
struct entry *store_after(const struct store *s, const char *name);

/* Keep FD under NAME, which malloc(3) has allocated: both are the store's from here on. The store looks at FD in ways
 * that never wait, so it has no address of a stranger's Internet socket. Returns NULL, or the reason; both are still the
 * caller's then. */
const char *store_put(struct store *s, char *name, int fd, const struct peer *who, int64_t expires);

/* Forget E and its name. Returns its descriptor, which is the caller's to close. */
int store_drop(struct store *s, struct entry *e);

/* When the next entry expires. */
int64_t store_deadline(const struct store *s);

#endif
