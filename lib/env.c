/* SPDX-License-Identifier: ISC */
/* The environment of COMMAND. */
#include "env.h"
#include "wire.h"
#include "kernel.h"
#include "parse.h"
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

static bool begins(const char *var, const char *const *with, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(var, with[i], strlen(with[i])) == 0)
			return true;
	return false;
}

/* Variables that describe descriptors or a connection: one that fdkit does not set itself would describe another's. */
bool env_family(const char *var)
{
	static const char *const families[] = {
		"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "LISTEN_PIDFDID=", "FDKIT_", "PROTO=",
		"TCPREMOTE", "TCPLOCAL", "UNIXREMOTE", "UNIXLOCAL", "REMOTE_ADDR=", "REMOTE_PORT=",
	};
	return begins(var, families, sizeof families / sizeof *families);
}

bool env_reserved(const char *var)
{
	static const char *const others[] = {"PATH=", "IFS=", "ENV=", "BASH_ENV=", "LD_", "LISTEN_", "NOTIFY_SOCKET="};
	return env_family(var) || begins(var, others, sizeof others / sizeof *others);
}

enum {
	OURS = 16,      /* variables that fdkit sets, at most */
	TEXT = 700,     /* bytes that suffice for all of them but lists and the message */
	FEW = 6,        /* descriptors of most sets */
	FD_ROOM = NUMBER_ROOM + sizeof "unknown",
};

int env_open(struct env *env)
{
	size_t count = 0;
	while (environ[count])
		count++;
	count += OURS + 1;
	/* One block, made before anything arrives: enough for most sets. */
	*env = (struct env){.var = malloc(count * sizeof *env->var + TEXT + (size_t)FEW * FD_ROOM), .room = TEXT + (size_t)FEW * FD_ROOM};
	if (!env->var)
		return -1;
	env->text = (char *)(env->var + count);
	for (char **var = environ; *var; var++)
		if (!env_family(*var))
			env->var[env->base++] = *var;
	env->count = env->base;
	env->var[env->count] = NULL;
	return 0;
}

void env_add(struct env *env, char *var)
{
	env->var[env->count] = var;
	env->var[++env->count] = NULL;
}

void env_unset(struct env *env, const char *name)
{
	size_t len = strlen(name), kept = 0;
	for (size_t i = 0; i < env->base; i++)
		if (strncmp(env->var[i], name, len) != 0 || env->var[i][len] != '=')
			env->var[kept++] = env->var[i];
	env->base = env->count = kept;
	env->var[kept] = NULL;
}

int env_begin(struct env *env, size_t fds, size_t bytes)
{
	size_t room = TEXT + fds * FD_ROOM + bytes;
	if (room > env->room) {
		char *grown = realloc(env->grown, room);
		if (!grown)
			return -1;
		env->text = env->grown = grown;
		env->room = room;
	}
	env->used = 0;
	env->count = env->base;
	env->var[env->count] = NULL;
	return 0;
}

/* A variable NAME; returns where its value goes. */
static char *begin(struct env *env, const char *name)
{
	env->var[env->count] = env->text + env->used;
	return stpcpy(env->var[env->count], name);
}

static void end(struct env *env, char *end_of_value)
{
	*end_of_value = '\0';
	env->used = (size_t)(end_of_value + 1 - env->text);
	env->var[++env->count] = NULL;
}

static void put(struct env *env, const char *name, const char *value, size_t len)
{
	end(env, mempcpy(begin(env, name), value, len));
}

static void put_number(struct env *env, const char *name, uint64_t n)
{
	char *value = begin(env, name);
	end(env, value + format_number(value, n));
}

void env_fds(struct env *env, const int *to, size_t count)
{
	char *value = begin(env, "FDKIT_FDS=");
	for (size_t i = 0; i < count; i++) {
		if (i)
			*value++ = ' ';
		value += format_number(value, (unsigned)to[i]);
	}
	end(env, value);
}

int env_listen(struct env *env, const int *to, char *const *name, size_t count, bool no_pid)
{
	bool all = count;
	/* The numbers decide, not the order in which the descriptors came: so names go by number. */
	const char **by_number = calloc(count + 1, sizeof *by_number);
	if (!by_number)
		return -1;
	for (size_t i = 0; all && i < count; i++) {
		size_t at = (size_t)to[i] - 3;
		all = to[i] >= 3 && at < count && !by_number[at];
		if (all) /* systemd calls one that has no name unknown */
			by_number[at] = name && name[i] ? name[i] : "unknown";
	}
	if (all) {
		if (!no_pid)
			put_number(env, "LISTEN_PID=", (uint64_t)getpid());
		put_number(env, "LISTEN_FDS=", count);
		char *value = begin(env, "LISTEN_FDNAMES=");
		for (size_t i = 0; i < count; i++) {
			if (i)
				*value++ = ':';
			value = stpcpy(value, by_number[i]);
		}
		end(env, value);
	}
	free(by_number);
	return 0;
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

void env_delivery(struct env *env, const struct delivery *d)
{
	if (d->peer.pid)
		put_number(env, "FDKIT_PEER_PID=", (uint64_t)d->peer.pid);
	if (d->peer.uid != NOBODY) {
		put_number(env, "FDKIT_PEER_UID=", d->peer.uid);
		put_number(env, "FDKIT_PEER_GID=", d->peer.gid);
	}
	if (is_text(d->text, d->len, "\t\n"))
		put(env, "FDKIT_MESSAGE=", d->text, d->len);
}

/* ---- in the process that becomes COMMAND: no memory, and errno stays ---- */

union sockname {
	struct sockaddr_storage whole; /* longer than any: a path has a NUL behind it */
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/* IPv4 that came to an IPv6 socket is shown as what it is. inet_ntop(3) would format it by printf. */
static unsigned ip(const union sockname *s, char text[INET6_ADDRSTRLEN])
{
	bool in6 = s->any.sa_family == AF_INET6, mapped = in6 && IN6_IS_ADDR_V4MAPPED(&s->in6.sin6_addr);
	const unsigned char *byte = mapped ? &s->in6.sin6_addr.s6_addr[12] : (const void *)&s->in.sin_addr;
	if (in6 && !mapped)
		inet_ntop(AF_INET6, &s->in6.sin6_addr, text, INET6_ADDRSTRLEN);
	else
		for (int i = 0; i < 4; i++) {
			text += format_number(text, byte[i]);
			*text++ = i < 3 ? '.' : '\0';
		}
	return ntohs(in6 ? s->in6.sin6_port : s->in.sin_port);
}

static void tcp_variables(struct env *env, const union sockname *local, const union sockname *remote)
{
	char address[INET6_ADDRSTRLEN];
	unsigned port = ip(remote, address);
	put(env, "PROTO=", "TCP", 3);
	put(env, "TCPREMOTEIP=", address, strlen(address));
	put(env, "REMOTE_ADDR=", address, strlen(address));
	put_number(env, "TCPREMOTEPORT=", port);
	put_number(env, "REMOTE_PORT=", port);
	port = ip(local, address);
	put(env, "TCPLOCALIP=", address, strlen(address));
	put_number(env, "TCPLOCALPORT=", port);
}

static void unix_variables(struct env *env, int fd, union sockname *local, socklen_t len)
{
	struct ucred peer = {0};
	socklen_t size = sizeof peer;
	put(env, "PROTO=", "UNIX", 4);
	if (kernel(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&peer, (long)&size) == 0) {
		put_number(env, "UNIXREMOTEPID=", (uint64_t)peer.pid);
		put_number(env, "UNIXREMOTEEUID=", peer.uid);
		put_number(env, "UNIXREMOTEEGID=", peer.gid);
	}
	char *path = local->un.sun_path;
	/* An environment cannot hold an abstract name's NUL: it is shown as @. */
	if (len > offsetof(struct sockaddr_un, sun_path) && !*path)
		*path = '@';
	/* A path that was too long to bind by has a name in our /proc, which means nothing elsewhere. */
	if (strncmp(path, "/proc/self/fd/", 14) != 0 && is_text(path, strlen(path), ""))
		put(env, "UNIXLOCALPATH=", path, strlen(path));
}

void env_connection(struct env *env, int fd)
{
	union sockname local = {0}, remote = {0};
	socklen_t local_len = sizeof local, remote_len = sizeof remote;
	if (kernel(SYS_getsockname, fd, (long)&local, (long)&local_len, 0, 0) < 0)
		return;
	bool tcp = local.any.sa_family == AF_INET || local.any.sa_family == AF_INET6;
	if (local.any.sa_family == AF_UNIX)
		unix_variables(env, fd, &local, local_len);
	/* A TCP client that is gone already has no name any more, nor has a listening socket. */
	else if (tcp && kernel(SYS_getpeername, fd, (long)&remote, (long)&remote_len, 0, 0) == 0)
		tcp_variables(env, &local, &remote);
}
