/* SPDX-License-Identifier: ISC */
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

/* ---- ids ---- */

/* Is ARG a uid or a gid? The highest number is none (NOBODY). */
static bool parse_id(uid_t *id, const char *arg)
{
	char *end;
	errno = 0;
	unsigned long n = strtoul(arg, &end, 10);
	*id = (uid_t)n;
	return isdigit((unsigned char)*arg) && !*end && !errno && n < UINT32_MAX;
}

static const char *parse_user(uid_t *uid, const char *arg)
{
	const struct passwd *p;
	if (parse_id(uid, arg))
		return NULL;
	if (!(p = getpwnam(arg)))
		return "no such user";
	*uid = p->pw_uid;
	return NULL;
}

static const char *parse_group(gid_t *gid, const char *arg)
{
	const struct group *g;
	if (parse_id(gid, arg))
		return NULL;
	if (!(g = getgrnam(arg)))
		return "no such group";
	*gid = g->gr_gid;
	return NULL;
}

/* ---- -a ---- */

static int add(struct allow *allow, struct rule rule)
{
	struct rule *grown = realloc(allow->rule, (allow->count + 1) * sizeof *grown);
	if (!grown)
		return -1;
	allow->rule = grown;
	grown[allow->count++] = rule;
	allow->groups = allow->groups || rule.group;
	return 0;
}

static const char *parse_rule(struct allow *allow, const char *who)
{
	struct rule rule = {.group = *who == ':'};
	if (strcmp(who, "any") == 0) {
		allow->any = true;
		return NULL;
	}
	const char *why = !*who ? "an empty name" : rule.group ? parse_group(&rule.id, who + 1) : parse_user(&rule.id, who);
	return why || add(allow, rule) == 0 ? why : "out of memory";
}

const char *allow_parse(struct allow *allow, const char *list)
{
	char *copy = strdup(list), *rest = copy, *who;
	const char *why = copy ? NULL : "out of memory";
	while (!why && (who = strsep(&rest, ",")))
		why = parse_rule(allow, who);
	free(copy);
	return why;
}

int allow_join(struct allow *to, const struct allow *from)
{
	to->any = to->any || from->any;
	for (size_t i = 0; i < from->count; i++)
		if (add(to, from->rule[i]) == -1)
			return -1;
	return 0;
}

/* ---- peers ---- */

int peer_of(int sock, struct peer *peer)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1)
		return -1;
	*peer = (struct peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
	return 0;
}

/* May ID stand for ids that our user namespace does not map? Kernel: they all show as 65534, unless
 * kernel.overflowuid was changed (user_namespaces(7)). Each line of MAP ends with a number of mapped ids, in all
 * UINT32_MAX if every id is mapped. A kernel without user namespaces has no MAP. */
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
	return uid == 0 || (uid == geteuid() && !uid_unmapped(uid));
}

static bool listed(const struct allow *allow, bool group, uid_t id)
{
	for (size_t i = 0; i < allow->count; i++)
		if (allow->rule[i].group == group && allow->rule[i].id == id)
			return !group || !unmapped(id, "/proc/self/gid_map");
	return false;
}

static bool supplementary_listed(const struct allow *allow, int sock)
{
	/* Kernel: socket(7) SO_PEERGROUPS, since 4.13; ERANGE sets len to what it takes. */
	socklen_t len = 0;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE)
		return false;
	gid_t *gid = malloc(len);
	bool found = false;
	if (gid && getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, gid, &len) == 0)
		for (size_t i = 0; i < len / sizeof *gid && !found; i++)
			found = listed(allow, true, gid[i]);
	free(gid);
	return found;
}

bool peer_allowed(const struct allow *allow, const struct peer *peer, int sock)
{
	if (allow->any || uid_trusted(peer->uid))
		return true;
	if (uid_unmapped(peer->uid))
		return false;
	return listed(allow, false, peer->uid) || (allow->groups && (listed(allow, true, peer->gid) ||
	       (sock != -1 && supplementary_listed(allow, sock))));
}

/* ---- -u ---- */

const char *user_parse(struct user *user, const char *arg)
{
	const char *group = strchrnul(arg, ':');
	char *name = strndup(arg, (size_t)(group - arg));
	if (!name)
		return "out of memory";
	*user = (struct user){.given = true};
	bool numeric = parse_id(&user->uid, name);
	const struct passwd *p = numeric ? getpwuid(user->uid) : getpwnam(name);
	free(name);
	if (p) {
		user->uid = p->pw_uid;
		user->gid = p->pw_gid;
		user->name = strdup(p->pw_name);
		if (!user->name)
			return "out of memory";
	} else if (!numeric) {
		return "no such user";
	} else if (!*group) {
		return "a uid without a passwd entry needs a group (UID:GID)";
	}
	return *group ? parse_group(&user->gid, group + 1) : NULL;
}

int user_become(const struct user *user)
{
	if (!user->given)
		return 0;
	if (user->name ? initgroups(user->name, user->gid) == -1 : setgroups(1, &user->gid) == -1)
		return -1;
	return setgid(user->gid) == -1 ? -1 : setuid(user->uid);
}
