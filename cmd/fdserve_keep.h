/* SPDX-License-Identifier: ISC
 *
 * fdserve -L -k's parts: fdserve_keep.c runs COMMAND and its successors, fdserve_begin.c starts each, fdserve_notify.c
 * hears what they report and keeps what they store. */
#ifndef FDSERVE_KEEP_H
#define FDSERVE_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct cli;
struct closer;
struct options;
struct pollfd;

enum { KEPT_MOST = 256 };

/* What COMMAND has stored, for its successors. */
struct store_of_command {
	const struct cli *cli;
	const char *name;       /* COMMAND, for messages */
	struct closer *closer;
	size_t most;            /* KEPT_MOST, or fewer if COMMAND's limit of descriptors is low */
	size_t below;           /* what a message brings gets numbers below this: descriptors of strangers that are stuck leave us some */
	size_t count;
	struct kept {
		int fd;
		uid_t uid;      /* who sent it */
		bool polled;    /* a socket, dropped when its peer hangs up */
		char *name;
	} kept[KEPT_MOST];
};

/* A socket for the notifications of one process, with an abstract name of its own; ADDRESS gets NOTIFY_SOCKET's value.
 * Returns it, or -1 and errno. */
enum { NOTIFY_ROOM = 20 };
int notify_open(char address[NOTIFY_ROOM]);

/* Obey what came to SOCK, the NOTIFY_SOCKET of the process PID, from its uid, ours or root. Say once that another uid
 * sends, too; *TOLD notes that. Returns whether READY=1 came. */
bool notify_hear(struct store_of_command *s, int sock, pid_t pid, bool *told);

/* Fill P with what is kept, which waits for hang-ups; drop what hung up. */
void kept_poll(const struct store_of_command *s, struct pollfd *p);
void kept_look(struct store_of_command *s, const struct pollfd *p);

/* Start a process that becomes COMMAND, with NOTIFY_SOCKET's value ADDRESS, the listening sockets, which lie below SLOT,
 * and what is kept; the FIRST one has /dev/null where -R is 0, 1 or 2. SLOT -1: it has a copy of our table. Returns its
 * pid, or -1 and errno. */
pid_t begin_command(const struct options *o, const struct store_of_command *s, int slot, const char *address,
                    bool first);

#endif
