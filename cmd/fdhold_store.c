/* SPDX-License-Identifier: ISC */
/* Descriptors by name: what fdhold holds. */
#include "fdhold_store.h"
#include "address.h"
#include "fd.h"
#include "parse.h"
#include "peer.h"
#include "socket.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Where NAME is, or would be. */
static size_t place_of(const struct store *s, const char *name)
{
	size_t low = 0, high = s->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(s->entry[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *store_find(const struct store *s, const char *name)
{
	size_t i = place_of(s, name);
	return i < s->count && strcmp(s->entry[i]->name, name) == 0 ? s->entry[i] : NULL;
}

/* ---- what a descriptor is ----
 *
 * The server of a FUSE file answers when it likes, and so does whoever holds the lock of an Internet socket, by
 * sending from memory that such a file backs. Kernel: statx(2) with AT_STATX_DONT_SYNC asks no server
 * (fuse_update_get_attr), getsockopt(2) of SOL_SOCKET and poll(2) take no lock (sk_getsockopt, tcp_poll),
 * getsockname(2) does (inet_getname), but for Unix sockets no lasting one. */

/* FD's type, in the bits of st_mode; 0 if that cannot be told. */
static mode_t type_of(int fd)
{
	/* linux/stat.h, which musl does not come with: struct statx, STATX_TYPE, AT_STATX_DONT_SYNC */
	struct {
		uint32_t mask, block;
		uint64_t attributes;
		uint32_t links, uid, gid;
		uint16_t mode, rest[113];
	} st;
	_Static_assert(sizeof st == 256, "struct statx");
	return syscall(SYS_statx, fd, "", AT_EMPTY_PATH | 0x4000, 1U, &st) == -1 ? 0 : st.mode & S_IFMT;
}

/* Kernel: a stream socket that is not connected yet, and one whose both directions are closed, show a hang-up. */
static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};
	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void describe_socket(struct entry *e, int domain)
{
	static const char *const words[][3] = {{"unix-listener", "unix-connection", "unix-socket"},
	                                       {"tcp-listener", "tcp-connection", "tcp-socket"}};
	bool local = domain == AF_UNIX, inet = domain == AF_INET || domain == AF_INET6;
	int protocol = fd_option(e->fd, SO_PROTOCOL), type = fd_option(e->fd, SO_TYPE);
	const struct listener l = {.at = {.fd = e->fd, .kind = END_FD, .type = SOCK_STREAM}};
	char name[4200];
	if (local || (inet && protocol == IPPROTO_TCP)) {
		bool listens = fd_option(e->fd, SO_ACCEPTCONN) == 1;
		e->connected = !listens && type != SOCK_DGRAM && !hung_up(e->fd);
		e->kind = words[!local][listens ? 0 : e->connected ? 1 : 2];
	} else {
		e->kind = inet && protocol == IPPROTO_UDP ? "udp-socket" : domain == AF_NETLINK ? "netlink-socket" : "socket";
	}
	if ((local || (inet && uid_trusted(e->who.uid))) && listener_name(&l, name, sizeof name) == 0) {
		printable(name, strlen(name));
		e->address = strdup(name);
	}
}

static void describe(struct entry *e)
{
	int domain = fd_option(e->fd, SO_DOMAIN);
	if (domain != -1) {
		describe_socket(e, domain);
		return;
	}
	mode_t type = type_of(e->fd);
	e->kind = S_ISREG(type) ? "file" : S_ISFIFO(type) ? "pipe" : S_ISDIR(type) ? "directory" :
	          !S_ISCHR(type) ? "other" : isatty(e->fd) ? "terminal" : "device";
}

/* ---- the store ---- */

struct entry *store_after(const struct store *s, const char *name)
{
	size_t i = place_of(s, name);
	i += i < s->count && strcmp(s->entry[i]->name, name) == 0;
	return i < s->count ? s->entry[i] : NULL;
}

/* What UID has put, or NULL. */
static struct owner *owner_of(const struct store *s, uid_t uid)
{
	size_t i = 0;
	while (i < s->owners && s->owner[i].uid != uid)
		i++;
	return i < s->owners ? &s->owner[i] : NULL;
}

static struct owner *owner_add(struct store *s, uid_t uid)
{
	struct owner *grown = realloc(s->owner, (s->owners + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	s->owner = grown;
	grown[s->owners] = (struct owner){.uid = uid};
	return &grown[s->owners++];
}

static const char *refusal(const struct store *s, const char *name, uid_t uid)
{
	const struct owner *owner = owner_of(s, uid);
	if (store_find(s, name))
		return "the name is taken";
	if (s->count >= s->most)
		return "the store is full";
	if (owner && owner->entries >= s->most_per_uid)
		return "too many from that uid";
	if (!uid_trusted(uid) && (owner ? owner->bytes : 0) + strlen(name) + 1 > s->names_per_uid)
		return "too long names from that uid";
	return NULL;
}

const char *store_put(struct store *s, const char *name, int fd, const struct peer *who, int64_t expires)
{
	const char *why = refusal(s, name, who->uid);
	if (why)
		return why;
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct entry **grown = realloc(s->entry, room * sizeof(void *));
		if (!grown)
			return "out of memory";
		s->entry = grown;
		s->room = room;
	}
	struct entry *e = malloc(sizeof *e);
	char *copy = strdup(name);
	struct owner *owner = owner_of(s, who->uid);
	if (e && copy && !owner)
		owner = owner_add(s, who->uid);
	if (!e || !copy || !owner) {
		free(e);
		free(copy);
		return "out of memory";
	}
	*e = (struct entry){.name = copy, .fd = fd, .who = *who, .since = time(NULL), .expires = expires};
	describe(e);
	size_t i = place_of(s, name);
	memmove(s->entry + i + 1, s->entry + i, (s->count - i) * sizeof(void *));
	s->entry[i] = e;
	s->count++;
	owner->entries++;
	owner->bytes += strlen(name) + 1;
	return NULL;
}

int store_drop(struct store *s, struct entry *e)
{
	size_t i = place_of(s, e->name);
	int fd = e->fd;
	memmove(s->entry + i, s->entry + i + 1, (--s->count - i) * sizeof(void *));
	struct owner *owner = owner_of(s, e->who.uid);
	owner->entries--;
	owner->bytes -= strlen(e->name) + 1;
	if (!owner->entries)
		*owner = s->owner[--s->owners];
	free(e->address);
	free(e->name);
	free(e);
	return fd;
}

int64_t store_deadline(const struct store *s)
{
	int64_t next = NEVER;
	for (size_t i = 0; i < s->count; i++)
		next = sooner(next, s->entry[i]->expires);
	return next;
}
