/* SPDX-License-Identifier: ISC */
/* fdrun: what it asks of the server, in fdrun_request.c. */
#ifndef FDRUN_H
#define FDRUN_H

#include "set.h"

#include <stdbool.h>
#include <stdint.h>

/* What COMMAND gets from us. */
struct request {
	struct set fds;         /* its descriptors, ours */
	char **word, **name;    /* WORDS after COMMAND's own; NAMES of variables, which are sent if they are set */
	size_t words, names;
	bool tty;               /* the first pseudo-terminal of FDS becomes its controlling terminal */
};

/* Add the variables of -E: NAME,... or NAME=VALUE, which changes our environment. Returns NULL or the reason. */
const char *request_variables(struct request *r, char *arg);

/* Send it, with the working directory if the server takes that (CWD), by DEADLINE. errno as rights_send_all,
 * memfd_create(2) and open(2). */
int request_send(const struct request *r, int sock, bool cwd, int64_t deadline);

#endif
