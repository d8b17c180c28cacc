/* SPDX-License-Identifier: ISC
 *
 * The credentials of the other side, the rules of -a, and the user of -u. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Peer credentials. pid 0: unknown. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

#define NOBODY ((uid_t)-1) /* Kernel: no uid (uid_valid) */

/* -a: the peers that are allowed besides root and our own effective uid. All zero: none. The rules are never freed. */
struct allow {
	bool any;
	struct rule {
		bool group;
		uid_t id;       /* gid_t is the same type on Linux */
	} *rule;
	size_t count;
	bool groups;            /* some rule is for a group */
};

/* Add the rules of the list WHO,... Returns NULL or the reason. */
const char *allow_parse(struct allow *allow, const char *list);

/* Add the rules of FROM. Returns 0, or -1 (ENOMEM) after adding some. */
int allow_join(struct allow *to, const struct allow *from);

/* The credentials of SOCK's peer. Kernel: as they were at its connect or listen (unix(7), SO_PEERCRED). Returns 0, or
 * -1 with errno as getsockopt(2), and PEER is unchanged. */
int peer_of(int sock, struct peer *peer);

/* Does UID stand for every uid that our user namespace does not map? Then only the rule any allows it. */
bool uid_unmapped(uid_t uid);

/* Is UID root's or our effective one? */
bool uid_trusted(uid_t uid);

/* Is PEER allowed? Its supplementary groups count if SOCK, the connection to it, is not -1 (SO_PEERGROUPS). */
bool peer_allowed(const struct allow *allow, const struct peer *peer, int sock);

/* -u: the user to become once what only root may open is open. All zero: stay as we are. */
struct user {
	bool given;
	char *name;             /* the user whose supplementary groups to take, or NULL; never freed */
	uid_t uid;
	gid_t gid;
};

/* Parse USER, a name or a uid, or USER:GROUP; a uid without a passwd entry needs a GROUP. Returns NULL or the reason. */
const char *user_parse(struct user *user, const char *arg);

/* Become USER, with no way back. Returns 0. errno EPERM: we are not root. On -1 some ids may have changed: exit. */
int user_become(const struct user *user);

#endif
