/* SPDX-License-Identifier: ISC */
/* Events of an inbox, in words. */
#include "events.h"
#include "messages.h"

#include <err.h>
#include <errno.h>
#include <string.h>

void say_event(const struct cli *c, const char *object, enum inbox_event event, const struct delivery *d)
{
	unsigned long uid = d->peer.uid;
	switch (event) {
	case INBOX_REFUSED: say_refused(c, object, &d->peer); break;
	case INBOX_EXCESS: say_excess(c, object, d->peer.uid); break;
	case INBOX_EMPTY: say(c, "%s: uid %lu closed without a descriptor", object, uid); break;
	case INBOX_SHORT: say(c, "%s: uid %lu closed in the middle of a set", object, uid); break;
	case INBOX_ENDED: note(c, "%s: uid %lu, pid %ld closed", object, uid, (long)d->peer.pid); break;
	case INBOX_GONE: warnx("%s: %s", object, reason(ESHUTDOWN)); break;
	case INBOX_FAILED: say(c, "%s: uid %lu: %s", object, uid, strerror(d->error)); break;
	default: break;
	}
}
