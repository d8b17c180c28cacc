/* SPDX-License-Identifier: ISC */
/* fdserve --lease: keep ports for the servers that COMMAND starts. */
#include "fdserve.h"
#include "address.h"
#include "child.h"
#include "lease.h"
#include "listening.h"
#include "messages.h"
#include "peer.h"
#include "ready.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MS = 1, LOOK_MOST_MS = 50 };

/* The announcement, which waits until each port has a listener. */
struct leases {
	struct options *o;
	char *text;             /* the addresses, from then on; NULL before */
	int watch;              /* lease_watch's */
	int64_t look;           /* when to look next, or NEVER */
	int pause;              /* how long to wait after that */
};

/* -R and -A keep a standard stream until each port has a listener; COMMAND has /dev/null there from its beginning, as it
 * would have later. */
static void move_ready(struct options *o)
{
	int from = o->cli.ready, null, to;
	if (from == -1 || from > 2)
		return;
	if ((to = fcntl(from, F_DUPFD_CLOEXEC, 3)) == -1 || (null = open("/dev/null", O_RDWR | O_CLOEXEC)) == -1 ||
	    dup2(null, from) == -1)
		err(FAILED, "-R %d", from);
	close(null);
	o->cli.ready = to;
	if (o->addresses.file.kind == FILE_INHERITED && o->addresses.file.fd == from)
		o->addresses.file.fd = to;
}

/* If each port has a listener, say so. Returns whether all is said; -1 on failure, which is reported. */
static int announce(struct leases *s)
{
	struct options *o = s->o;
	struct address_file *file = &o->addresses.file;
	for (size_t i = 0; i < o->addresses.count && !s->text; i++)
		if (!lease_served(&o->addresses.listener[i], s->watch))
			return 0;
	if ((!s->text && !(s->text = listening_text(&o->addresses, &o->cli))) ||
	    (file->path && address_file_write(file, s->text, strlen(s->text)) == -1)) {
		if (errno == EAGAIN)
			return 0;
		warn("%s%s", file->path ? "-A " : "", file->path ? file->path : o->addresses.listener[0].arg);
		return -1;
	}
	if (ready_fd(o->cli.ready) == 0)
		return 1;
	warn("-R");
	return -1;
}

static void look(struct leases *s, struct child *child)
{
	if (s->look == NEVER || time_left(s->look))
		return;
	int said = announce(s);
	if (said == 0) {
		s->look = deadline_in(s->pause);
		s->pause = longer(s->pause, LOOK_MOST_MS);
		return;
	}
	if (said == -1)
		child_fail(child);
	s->look = NEVER;
	close(s->watch);
}

void lease_ports(struct options *o)
{
	struct child child;
	bool tells = o->addresses.file.path || o->cli.ready != -1 || o->cli.loud > 0;
	struct leases s = {.o = o, .look = tells ? AT_ONCE : NEVER, .pause = LOOK_MS};
	int sigfd = child_signals_open();
	if (sigfd == -1)
		fail(o->command.argv[0]);
	move_ready(o);
	o->addresses.lease = true;
	listening_open(&o->addresses, &o->cli, false);
	s.watch = tells ? lease_watch() : -1;
	if (user_become(&o->cli.user) == -1)
		err(FAILED, "-u");
	if (!child_start(&child, &o->command, &o->addresses, true, NULL, o->cli.drain))
		exit(FAILED);
	long pid = child.pid;
	note(&o->cli, "%s: pid %ld has the ports", o->command.argv[0], pid);
	while (child.pid) {
		struct pollfd p = {.fd = sigfd, .events = POLLIN};
		look(&s, &child);
		if (await_any(&p, 1, sooner(s.look, child.due)) > 0 && child_signal(&child, sigfd, 0) == SIGCHLD)
			child_reap(&child);
		child_drain(&child);
	}
	note(&o->cli, "%s: pid %ld ended with status %d", o->command.argv[0], pid, exit_status(child.status));
	listening_close(&o->addresses);
	child_exit(&child);
}
