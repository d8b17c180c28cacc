/* SPDX-License-Identifier: ISC
 *
 * Who is on the other side, and may they. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Who sent: pid 0 stands for unknown. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

#define NOBODY ((uid_t)-1) /* Kernel: no uid (uid_valid) */

/* Whom to deal with besides root and the own effective uid. All zero: nobody. */
struct allow {
	bool any;
	uid_t *uid;
	gid_t *gid;
	size_t uids, gids;
};

/* Add what the list WHO,... names. */
const char *allow_parse(struct allow *allow, const char *list);

/* Allow whom FROM allows as well. */
int allow_join(struct allow *to, const struct allow *from);

/* Who connected, or who listens (Kernel: unix(7) SO_PEERCRED, fixed at connect and listen). */
int peer_of(int sock, struct peer *peer);

/* Does UID show for all those that our user namespace does not map? Then no rule but any lets it in. */
bool uid_unmapped(uid_t uid);

/* Is UID root's or our effective one? */
bool uid_trusted(uid_t uid);

/* May we deal with PEER? SOCK, where not -1, tells its supplementary groups (SO_PEERGROUPS). */
bool peer_allowed(const struct allow *allow, const struct peer *peer, int sock);

/* Both at once, for a connected SOCK: PEER is who it is, all zero if that cannot be told. */
bool peer_admitted(const struct allow *allow, int sock, struct peer *peer);

/* Whom to be once what only root may open is open. All zero: whoever we are. */
struct user {
	bool given;
	const char *name;       /* whose supplementary groups, NULL for none */
	uid_t uid;
	gid_t gid;
};

/* USER, a name or a uid, or USER:GROUP; a uid that nobody has needs a GROUP. */
const char *user_parse(struct user *user, char *arg);

/* Be USER from here on, with no way back. errno EPERM: we are not root. On -1 the process is neither
 * one nor the other: exit. */
int user_become(const struct user *user);

#endif
