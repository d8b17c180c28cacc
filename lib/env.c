/* SPDX-License-Identifier: ISC */
/* The environment of COMMAND. */
#include "env.h"
#include "wire.h"
#include "kernel.h"
#include "parse.h"
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

/* Variables that describe descriptors or a connection: one that fdkit does not set itself would describe another's. */
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

enum { CONNECTION = 8 };  /* variables of env_connection, at most: there is always room for them */

static int append(struct env *env, char *var)
{
	if (env->count + 1 + CONNECTION >= env->room) {
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
	*env = (struct env){0};
	for (char **var = environ; *var; var++)
		if (!in_family(*var) && append(env, *var) == -1) {
			free(env->var);
			return -1;
		}
	env->base = env->count;
	return 0;
}

void env_unset(struct env *env, const char *name)
{
	size_t len = strlen(name), kept = 0;
	for (size_t i = 0; i < env->base; i++)
		if (strncmp(env->var[i], name, len) != 0 || env->var[i][len] != '=')
			env->var[kept++] = env->var[i];
	env->base = env->count = kept;
	if (env->var)
		env->var[kept] = NULL;
}

__attribute__((format(printf, 2, 3))) static int set(struct env *env, const char *format, ...)
{
	char *var;
	va_list ap;
	va_start(ap, format);
	int n = vasprintf(&var, format, ap);
	va_end(ap);
	if (n == -1)
		return -1;
	int result = append(env, var);
	if (result == -1)
		free(var);
	return result;
}

void env_reset(struct env *env)
{
	while (env->count > env->base)
		free(env->var[--env->count]);
	if (env->var)
		env->var[env->count] = NULL;
}

/* Names with colons between. */
static int listen_names(struct env *env, const char *const *name, size_t count)
{
	size_t len = 0;
	for (size_t i = 0; i < count; i++)
		len += strlen(name[i]) + 1;
	char *text = malloc(len), *end = text;
	if (!text)
		return -1;
	for (size_t i = 0; i < count; i++) {
		end = stpcpy(end, name[i]);
		*end++ = i + 1 < count ? ':' : '\0';
	}
	int result = set(env, "LISTEN_FDNAMES=%s", text);
	free(text);
	return result;
}

int env_fds(struct env *env, const int *to, size_t count)
{
	char *text = malloc(count * NUMBER_ROOM + 1), *end = text;
	if (!text)
		return -1;
	*end = '\0';
	for (size_t i = 0; i < count; i++)
		end += sprintf(end, "%s%d", i ? " " : "", to[i]);
	int result = set(env, "FDKIT_FDS=%s", text);
	free(text);
	return result;
}

int env_listen(struct env *env, const int *to, char *const *name, size_t count, bool no_pid)
{
	int result = 0;
	bool all = count;
	/* The numbers decide, not the order in which the descriptors came: so names go by number. */
	const char **by_number = calloc(count ? count : 1, sizeof *by_number);
	if (!by_number)
		return -1;
	for (size_t i = 0; all && i < count; i++) {
		size_t at = (size_t)to[i] - 3;
		all = to[i] >= 3 && at < count && !by_number[at];
		if (all) /* systemd calls one that has no name unknown */
			by_number[at] = name && name[i] ? name[i] : "unknown";
	}
	if (all && !no_pid)
		result = set(env, "LISTEN_PID=%ld", (long)getpid());
	if (all && result == 0)
		result = set(env, "LISTEN_FDS=%zu", count);
	if (all && result == 0)
		result = listen_names(env, by_number, count);
	free(by_number);
	return result;
}

/* Printable UTF-8, or one of the characters of BUT. */
static bool is_text(const char *data, size_t len, const char *but)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = data[i] && strchr(but, data[i]) ? 1 : printable_length(data + i, len - i);
		if (!n)
			return false;
	}
	return len > 0;
}

int env_delivery(struct env *env, const struct delivery *d)
{
	const struct peer *peer = &d->peer;
	if (peer->pid && set(env, "FDKIT_PEER_PID=%ld", (long)peer->pid) == -1)
		return -1;
	if (peer->uid != NOBODY && (set(env, "FDKIT_PEER_UID=%lu", (unsigned long)peer->uid) == -1 ||
	                            set(env, "FDKIT_PEER_GID=%lu", (unsigned long)peer->gid) == -1))
		return -1;
	return is_text(d->text, d->len, "\t\n") ? set(env, "FDKIT_MESSAGE=%.*s", (int)d->len, d->text) : 0;
}

/* ---- in the process that becomes COMMAND: no memory, and errno stays ---- */

union sockname {
	struct sockaddr_storage whole; /* longer than any: a path has a NUL behind it */
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* append has left room for the variables, and .text has more than they need. */
struct connection_variables {
	char **next, *text;
};

static void put(struct connection_variables *v, const char *name, const char *value)
{
	*v->next++ = v->text;
	*v->next = NULL;
	v->text = stpcpy(stpcpy(v->text, name), value) + 1;
}

static void put_number(struct connection_variables *v, const char *name, uint64_t n)
{
	char text[NUMBER_ROOM + 1];
	text[format_number(text, n)] = '\0';
	put(v, name, text);
}

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

static void tcp_variables(struct connection_variables *v, const union sockname *local, const union sockname *remote)
{
	char address[INET6_ADDRSTRLEN];
	unsigned port = ip(remote, address);
	put(v, "PROTO=", "TCP");
	put(v, "TCPREMOTEIP=", address);
	put(v, "REMOTE_ADDR=", address);
	put_number(v, "TCPREMOTEPORT=", port);
	put_number(v, "REMOTE_PORT=", port);
	port = ip(local, address);
	put(v, "TCPLOCALIP=", address);
	put_number(v, "TCPLOCALPORT=", port);
}

static void unix_variables(struct connection_variables *v, int fd, union sockname *local, socklen_t len)
{
	struct ucred peer = {0};
	socklen_t size = sizeof peer;
	put(v, "PROTO=", "UNIX");
	if (kernel(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size) == 0) {
		put_number(v, "UNIXREMOTEPID=", (uint64_t)peer.pid);
		put_number(v, "UNIXREMOTEEUID=", peer.uid);
		put_number(v, "UNIXREMOTEEGID=", peer.gid);
	}
	char *path = local->un.sun_path;
	/* An environment cannot hold an abstract name's NUL: it is shown as @. */
	if (len > offsetof(struct sockaddr_un, sun_path) && !*path)
		*path = '@';
	/* A path that was too long to bind by has a name in our /proc, which means nothing elsewhere. */
	if (strncmp(path, "/proc/self/fd/", 14) != 0 && is_text(path, strlen(path), ""))
		put(v, "UNIXLOCALPATH=", path);
}

void env_connection(struct env *env, int fd)
{
	struct connection_variables v = {.next = env->var + env->count, .text = env->text};
	union sockname local = {0}, remote = {0};
	socklen_t local_len = sizeof local, remote_len = sizeof remote;
	if (kernel(SYS_getsockname, fd, (long)&local, (long)&local_len, 0, 0) < 0)
		return;
	bool tcp = local.any.sa_family == AF_INET || local.any.sa_family == AF_INET6;
	if (local.any.sa_family == AF_UNIX)
		unix_variables(&v, fd, &local, local_len);
	/* A TCP client that is gone already has no name any more, nor has a listening socket. */
	else if (tcp && kernel(SYS_getpeername, fd, (long)&remote, (long)&remote_len, 0, 0) == 0)
		tcp_variables(&v, &local, &remote);
}
