/* SPDX-License-Identifier: ISC
 *
 * COMMAND as a child beside the tool: the tool's signals are COMMAND's, and COMMAND's end is the tool's. */
#ifndef CHILD_H
#define CHILD_H

#include "wait.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct command;
struct listening;

struct child {
	const struct command *command;
	pid_t pid;              /* 0 when it has ended */
	int status;             /* then wait(2)'s */
	int64_t drain;          /* --drain, or NEVER */
	int64_t due;            /* when COMMAND gets .last, or NEVER */
	int last;               /* TERM or KILL */
	bool failed;            /* the tool has: its status is 125 */
	int *error;             /* why COMMAND did not begin, errno's value, or 0 */
};

/* Reject names in L that make no variables of COMMAND, or the same ones. */
void child_check_names(const struct listening *l);

/* Block what is COMMAND's, and CHLD. Returns a descriptor, the caller's, that reads these signals, or -1. */
int child_signals_open(void);

/* Start COMMAND, which finds in its environment NAME_HOST and NAME_PORT, or NAME_PATH, of each named address in L, which is
 * open; those of the FIRST one without a name as well; and FDKIT_SOCKET, if SOCKET is not NULL. DRAIN is that of --drain,
 * or NEVER. Returns false on failure, which is reported; what is open is the caller's to close. */
bool child_start(struct child *c, const struct command *command, const struct listening *l, bool first, const char *socket,
                 int64_t drain);

/* Handle a signal from SIGFD: send it to COMMAND, unless the terminal has; INT and TERM begin --drain. KEPT, the tool's
 * own, is not sent. Returns the signal; 0 if there is none. */
int child_signal(struct child *c, int sigfd, int kept);

/* If PID is COMMAND's, note that it has ended, and report why it did not begin. Returns whether it was. */
bool child_ended(struct child *c, pid_t pid, int status);

/* Reap all children that have ended, which may be COMMAND. */
void child_reap(struct child *c);

/* Send COMMAND what --drain has due now. */
void child_drain(struct child *c);

/* The tool has failed: send COMMAND TERM; --drain limits how long it may take to end. */
void child_fail(struct child *c);

/* End as COMMAND ended, or with 125 if the tool has failed. */
_Noreturn void child_exit(const struct child *c);

#endif
