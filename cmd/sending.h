/* SPDX-License-Identifier: ISC
 *
 * Sending a set of descriptors, and making sure that it was taken: for fdsend and fdserve -L. */
#ifndef SENDING_H
#define SENDING_H

#include "cli.h"
#include "closer.h"
#include "set.h"
#include "socket.h"

/* A set of descriptors, its destination, and how to send it. */
struct sending {
	const struct cli *cli;
	struct endpoint at;
	struct closer closer;
	struct set set;         /* borrowed */
	struct text text;       /* -m; one NUL unless given */
	bool listen, keep;      /* -l -k */
	bool one_each, no_wait, plain; /* -1 -n -P */
	bool records;           /* the record form: sending_check decides */
	unsigned long long served; /* peers, so far */
};

/* Reject contradictory options with 125. */
void sending_check(struct sending *s);

/* Send it. Returns the exit status, already reported: exit with it at once, since nothing may be open. */
int sending_run(struct sending *s);

#endif
