/* SPDX-License-Identifier: ISC */
/* The descriptors that fdhold holds from its start: sockets that it opens, and descriptors that it inherits. */
#include "fdhold.h"
#include "address.h"
#include "messages.h"
#include "parse.h"
#include "set.h"
#include "wait.h"

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int own_adopted(void)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	long count, own;
	if (!fds || (pid && (parse_number(&own, pid, 1, INT32_MAX) || own != (long)getpid())))
		return 0;
	check("LISTEN_FDS", fds, parse_number(&count, fds, 0, 1 << 20));
	for (int fd = 3; fd < 3 + (int)count; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
			err(FAILED, "LISTEN_FDS %s: fd %d", fds, fd);
	return (int)count;
}

/* Put a descriptor that we adopted or opened. On failure remove our files and exit. */
static void put(struct holder *h, const char *name, int fd)
{
	const struct peer self = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
	char *copy = strdup(name);
	const char *why = copy ? store_put(&h->store, copy, fd, &self, NEVER) : "out of memory";
	if (why)
		listening_close(&h->o->addresses);
	check("", name, why);
}

static void put_adopted(struct holder *h, int count)
{
	const char *names = getenv("LISTEN_FDNAMES");
	char *copy = names ? strdup(names) : NULL, *rest = copy;
	for (int fd = 3; fd < 3 + count; fd++) {
		char made[20];
		const char *name = rest ? strsep(&rest, ":") : "";
		bool good = *name && strcmp(name, "unknown") != 0 && !parse_name(name) && !store_find(&h->store, name);
		for (int n = fd; !good; n += count) { /* another entry may already have this name */
			snprintf(made, sizeof made, "fd%d", n);
			good = !store_find(&h->store, made);
			name = made;
		}
		put(h, name, fd);
	}
	free(copy);
}

void own_put(struct holder *h, int adopted)
{
	struct listening *l = &h->o->addresses;
	put_adopted(h, adopted);
	listening_open(l, &h->o->cli, false);
	for (size_t i = 0; i < l->count; i++) {
		if (!h->o->nonblock)
			listener_blocking(&l->listener[i]);
		put(h, l->set.name[i], l->listener[i].at.fd);
	}
}
