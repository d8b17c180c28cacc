/* SPDX-License-Identifier: ISC */
#include "connection.h"
#include "closer.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch_by_epoll(const struct connections *all, struct connection *c, int operation)
{
	struct epoll_event event = {.events = c->parked ? EPOLLRDHUP | EPOLLET : EPOLLIN, .data.ptr = c};
	return epoll_ctl(all->epoll, operation, c->wire.sock, &event);
}

/* C is ADDED, or was there. A single connection is polled itself, which is cheaper, until it is parked: poll(2) has no edges. */
static int watch(struct connections *all, struct connection *c, bool added)
{
	if (all->epoll != -1)
		return watch_by_epoll(all, c, added ? EPOLL_CTL_ADD : EPOLL_CTL_MOD);
	if (all->table.count == 1 && !c->parked) {
		all->only = c;
		return 0;
	}
	if ((all->epoll = epoll_create1(EPOLL_CLOEXEC)) == -1)
		return -1;
	if (all->only && all->only != c && watch_by_epoll(all, all->only, EPOLL_CTL_ADD) == -1) {
		close(all->epoll);
		all->epoll = -1;
		return -1;
	}
	all->only = NULL;
	return watch_by_epoll(all, c, EPOLL_CTL_ADD);
}

int connection_watch(struct connections *all, struct connection *c, bool parked)
{
	c->parked = parked;
	return watch(all, c, false);
}

struct connection *connection_add(struct connections *all, int sock, bool ours, struct peer peer)
{
	struct connection *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->link.item = c;
	c->wire.sock = sock;
	c->wire.peer = peer;
	c->ours = ours;
	c->share = share_join(&all->shares, source_of_uid(peer.uid));
	c->id = c->share ? table_add(&all->table, c) : 0;
	if (c->id && watch(all, c, true) == 0)
		return c;
	if (c->id)
		table_remove(&all->table, c->id);
	if (c->share)
		share_leave(&all->shares, c->share);
	free(c);
	return NULL;
}

void connection_charge(struct connection *c)
{
	size_t fds = wire_fds(&c->wire), bytes = wire_bytes(&c->wire);
	c->share->fds += fds - c->fds;
	c->share->bytes += bytes - c->bytes;
	c->fds = fds;
	c->bytes = bytes;
}

void connection_drop(struct connections *all, struct connection *c, bool read)
{
	wire_clear(&c->wire, all->closer);
	connection_charge(c);
	queue_leave(&c->link);
	/* Kernel: a socket stays watched after close(2) if there is another copy, as in a process that begins (epoll(7)). */
	if (all->epoll != -1)
		epoll_ctl(all->epoll, EPOLL_CTL_DEL, c->wire.sock, NULL);
	all->only = NULL;
	if (c->ours && read)
		close(c->wire.sock);
	else if (c->ours)
		closer_hang_up(all->closer, c->wire.sock, c->wire.peer.uid);
	table_remove(&all->table, c->id);
	share_leave(&all->shares, c->share);
	free(c);
	if (all->epoll != -1 && !all->table.count) {
		close(all->epoll);
		all->epoll = -1;
	}
}

int connections_fd(const struct connections *all)
{
	if (!all->only)
		return all->epoll;
	/* It is parked, though there was no descriptor for epoll: then it is not waited for. */
	return all->only->parked ? -1 : all->only->wire.sock;
}

struct connection *connections_ready(const struct connections *all)
{
	struct epoll_event ready;
	if (all->only)
		return all->only;
	return epoll_wait(all->epoll, &ready, 1, 0) == 1 ? ready.data.ptr : NULL;
}

void connections_close(struct connections *all)
{
	for (size_t i = 0; i < all->table.room; i++)
		if (all->table.slot[i].item)
			connection_drop(all, all->table.slot[i].item, false);
	table_free(&all->table);
}
