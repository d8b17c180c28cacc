/* SPDX-License-Identifier: ISC */
/* fdserve -L -k: a process for COMMAND, with the listening sockets and what its predecessors stored.
 *
 * Anybody may send descriptors to NOTIFY_SOCKET, and exec closes every descriptor of its process, which may block. So
 * the process has the numbers up to a slot only, below which no stranger's lies (jobs_reserve); what is kept comes to it
 * through a pair of sockets there. */
#include "fd.h"
#include "fdserve.h"
#include "fdserve_keep.h"
#include "inbox.h"
#include "launch.h"
#include "messages.h"
#include "rights.h"
#include "set.h"
#include "split.h"
#include "wait.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BEGIN_MS = 1000 };       /* a new process takes what is kept within this time */

/* Send copies of all that is kept through a pair of sockets, which replaces SLOT and SLOT + 1. */
static int send_kept(const struct store_of_command *s, int slot)
{
	int pair[2], fd[KEPT_MOST];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return -1;
	for (size_t i = 0; i < s->count; i++)
		fd[i] = s->kept[i].fd;
	int result = dup3(pair[0], slot, O_CLOEXEC) != -1 && dup3(pair[1], slot + 1, O_CLOEXEC) != -1 ? 0 : -1;
	for (size_t n, sent = 0; result == 0 && sent < s->count; sent += n) {
		n = s->count - sent < FDS_PER_MESSAGE ? s->count - sent : FDS_PER_MESSAGE;
		result = rights_send(slot + 1, fd + sent, n, "", 1) == -1 ? -1 : 0;
	}
	fd_drop(pair[0]);
	fd_drop(pair[1]);
	return result;
}

/* In the process: append them to SET, and tell that by a byte. */
static int take_kept(const struct store_of_command *s, int slot, struct set *set)
{
	struct set got = {0};
	char byte;
	while (got.count < s->count)
		if (rights_receive(slot, &got, &byte, 1, NULL) <= 0)
			return -1;
	for (size_t i = 0; i < s->count; i++)
		if (set_add(set, got.fd[i], s->kept[i].name) == -1)
			return -1;
	return rights_send(slot, NULL, 0, "", 1) == -1 ? -1 : 0;
}

static _Noreturn void become_command(const struct options *o, const struct store_of_command *s, int slot,
                                     const char *address)
{
	struct launch l;
	struct delivery d = {.peer.uid = NOBODY};
	const struct set *sockets = &o->addresses.set;
	bool done = setenv("NOTIFY_SOCKET", address, 1) == 0 && launch_open(&l, &o->command, -1, -1) == 0;
	for (size_t i = 0; done && i < sockets->count; i++)
		done = set_add(&d.set, sockets->fd[i], sockets->name[i]) == 0;
	if (slot != -1 && s->count)
		done = done && take_kept(s, slot, &d.set) == 0;
	for (size_t i = 0; done && slot == -1 && i < s->count; i++)
		done = set_add(&d.set, s->kept[i].fd, s->kept[i].name) == 0;
	if (!done)
		fail(s->name);
	exit(become(&l, &d, NULL, o->no_pid));
}

pid_t begin_command(const struct options *o, const struct store_of_command *s, int slot, const char *address,
                    bool first)
{
	bool sent = slot != -1 && s->count;
	if (sent && send_kept(s, slot) == -1)
		return -1;
	pid_t pid = slot == -1 ? fork() : split_below(slot + 2);
	if (pid == 0) {
		/* -R is not told yet, and would be closed. */
		if (first && o->cli.ready >= 0 && o->cli.ready <= 2)
			dup2(open("/dev/null", O_RDWR | O_CLOEXEC), o->cli.ready);
		become_command(o, s, slot, address);
	}
	/* The pair of sockets is free again when the process has a table of its own. */
	if (pid != -1 && sent)
		await(slot + 1, POLLIN, deadline_in(BEGIN_MS));
	return pid;
}
