/* SPDX-License-Identifier: ISC */
/* The environment of COMMAND. */
#include "fdkit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

/* Variables that say something of descriptors or a connection: what fdkit does not set itself would
 * be somebody else's truth. */
static bool in_family(const char *var)
{
	static const char *const families[] = {
		"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "LISTEN_PIDFDID=", "FDKIT_", "PROTO=",
		"TCPREMOTE", "TCPLOCAL", "UNIXREMOTE", "UNIXLOCAL", "REMOTE_ADDR=", "REMOTE_PORT=",
	};
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (strncmp(var, families[i], strlen(families[i])) == 0)
			return true;
	return false;
}

static int append(struct env *env, char *var)
{
	if (env->count + 1 >= env->room) {
		size_t room = env->room ? 2 * env->room : 64;
		char **grown = realloc(env->var, room * sizeof *grown);
		if (!grown)
			return -1;
		env->var = grown;
		env->room = room;
	}
	env->var[env->count++] = var;
	env->var[env->count] = NULL;
	return 0;
}

int env_open(struct env *env)
{
	env->var = NULL;
	env->count = env->room = env->text_len = 0;
	for (char **var = environ; *var; var++)
		if (!in_family(*var) && append(env, *var) == -1)
			return -1;
	env->base = env->count;
	return 0;
}

void env_unset(struct env *env, const char *name)
{
	size_t len = strlen(name), kept = 0;
	for (size_t i = 0; i < env->count; i++)
		if (strncmp(env->var[i], name, len) != 0 || env->var[i][len] != '=')
			env->var[kept++] = env->var[i];
	env->base -= env->count - kept;
	env->count = kept;
	if (env->var)
		env->var[kept] = NULL;
}

/* Set NAME to the LEN bytes of VALUE. */
static int set(struct env *env, const char *name, const char *value, size_t len)
{
	size_t name_len = strlen(name), size = name_len + len + 2;
	bool fits = size <= sizeof env->text - env->text_len;
	char *var = fits ? env->text + env->text_len : malloc(size);
	if (!var)
		return -1;
	memcpy(var, name, name_len);
	var[name_len] = '=';
	memcpy(var + name_len + 1, value, len);
	var[size - 1] = '\0';
	if (fits)
		env->text_len += size;
	if (append(env, var) == 0)
		return 0;
	if (!fits)
		free(var);
	return -1;
}

static int set_text(struct env *env, const char *name, const char *value)
{
	return set(env, name, value, strlen(value));
}

static int set_number(struct env *env, const char *name, uint64_t n)
{
	char text[NUMBER_ROOM];
	return set(env, name, text, format_number(text, n));
}

void env_reset(struct env *env)
{
	while (env->count > env->base) {
		char *var = env->var[--env->count];
		if (var < env->text || var >= env->text + sizeof env->text)
			free(var);
	}
	env->text_len = 0;
	if (env->var)
		env->var[env->count] = NULL;
}

/* Names with colons between; systemd's word for a descriptor without a name is unknown. */
static int set_names(struct env *env, char *const *name, size_t count)
{
	size_t len = 0;
	char *text = NULL;
	for (int pass = 0; pass < 2; pass++) {
		if (pass && !(text = malloc(len + 1)))
			return -1;
		len = 0;
		for (size_t i = 0; i < count; i++) {
			const char *one = name[i] ? name[i] : "unknown";
			size_t more = strlen(one);
			if (text)
				*(char *)mempcpy(text + len, one, more) = ':';
			len += more + 1;
		}
	}
	int result = set(env, "LISTEN_FDNAMES", text, len - 1);
	free(text);
	return result;
}

int env_fds(struct env *env, const int *to, size_t count)
{
	char few[8 * NUMBER_ROOM] = {0}, *text = count <= 8 ? few : malloc(count * NUMBER_ROOM);
	if (!text)
		return -1;
	size_t len = 0;
	for (size_t i = 0; i < count; i++) {
		if (i)
			text[len++] = ' ';
		len += format_number(text + len, (uint64_t)to[i]);
	}
	int result = set(env, "FDKIT_FDS", text, len);
	if (text != few)
		free(text);
	return result;
}

int env_listen(struct env *env, const int *to, char *const *name, size_t count, bool no_pid)
{
	bool all = count;
	for (size_t i = 0; i < count; i++)
		all = all && to[i] >= 3;
	if (!all)
		return 0;
	/* Where they lie counts, not the order in which they came: names go by number. */
	char **by_number = calloc(count, sizeof *by_number);
	bool *there = calloc(count, sizeof *there);
	all = by_number && there;
	int result = by_number && there ? 0 : -1;
	for (size_t i = 0; all && i < count; i++) {
		size_t at = (size_t)to[i] - 3;
		all = at < count && !there[at];
		if (all) {
			there[at] = true;
			by_number[at] = name ? name[i] : NULL;
		}
	}
	if (all && !no_pid)
		result = set_number(env, "LISTEN_PID", (uint64_t)getpid());
	if (all && result == 0)
		result = set_number(env, "LISTEN_FDS", count);
	if (all && result == 0)
		result = set_names(env, by_number, count);
	free(by_number);
	free(there);
	return result;
}

/* Valid UTF-8 without control characters other than tab and newline. */
static bool is_text(const char *data, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = data[i] == '\t' || data[i] == '\n' ? 1 : printable_length(data + i, len - i);
		if (!n)
			return false;
	}
	return len > 0;
}

int env_delivery(struct env *env, const struct delivery *d)
{
	if (d->peer.pid && (set_number(env, "FDKIT_PEER_PID", (uint64_t)d->peer.pid) == -1 ||
	                    set_number(env, "FDKIT_PEER_UID", d->peer.uid) == -1 ||
	                    set_number(env, "FDKIT_PEER_GID", d->peer.gid) == -1))
		return -1;
	return is_text(d->text, d->len) ? set(env, "FDKIT_MESSAGE", d->text, d->len) : 0;
}

union sockname {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* IPv4 that came to an IPv6 socket is shown as what it is. */
static unsigned ip(const union sockname *s, char text[INET6_ADDRSTRLEN])
{
	bool in6 = s->any.sa_family == AF_INET6;
	if (in6 && IN6_IS_ADDR_V4MAPPED(&s->in6.sin6_addr))
		inet_ntop(AF_INET, &s->in6.sin6_addr.s6_addr[12], text, INET6_ADDRSTRLEN);
	else if (in6)
		inet_ntop(AF_INET6, &s->in6.sin6_addr, text, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET, &s->in.sin_addr, text, INET6_ADDRSTRLEN);
	return ntohs(in6 ? s->in6.sin6_port : s->in.sin_port);
}

static int tcp_variables(struct env *env, const union sockname *local, const union sockname *remote)
{
	char text[INET6_ADDRSTRLEN];
	unsigned port = ip(remote, text);
	if (set_text(env, "PROTO", "TCP") == -1 || set_text(env, "TCPREMOTEIP", text) == -1 ||
	    set_text(env, "REMOTE_ADDR", text) == -1 || set_number(env, "TCPREMOTEPORT", port) == -1 ||
	    set_number(env, "REMOTE_PORT", port) == -1)
		return -1;
	port = ip(local, text);
	return set_text(env, "TCPLOCALIP", text) == -1 ? -1 : set_number(env, "TCPLOCALPORT", port);
}

static int unix_variables(struct env *env, int fd, union sockname *local, socklen_t len)
{
	struct peer peer;
	if (set_text(env, "PROTO", "UNIX") == -1)
		return -1;
	if (peer_of(fd, &peer) == 0 && (set_number(env, "UNIXREMOTEPID", (uint64_t)peer.pid) == -1 ||
	    set_number(env, "UNIXREMOTEEUID", peer.uid) == -1 || set_number(env, "UNIXREMOTEEGID", peer.gid) == -1))
		return -1;
	char *path = local->un.sun_path;
	size_t most = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
	/* An environment cannot hold an abstract name's NUL: it is shown as @. */
	if (most && !*path)
		*path = '@';
	/* A path that was too long to bind by has a name in our /proc, which is nobody else's. */
	if (!most || strncmp(path, "/proc/self/fd/", 14) == 0)
		return 0;
	return set(env, "UNIXLOCALPATH", path, strnlen(path, most));
}

int env_connection(struct env *env, int fd)
{
	union sockname local = {0}, remote = {0};
	socklen_t local_len = sizeof local, remote_len = sizeof remote;
	if (getsockname(fd, &local.any, &local_len) == -1)
		return 0;
	/* A TCP client that is gone already has no name any more, nor has a listening socket. */
	if (local.any.sa_family == AF_UNIX)
		return unix_variables(env, fd, &local, local_len);
	if (getpeername(fd, &remote.any, &remote_len) == -1)
		return 0;
	if (local.any.sa_family == AF_INET || local.any.sa_family == AF_INET6)
		return tcp_variables(env, &local, &remote);
	return 0;
}
