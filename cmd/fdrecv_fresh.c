/* SPDX-License-Identifier: ISC */
/* connect:ADDRESS: what fdrecv puts in the place of a received descriptor. */
#include "dial.h"
#include "cli.h"
#include "fdrecv.h"
#include "messages.h"
#include "peer.h"
#include "rights.h"
#include "set.h"

#include <err.h>
#include <errno.h>
#include <stdlib.h>

struct delivery connected(const struct cli *c, struct endpoint *at, const struct text *message, int64_t deadline)
{
	struct delivery d = {.peer.uid = NOBODY};
	const char *why;
	if (dial_connect(at, wait_deadline(c), deadline, &why) == -1) {
		if (!why)
			exit(say_unconnected(at->arg));
		warnx("%s: %s", at->arg, why);
		exit(errno == ETIMEDOUT ? TIMED_OUT : FAILED);
	}
	if (at->kind != END_INET) {
		check_peer(c, at);
		peer_of(at->fd, &d.peer);
	}
	note(c, "%s: connected", at->arg);
	if ((message->data && rights_send_all(at->fd, NULL, 0, message->data, message->len, deadline) == -1) ||
	    set_add(&d.set, at->fd, NULL) == -1)
		fail(at->arg);
	at->fd = -1; /* it is the delivery's */
	return d;
}
