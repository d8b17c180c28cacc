/* SPDX-License-Identifier: ISC */
/* Who is on the other side, and may they. */
#include "peer.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Appends ID to an array of COUNT; uid_t and gid_t are the same type on Linux. */
static const char *append(uid_t **array, size_t *count, uid_t id)
{
	uid_t *grown = realloc(*array, (*count + 1) * sizeof *grown);
	if (!grown)
		return "out of memory";
	grown[(*count)++] = id;
	*array = grown;
	return NULL;
}

/* An uid or a gid; the highest stands for none. For some of them a long of 32 bits is too short. */
static bool parse_id(uid_t *out, const char *arg)
{
	char *end;
	errno = 0;
	unsigned long id = strtoul(arg, &end, 10);
	if (!isdigit((unsigned char)*arg) || *end || errno || id >= UINT32_MAX)
		return false;
	*out = (uid_t)id;
	return true;
}

static const char *allow_one(struct allow *allow, const char *who)
{
	const char *name = *who == ':' ? who + 1 : who;
	uid_t id = 0;
	if (strcmp(who, "any") == 0) {
		allow->any = true;
		return NULL;
	}
	bool numeric = isdigit((unsigned char)*name);
	if (numeric && !parse_id(&id, name))
		return "not a user or group id";
	if (*who == ':') {
		const struct group *g = numeric ? NULL : getgrnam(name);
		if (!numeric && !g)
			return "no such group";
		return append(&allow->gid, &allow->gids, numeric ? id : g->gr_gid);
	}
	const struct passwd *p = numeric ? NULL : getpwnam(name);
	if (!numeric && !p)
		return "no such user";
	return append(&allow->uid, &allow->uids, numeric ? id : p->pw_uid);
}

const char *allow_parse(struct allow *allow, const char *list)
{
	char *copy = strdup(list), *rest = copy, *who;
	const char *why = copy ? NULL : "out of memory";
	while (!why && (who = strsep(&rest, ",")))
		why = *who ? allow_one(allow, who) : "an empty name";
	free(copy);
	return why;
}

int allow_join(struct allow *to, const struct allow *from)
{
	to->any = to->any || from->any;
	for (size_t i = 0; i < from->uids; i++)
		if (append(&to->uid, &to->uids, from->uid[i]))
			return -1;
	for (size_t i = 0; i < from->gids; i++)
		if (append(&to->gid, &to->gids, from->gid[i]))
			return -1;
	return 0;
}

int peer_of(int sock, struct peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1)
		return -1;
	*peer = (struct peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	return 0;
}

bool peer_admitted(const struct allow *allow, int sock, struct peer *peer)
{
	*peer = (struct peer){0};
	return peer_of(sock, peer) == 0 && peer_allowed(allow, peer, sock);
}

/* May ID stand for ids that our user namespace does not map? Kernel: they all show as 65534 (user_namespaces(7);
 * kernel.overflowuid is left at that). The lines of MAP each end with a number of ids, in all UINT32_MAX if every id is
 * mapped; a kernel without user namespaces has no MAP. */
static bool unmapped(uid_t id, const char *map)
{
	unsigned long long mapped = 0;
	char line[100];
	if (id != 65534)
		return false;
	FILE *f = fopen(map, "re");
	if (!f)
		return errno != ENOENT || access("/proc/self", F_OK) == -1;
	while (fgets(line, sizeof line, f)) {
		const char *last = strrchr(line, ' ');
		mapped += last ? strtoull(last, NULL, 10) : 0;
	}
	fclose(f);
	return mapped < UINT32_MAX;
}

bool uid_unmapped(uid_t uid)
{
	return unmapped(uid, "/proc/self/uid_map");
}

bool uid_trusted(uid_t uid)
{
	return (uid == geteuid() && !uid_unmapped(uid)) || uid == 0;
}

static bool group_listed(const struct allow *allow, gid_t gid)
{
	for (size_t i = 0; i < allow->gids; i++)
		if (allow->gid[i] == gid)
			return !unmapped(gid, "/proc/self/gid_map");
	return false;
}

static bool supplementary_listed(const struct allow *allow, int sock)
{
	/* Kernel: socket(7) SO_PEERGROUPS, since 4.13; ERANGE sets len to what it takes. */
	socklen_t len = 0;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false;
	gid_t *gid = malloc(len);
	bool listed = false;
	if (gid && getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, gid, &len) == 0)
		for (size_t i = 0; i < len / sizeof *gid && !listed; i++)
			listed = group_listed(allow, gid[i]);
	free(gid);
	return listed;
}

bool peer_allowed(const struct allow *allow, const struct peer *peer, int sock)
{
	if (allow->any || uid_trusted(peer->uid))
		return true;
	if (uid_unmapped(peer->uid))
		return false;
	for (size_t i = 0; i < allow->uids; i++)
		if (allow->uid[i] == peer->uid)
			return true;
	if (!allow->gids)
		return false;
	return group_listed(allow, peer->gid) || (sock != -1 && supplementary_listed(allow, sock));
}

const char *user_parse(struct user *user, char *arg)
{
	char *group = strchr(arg, ':');
	char *name = strndup(arg, group ? (size_t)(group - arg) : strlen(arg));
	uid_t uid = 0;
	gid_t gid = 0;
	if (!name)
		return "out of memory";
	const struct passwd *p = getpwnam(name);
	bool numeric = !p && parse_id(&uid, name);
	free(name);
	if (numeric)
		p = getpwuid(uid);
	if (!p && !numeric)
		return "no such user";
	*user = (struct user){.given = true, .uid = p ? p->pw_uid : uid, .gid = p ? p->pw_gid : 0};
	if (p && !(user->name = strdup(p->pw_name)))
		return "out of memory";
	if (!p && !group)
		return "nobody has this uid, so it needs a group (UID:GID)";
	if (!group)
		return NULL;
	const struct group *g = getgrnam(group + 1);
	if (!g && !parse_id(&gid, group + 1))
		return "no such group";
	user->gid = g ? g->gr_gid : gid;
	return NULL;
}

int user_become(const struct user *user)
{
	if (!user->given)
		return 0;
	if (user->name ? initgroups(user->name, user->gid) == -1 : setgroups(1, &user->gid) == -1)
		return -1;
	return setgid(user->gid) == -1 ? -1 : setuid(user->uid);
}
