/* SPDX-License-Identifier: ISC
 *
 * The listening sockets of fdserve and fdhold: all of them or none, and their addresses. */
#ifndef LISTENING_H
#define LISTENING_H

#include "address.h"
#include "address_file.h"
#include "cli.h"
#include "set.h"

/* The listening sockets of ADDRESS or, if NAMED, NAME=ADDRESS operands. */
struct listening {
	struct listener *listener;
	struct set set;         /* their names, and, once they are open, their sockets, which are the listeners' */
	size_t count;
	bool lease;             /* they do not listen: lib/lease.h */
	struct address_file file; /* -A */
};

/* Parse COUNT words; exits if one is invalid. */
void listening_parse(struct listening *l, char *argv[], size_t count, bool named);

/* Remove an old address file, and open all sockets; exits if one fails. CHECKED: -a admits the peers at unix:
 * addresses. */
void listening_open(struct listening *l, const struct cli *c, bool checked);

/* The addresses really bound, a line for each, which the caller frees; with -v they are reported. NULL and errno if one is
 * not known, and wanted in the address file, or if there is no memory. */
char *listening_text(const struct listening *l, const struct cli *c);

/* Report the addresses really bound, with -v and in the address file. Waits for the reader of a FIFO until DEADLINE or a
 * signal on SIGFD. Returns 0, or after closing the sockets the exit status: FAILED or TIMED_OUT, already reported, or
 * 128 + N for signal N. */
int listening_announce(struct listening *l, const struct cli *c, int sigfd, int64_t deadline);

/* Close them, and remove their files and the address file if they are still ours. */
void listening_close(struct listening *l);

#endif
