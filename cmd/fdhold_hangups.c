/* SPDX-License-Identifier: ISC */
/* Held connections whose other side is gone. */
#include "fdhold.h"
#include "messages.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

static int any_unread(void *fd)
{
	int unread = 0;
	return ioctl(*(int *)fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* Keep E if somebody may still read from it. */
static void judge(struct holder *h, struct entry *e, bool unread)
{
	e->link = LINK_CONNECTED;
	if (unread)
		return;
	say(&h->o->cli, "%s: %s hung up, dropped", h->o->at.arg, e->name);
	drop(h, e);
}

/* A place for a process that asks for UID, or NULL if it has its share of them. */
static struct asker *place_for(struct holder *h, uid_t uid)
{
	struct asker *free = NULL;
	size_t of_uid = 0;
	for (struct asker *a = h->asker; a < h->asker + ASKED_AT_ONCE; a++) {
		of_uid += a->pid && a->uid == uid;
		free = a->pid ? free : a;
	}
	return of_uid < ASKED_PER_UID ? free : NULL;
}

/* Kernel: FIONREAD of a TCP socket waits for its lock (tcp_ioctl); a process that receives into memory backed by a FUSE
 * file may hold that. So other processes ask. */
static void ask_unread(struct holder *h)
{
	for (size_t i = 0; i < h->store.count; i++) {
		struct entry *e = h->store.entry[i];
		struct asker *a = e->link == LINK_HUNG_UP ? place_for(h, e->who.uid) : NULL;
		_Alignas(16) char stack[16384]; /* of the new process, which has a copy of our memory */
		pid_t pid = a ? clone(any_unread, stack + sizeof stack, CLONE_FILES | SIGCHLD, &e->fd) : 0;
		if (pid == -1)
			return;
		if (!pid)
			continue;
		*a = (struct asker){.pid = pid, .uid = e->who.uid, .entry = e};
		e->link = LINK_ASKED;
	}
}

void hangup(struct holder *h, struct entry *e)
{
	if (e->link != LINK_CONNECTED)
		return;
	if (strncmp(e->kind, "unix", 4) == 0) {
		judge(h, e, any_unread(&e->fd));
		return;
	}
	e->link = LINK_HUNG_UP;
	ask_unread(h);
}

void hangup_answered(struct holder *h, pid_t pid, int status)
{
	for (struct asker *a = h->asker; a < h->asker + ASKED_AT_ONCE; a++) {
		if (a->pid != pid)
			continue;
		a->pid = 0;
		if (a->entry)
			judge(h, a->entry, status != 0);
		ask_unread(h);
	}
}

void hangup_forget(struct holder *h, const struct entry *e)
{
	for (size_t i = 0; i < ASKED_AT_ONCE; i++)
		if (h->asker[i].entry == e)
			h->asker[i].entry = NULL;
}
