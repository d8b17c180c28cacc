/* SPDX-License-Identifier: ISC */
/* fdhold's answers to requests for descriptors or for a list, sent only as fast as each client reads.
 *
 * Kernel: descriptors that were sent and not received count against our user until then (ETOOMANYREFS, unix(7)), though
 * we close the connection. So each uid has a share of them, and a connection of which some are unread is kept, by a
 * copy of its socket, until they are read or its peer has closed it: TIOCOUTQ gives 0 then. No event tells that. */
#include "fdhold.h"
#include "messages.h"
#include "peer.h"
#include "record.h"
#include "rights.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct reader {
	int sock;               /* a copy of the connection's */
	uint64_t connection;
	uid_t uid;
	size_t unread;          /* descriptors sent since its queue was seen empty */
	enum { OWES_NOTHING, OWES_SET, OWES_LIST } owed; /* the rest of an answer: */
	uint64_t id;            /* what the list answers */
	struct set wanted;      /* the entries of these names, from NEXT on; or, if there are none, */
	size_t next;
	char after[256];        /* all whose names come after this */
	size_t given;           /* descriptors sent of it */
	int64_t until;          /* its deadline */
};

enum {
	ANSWER_MS = 30000, PAUSE_MOST_MS = 20, UNREAD_PAUSE_MOST_MS = 1000,
	OWED_PER_UID = 32,
	NAMES_ROOM = 8192,
};

/* ---- one message: 0, or -1 and errno ---- */

/* Is it worth another try? */
static bool is_full(int error)
{
	return error == EAGAIN || error == ETOOMANYREFS || out_of_resources(error);
}

static size_t unread_by(const struct holder *h, uid_t uid)
{
	size_t n = 0;
	for (size_t i = 0; i < h->readers; i++)
		n += h->reader[i].uid == uid ? h->reader[i].unread : 0;
	return n;
}

/* The entry after N that went before it, in the order asked for; NULL at the end, or where its name is gone. */
static const struct entry *next_entry(const struct holder *h, const struct reader *r, const char *after, size_t n)
{
	if (!r->wanted.count)
		return store_after(&h->store, after);
	return r->next + n < r->wanted.count ? store_find(&h->store, r->wanted.name[r->next + n]) : NULL;
}

static int give_some(const struct holder *h, struct reader *r)
{
	int fd[FDS_PER_MESSAGE];
	char names[NAMES_ROOM];
	const char *after = r->after;
	size_t n = 0, len = 0, most = h->unread_per_uid < FDS_PER_MESSAGE ? h->unread_per_uid : FDS_PER_MESSAGE;
	const struct entry *e;
	while ((e = next_entry(h, r, after, n)) && n < most && len + strlen(e->name) + 2 < sizeof names) {
		len += (size_t)sprintf(names + len, "%s%s", n ? "," : "", e->name);
		fd[n++] = e->fd;
		after = e->name;
	}
	/* An entry that `more` promised, or that was asked for, has been dropped meanwhile. */
	errno = ENOENT;
	if (!n || (!e && r->next + n < r->wanted.count))
		return -1;
	errno = EAGAIN;
	if (unread_by(h, r->uid) + n > h->unread_per_uid)
		return -1;
	if (record_send(r->sock, &(struct record){.word = RECORD_SET, .fds = n, .more = e, .names = names}, fd, AT_ONCE) == -1)
		return -1;
	note(&h->o->cli, "%s: uid %lu got %s", h->o->at.arg, (unsigned long)r->uid, names);
	r->given += n;
	r->unread += n;
	r->next += n;
	snprintf(r->after, sizeof r->after, "%s", after);
	r->owed = e ? OWES_SET : OWES_NOTHING;
	return 0;
}

static void format_time(char *text, size_t len, time_t t)
{
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(text, len, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, len, "-");
}

/* Write E, as --list shows it, into LINE. Returns the length, or -1 if it does not fit. */
static ssize_t format_entry(char *line, size_t size, const struct entry *e)
{
	char text[5000], since[32], expires[32] = "-";
	format_time(since, sizeof since, (time_t)e->since);
	if (e->expires != NEVER)
		format_time(expires, sizeof expires, time(NULL) + (time_t)((e->expires - now()) / 1000));
	int n = snprintf(text, sizeof text, "%s\t%s%s%s\t%s\tuid %lu\t%s", e->name, e->kind, e->address ? " " : "",
	                 e->address ? e->address : "", since, (unsigned long)e->who.uid, expires);
	return record_format(line, size, &(struct record){.word = RECORD_ENTRY, .text = text, .text_len = (size_t)n});
}

/* Send as many lines as a message holds. */
static int list_some(const struct holder *h, struct reader *r)
{
	char lines[RECORD_MAX];
	const char *after = r->after;
	size_t len = 0;
	ssize_t n = 0;
	const struct entry *e;
	while ((e = store_after(&h->store, after)) && (n = format_entry(lines + len, sizeof lines - len, e)) != -1) {
		len += (size_t)n;
		after = e->name;
	}
	const struct record end = {.word = RECORD_TAKEN, .id = r->id};
	n = e ? -1 : record_format(lines + len, sizeof lines - len, &end);
	if (rights_send_all(r->sock, NULL, 0, lines, len + (n == -1 ? 0 : (size_t)n), AT_ONCE) == -1)
		return -1;
	snprintf(r->after, sizeof r->after, "%s", after);
	r->owed = n == -1 ? OWES_LIST : OWES_NOTHING;
	return 0;
}

/* ---- readers ---- */

static void give_up(struct holder *h, struct reader *r)
{
	if (r->owed == OWES_SET && !r->given)
		inbox_answer(&h->in, r->connection, RECORD_REFUSED, r->id, "what your uid asked for before is not read");
	note(&h->o->cli, "%s: uid %lu does not read its answer", h->o->at.arg, (unsigned long)r->uid);
	inbox_drop(&h->in, r->connection);
	r->owed = OWES_NOTHING;
}

/* Send R as much as it can take now. Returns whether that was anything. */
static bool send_rest(struct holder *h, struct reader *r)
{
	int result = 0;
	bool any = false, set = r->owed == OWES_SET;
	while (r->owed && (result = set ? give_some(h, r) : list_some(h, r)) == 0)
		any = true;
	if (result == -1 && (!is_full(errno) || !time_left(r->until)))
		give_up(h, r);
	if (!r->owed)
		set_forget(&r->wanted);
	return any;
}

static struct reader *find(const struct holder *h, uint64_t connection)
{
	for (size_t i = 0; i < h->readers; i++)
		if (h->reader[i].connection == connection)
			return &h->reader[i];
	return NULL;
}

/* A reader for the connection of D. NULL and errno if there is no descriptor or memory left. */
static struct reader *add(struct holder *h, const struct delivery *d)
{
	int sock = fcntl(d->sock, F_DUPFD_CLOEXEC, 0);
	struct reader *grown = sock == -1 ? NULL : realloc(h->reader, (h->readers + 1) * sizeof *grown);
	if (!grown) {
		if (sock != -1)
			close(sock);
		return NULL;
	}
	h->reader = grown;
	grown[h->readers] = (struct reader){.sock = sock};
	return &grown[h->readers++];
}

/* Forget R. If the inbox has dropped the connection, ours is the last copy of its socket, and anything may be in its
 * queue, unless the peer sends no more and all was read. */
static void forget(struct holder *h, struct reader *r)
{
	struct pollfd p = {.fd = r->sock, .events = POLLRDHUP};
	int queued = 0;
	if (inbox_has(&h->in, r->connection) ||
	    (poll(&p, 1, 0) == 1 && ioctl(r->sock, FIONREAD, &queued) == 0 && queued == 0))
		close(r->sock);
	else
		closer_close(&h->closer, r->sock, r->uid);
	*r = h->reader[--h->readers];
}

bool answers_owed(const struct holder *h, uint64_t connection)
{
	const struct reader *r = find(h, connection);
	return r && r->owed;
}

/* The reason to refuse D, in TEXT, or NULL. */
static const char *refusal(const struct holder *h, const struct delivery *d, char *text, size_t size)
{
	size_t owed = 0;
	for (size_t i = 0; i < h->readers; i++)
		owed += h->reader[i].uid == d->peer.uid && h->reader[i].owed;
	if (!peer_allowed(&h->o->get, &d->peer, d->sock))
		return d->request == RECORD_LIST ? "you may not list" : "you may not get";
	if (owed >= OWED_PER_UID)
		return "your uid asks for too much at once";
	if (d->request == RECORD_LIST)
		return NULL;
	if (!d->set.count && !h->store.count)
		return "the store is empty";
	for (size_t i = 0; i < d->set.count; i++) {
		if (d->set.name[i] && store_find(&h->store, d->set.name[i]))
			continue;
		snprintf(text, size, "nothing named %s is held", d->set.name[i] ? d->set.name[i] : "");
		return d->set.name[i] ? text : "a name is missing";
	}
	return NULL;
}

void answers_begin(struct holder *h, struct delivery *d)
{
	char text[300];
	const char *why = refusal(h, d, text, sizeof text);
	if (why) {
		say(&h->o->cli, "%s: refused uid %lu: %s", h->o->at.arg, (unsigned long)d->peer.uid, why);
		inbox_answer(&h->in, d->connection, RECORD_REFUSED, d->id, why);
		return;
	}
	struct reader *r = find(h, d->connection);
	if (!r && !(r = add(h, d))) {
		inbox_drop(&h->in, d->connection);
		return;
	}
	*r = (struct reader){
		.sock = r->sock, .connection = d->connection, .uid = d->peer.uid, .unread = r->unread,
		.owed = d->request == RECORD_LIST ? OWES_LIST : OWES_SET, .id = d->id, .wanted = d->set,
		.until = deadline_in(ANSWER_MS),
	};
	d->set = (struct set){0};
	send_rest(h, r);
	h->pause = 0;
}

int64_t answers_continue(struct holder *h)
{
	bool any = false, owed = false;
	int queued;
	if (!h->readers)
		return NEVER;
	if (h->pause && time_left(h->later))
		return h->later;
	for (struct reader *r = h->reader; r < h->reader + h->readers; r++)
		if (r->unread && ioctl(r->sock, TIOCOUTQ, &queued) == 0 && queued == 0)
			r->unread = 0;
	for (size_t i = h->readers; i-- > 0;) {
		struct reader *r = &h->reader[i];
		any = send_rest(h, r) || any;
		owed = owed || r->owed;
		if (!r->owed && !r->unread)
			forget(h, r);
	}
	h->pause = any || !h->pause ? 1 : longer(h->pause, owed ? PAUSE_MOST_MS : UNREAD_PAUSE_MOST_MS);
	h->later = deadline_in(h->pause);
	return h->readers ? h->later : NEVER;
}
