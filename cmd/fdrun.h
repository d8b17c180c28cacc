/* SPDX-License-Identifier: ISC */
/* fdrun: what it asks of the server, in fdrun_request.c. */
#ifndef FDRUN_H
#define FDRUN_H

#include "set.h"

#include <stdbool.h>
#include <stdint.h>

/* What COMMAND is to have of us. */
struct request {
	struct set fds;         /* its descriptors, ours: -f */
	char **word;            /* WORDS of them after COMMAND's own */
	size_t words;
	char **var;             /* -E: NAME=VALUE, VARS of them */
	size_t vars;
	bool tty;               /* a pseudo-terminal among FDS is to control it */
};

/* Add what an argument of -E says: NAME,... from our environment, as far as they are set there, or NAME=VALUE.
 * Returns NULL or the reason. */
const char *request_variables(struct request *r, const char *arg);

/* Send it, with the working directory for a server that takes it (CWD). errno as rights_send_all,
 * memfd_create(2) and open(2). */
int request_send(const struct request *r, int sock, bool cwd, int64_t deadline);

#endif
