/* SPDX-License-Identifier: ISC */
/* fdexec: its options; in fdexec_run.c a COMMAND for a client that waits for its end, in fdexec_pair.c -S. */
#ifndef FDEXEC_H
#define FDEXEC_H

#include "cli.h"
#include "command.h"
#include "socket.h"

#include <stdbool.h>

struct peer;

struct options {
	struct cli cli;
	struct command command;
	long jobs, pair;        /* -j; -S, or -1 */
	bool connect;
	bool args, cwd;         /* a client may add words, may choose the directory */
	const char *vars;       /* and these variables: names with commas between, each perhaps with a * at its end; or NULL */
	struct endpoint at;
};

/* Is LIST one for --accept-env? Returns NULL or the reason. */
const char *vars_parse(const char *list);

/* In a process of its own: run COMMAND for the client PEER on SOCK, as it asks and O allows, and tell it how COMMAND
 * ends. SIGFD reads TERM, HUP and CHLD; fdexec has PARENT; *ERROR is why COMMAND did not begin, errno's value or 0. */
_Noreturn void keep(const struct options *o, int sock, const struct peer *peer, int sigfd, pid_t parent, int *error);

/* -S: run COMMAND on one end of a socketpair, and copy between the other end and the standard streams. Returns
 * the exit status. */
int run_on_pair(const struct options *o);

#endif
