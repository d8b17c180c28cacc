/* SPDX-License-Identifier: ISC */
/* What COMMAND reports and stores under fdserve -L -k, by sd_notify(3). */
#include "closer.h"
#include "fd.h"
#include "fdserve_keep.h"
#include "messages.h"
#include "peer.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	TEXT_MOST = 4096,       /* bytes in a message, as systemd takes them */
	MESSAGES_MOST = 1024,   /* at a time, more than a queue holds: others have their turn */
	NAME_MOST = 255,
	NO_MEMORY_MS = 100,     /* for a message, which poll(2) shows all the same */
};

int notify_open(char address[NOTIFY_ROOM])
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = sizeof a;
	int on = 1, sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Kernel: bound so, it gets an abstract name that nobody has, five hexadecimal digits (unix(7)). */
	if (sock != -1 && setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 &&
	    bind(sock, (struct sockaddr *)&a, sizeof a.sun_family) == 0 &&
	    getsockname(sock, (struct sockaddr *)&a, &len) == 0) {
		size_t named = len - offsetof(struct sockaddr_un, sun_path) - 1;
		snprintf(address, NOTIFY_ROOM, "@%.*s", (int)named, a.sun_path + 1);
		return sock;
	}
	return fd_drop(sock);
}

/* The effective uid of the process PID, NOBODY if that cannot be told. */
static uid_t uid_of(pid_t pid)
{
	char line[100], *end;
	uid_t uid = NOBODY;
	snprintf(line, sizeof line, "/proc/%ld/status", (long)pid);
	FILE *f = fopen(line, "re");
	while (f && uid == NOBODY && fgets(line, sizeof line, f))
		if (strncmp(line, "Uid:", 4) == 0) {
			strtoul(line + 4, &end, 10);
			uid = (uid_t)strtoul(end, NULL, 10);
		}
	if (f)
		fclose(f);
	return uid;
}

static bool counts(uid_t uid, pid_t pid)
{
	return uid_trusted(uid) || (uid != NOBODY && !uid_unmapped(uid) && uid == uid_of(pid));
}

/* Are A and B one open file? Kernel: F_DUPFD_QUERY, since 6.10; before that kcmp(2) with KCMP_FILE. */
static bool same_file(int a, int b)
{
	pid_t self = getpid();
	int same = fcntl(a, 1024 + 3, b);
	return same == -1 ? syscall(SYS_kcmp, self, self, 0, a, b) == 0 : same;
}

/* As sd_notify(3) has it, or the one that it has for none. */
static const char *valid_name(const char *name)
{
	size_t len = name ? strlen(name) : 0;
	for (size_t i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~' || name[i] == ':')
			len = 0;
	return len > 0 && len <= NAME_MOST ? name : "stored";
}

/* Keep FD. False: it is the caller's still. */
static bool keep(struct store_of_command *s, int fd, const char *name, const struct kept *like)
{
	for (size_t i = 0; i < s->count; i++)
		if (same_file(s->kept[i].fd, fd))
			return false;
	char *copy = s->count < s->most ? strdup(name) : NULL;
	if (!copy) {
		say(s->cli, "%s: closed a descriptor named %s: %s", s->name, name,
		    s->count < s->most ? strerror(ENOMEM) : "as many are kept as may be");
		return false;
	}
	s->kept[s->count] = *like;
	s->kept[s->count].fd = fd;
	/* Polling a FUSE file asks its server: so only sockets are polled. */
	s->kept[s->count].polled = like->polled && fd_option(fd, SO_TYPE) != -1;
	s->kept[s->count++].name = copy;
	note(s->cli, "%s: keeping a descriptor named %s, %zu in all", s->name, name, s->count);
	return true;
}

static void drop(struct store_of_command *s, size_t i)
{
	note(s->cli, "%s: dropped the descriptor named %s", s->name, s->kept[i].name);
	closer_close(s->closer, s->kept[i].fd, s->kept[i].uid);
	free(s->kept[i].name);
	memmove(s->kept + i, s->kept + i + 1, (--s->count - i) * sizeof *s->kept);
}

/* Obey the message TEXT from UID; what is kept of SET becomes -1 there. BARRIER=1 needs nothing: its descriptor is
 * closed, as all are that are not kept. Returns whether COMMAND is ready. */
static bool obey(struct store_of_command *s, char *text, struct set *set, uid_t uid)
{
	bool ready = false, store = false, drops = false;
	const char *name = NULL;
	struct kept like = {.uid = uid, .polled = true};
	for (char *line; (line = strsep(&text, "\n"));) {
		ready = ready || strcmp(line, "READY=1") == 0;
		store = store || strcmp(line, "FDSTORE=1") == 0;
		drops = drops || strcmp(line, "FDSTOREREMOVE=1") == 0;
		like.polled = like.polled && strcmp(line, "FDPOLL=0") != 0;
		if (strncmp(line, "FDNAME=", 7) == 0)
			name = line + 7;
	}
	for (size_t i = s->count; drops && name && i-- > 0;)
		if (strcmp(s->kept[i].name, name) == 0)
			drop(s, i);
	for (size_t i = 0; store && !drops && i < set->count; i++)
		if (keep(s, set->fd[i], valid_name(name), &like))
			set->fd[i] = -1;
	return ready;
}

/* Kernel: a message installs no descriptor at RLIMIT_NOFILE or above. */
static ssize_t receive(const struct store_of_command *s, int sock, struct set *set, char *text, struct peer *from)
{
	struct rlimit limit = {0};
	getrlimit(RLIMIT_NOFILE, &limit);
	const struct rlimit lower = {.rlim_cur = s->below, .rlim_max = limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &lower);
	ssize_t len = rights_receive(sock, set, text, TEXT_MOST + 1, from);
	int error = errno;
	setrlimit(RLIMIT_NOFILE, &limit);
	errno = error;
	return len;
}

bool notify_hear(struct store_of_command *s, int sock, pid_t pid, bool *told)
{
	bool ready = false;
	for (int i = 0; i < MESSAGES_MOST; i++) {
		char text[TEXT_MOST + 1];
		struct set set = {0};
		struct peer from = {.uid = NOBODY};
		ssize_t len = receive(s, sock, &set, text, &from);
		if (len == -1 && errno != EMFILE) {
			if (out_of_resources(errno))
				nap(NO_MEMORY_MS, NEVER);
			break;
		}
		int error = errno;
		bool trusted = counts(from.uid, pid);
		if (trusted && len == -1) {
			say(s->cli, "%s: closed descriptors that it wanted kept: %s", s->name, strerror(error));
		} else if (trusted && len <= TEXT_MOST) {
			text[len] = '\0';
			ready = obey(s, text, &set, from.uid) || ready;
		} else if (!*told) {
			*told = true;
			say(s->cli, len > TEXT_MOST ? "%s: ignored a notification of uid %lu, which was too long"
			    : "%s: ignored a notification of uid %lu", s->name, (unsigned long)from.uid);
		}
		closer_trim(s->closer, &set, 0, from.uid);
		set_forget(&set);
	}
	return ready;
}

void kept_poll(const struct store_of_command *s, struct pollfd *p)
{
	for (size_t i = 0; i < s->count; i++)
		p[i] = (struct pollfd){.fd = s->kept[i].polled ? s->kept[i].fd : -1};
}

void kept_look(struct store_of_command *s, const struct pollfd *p)
{
	for (size_t i = s->count; i-- > 0;)
		if (p[i].revents & (POLLHUP | POLLERR)) /* either is reported until the socket is closed */
			drop(s, i);
}
