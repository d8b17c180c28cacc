/* SPDX-License-Identifier: ISC
 *
 * Steps that the commands share before their work begins, and about COMMAND. Failures end the process. */
#ifndef CLI_H
#define CLI_H

#include "options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct command;
struct delivery;
struct launch;

/* Fill closed descriptors 0 to 2 with /dev/null, close-on-exec, so that no socket lands there. Using one still fails
 * with EBADF: 0 cannot be read, 1 and 2 cannot be written. */
void guard_standard(void);

/* The mode of a socket file. If peers are CHECKED and -a allows others, they must be able to connect. */
mode_t socket_mode(const struct cli *c, bool checked);

/* The deadline of -w; 0 without it, since nothing waits then. */
int64_t wait_deadline(const struct cli *c);

/* When all sockets are open: switch to the user of -u and report readiness, by -R and, for a SERVICE, by READY=1.
 * Otherwise NOTIFY_SOCKET is for COMMAND. */
void be_ready(const struct cli *c, bool service);

/* Set what -i, -o, -e and -B choose for COMMAND; ALL: -ioe unless one of these is given. */
void command_options(struct command *command, const struct cli *c, bool all);

/* Look up COMMAND, for -u's user too, before anything is opened. Exits with 127 or 126 if it cannot be run. */
void find_command(const struct cli *c, struct command *command);

/* Say in WHY, which has SIZE bytes, that COMMAND cannot have COUNT descriptors. */
void too_many(const struct command *command, size_t count, char *why, size_t size);

/* Execute the COMMAND of L, which is open, with the set D at the numbers WHERE. If WHERE is NULL, -i, -o and -e choose
 * them, or they start at 3. Returns only on failure, with the exit status. */
int become(struct launch *l, const struct delivery *d, const int *where, bool no_pid);

/* The exit status of a command, as the shell counts it, from the status of wait(2). */
int exit_status(int wstatus);

/* Does SIG end a service? */
bool ends(int sig);

#endif
