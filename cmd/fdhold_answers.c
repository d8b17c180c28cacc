/* SPDX-License-Identifier: ISC */
/* fdhold's answers to requests for descriptors or for a list, sent only as fast as each client reads.
 *
 * Kernel: descriptors that were sent and not received count against our user until then (ETOOMANYREFS, unix(7)), though
 * we close the connection. So each uid has a share of them, and a connection of which some are unread is kept, by a
 * copy of its socket, until they are read or its peer has closed it: TIOCOUTQ gives 0 then. No event tells that. */
#include "fdhold.h"
#include "closer.h"
#include "fdhold_store.h"
#include "inbox.h"
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
	bool owed;              /* an answer is unfinished: */
	bool list;              /* a list; else descriptors */
	uint64_t id;
	struct set wanted;      /* those of these names, from NEXT on, follow; or, if there are none, */
	size_t next;
	char after[256];        /* all whose names come after this */
	size_t given;           /* descriptors sent of it */
	int64_t until;          /* its deadline */
};

enum {
	ANSWER_MS = 30000, PAUSE_MOST_MS = 20, UNREAD_PAUSE_MOST_MS = 1000,
	OWED_PER_UID = 32, UNREAD_PER_UID = 4096,
	NAMES_ROOM = 8192,
};

/* The result of an attempt to send. */
enum progress { SENT_ALL, SEND_LATER, SEND_NEVER };

void answers_share(struct holder *h, size_t share)
{
	h->share = share > UNREAD_PER_UID ? UNREAD_PER_UID : share ? share : 1;
}

static size_t unread_by(const struct holder *h, uid_t uid)
{
	size_t n = 0;
	for (size_t i = 0; i < h->readers; i++)
		if (h->reader[i].uid == uid)
			n += h->reader[i].unread;
	return n;
}

static void look_what_is_read(struct reader *r)
{
	int queued;
	if (r->unread && ioctl(r->sock, TIOCOUTQ, &queued) == 0 && queued == 0)
		r->unread = 0;
}

static enum progress send_line(const struct reader *r, const int *fd, size_t count, const char *line, size_t len)
{
	ssize_t n = rights_send(r->sock, fd, count, line, len);
	if (n == (ssize_t)len)
		return SENT_ALL;
	/* Kernel: a line this short is sent as a whole or not at all (unix_stream_sendmsg). */
	return n == -1 && (errno == EAGAIN || errno == ETOOMANYREFS || out_of_resources(errno)) ? SEND_LATER : SEND_NEVER;
}

/* ---- descriptors ---- */

/* The entry after N that went before it, in the order asked for; NULL at the end, or where its name is gone. */
static const struct entry *next_entry(const struct holder *h, const struct reader *r, const char *after, size_t n)
{
	if (!r->wanted.count)
		return store_after(&h->store, after);
	return r->next + n < r->wanted.count ? store_find(&h->store, r->wanted.name[r->next + n]) : NULL;
}

/* Send one message. */
static enum progress give_some(struct holder *h, struct reader *r)
{
	int fd[FDS_PER_MESSAGE];
	char names[NAMES_ROOM], line[NAMES_ROOM + 100];
	const char *after = r->after;
	size_t n = 0, len = 0, most = h->share < FDS_PER_MESSAGE ? h->share : FDS_PER_MESSAGE;
	const struct entry *e;
	while ((e = next_entry(h, r, after, n)) && n < most && len + strlen(e->name) + 2 < sizeof names) {
		len += (size_t)sprintf(names + len, "%s%s", n ? "," : "", e->name);
		fd[n++] = e->fd;
		after = e->name;
	}
	/* An entry that `more` promised, or that was asked for, has been dropped meanwhile. */
	if (!n || (!e && r->next + n < r->wanted.count))
		return SEND_NEVER;
	if (unread_by(h, r->uid) + n > h->share)
		return SEND_LATER;
	const struct record set = {.word = RECORD_SET, .fds = n, .more = e, .names = names};
	ssize_t length = record_format(line, sizeof line, &set);
	enum progress result = length == -1 ? SEND_NEVER : send_line(r, fd, n, line, (size_t)length);
	if (result != SENT_ALL)
		return result;
	r->given += n;
	r->unread += n;
	r->next += n;
	snprintf(r->after, sizeof r->after, "%s", after);
	r->owed = e;
	return SENT_ALL;
}

/* ---- a list ---- */

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
static enum progress list_some(struct holder *h, struct reader *r)
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
	bool last = !e;
	if (last) {
		n = record_format(lines + len, sizeof lines - len, &(struct record){.word = RECORD_TAKEN, .id = r->id});
		last = n != -1;
		len += last ? (size_t)n : 0;
	}
	enum progress result = send_line(r, NULL, 0, lines, len);
	if (result != SENT_ALL)
		return result;
	snprintf(r->after, sizeof r->after, "%s", after);
	r->owed = !last;
	return SENT_ALL;
}

/* ---- readers ---- */

static void end_answer(struct reader *r)
{
	set_forget(&r->wanted);
	r->owed = false;
}

/* End the answer to R. */
static void give_up(struct holder *h, struct reader *r)
{
	if (!r->given && !r->list)
		inbox_answer(&h->in, r->connection, RECORD_REFUSED, r->id, "what your uid asked for before is not read");
	note(&h->o->cli, "%s: uid %lu does not read its answer", h->o->at.arg, (unsigned long)r->uid);
	inbox_drop(&h->in, r->connection);
	end_answer(r);
}

/* Send R as much as it can take now. Returns whether that was anything. */
static bool go_on(struct holder *h, struct reader *r)
{
	enum progress result = SENT_ALL;
	bool any = false;
	while (r->owed && result == SENT_ALL) {
		result = r->list ? list_some(h, r) : give_some(h, r);
		any = any || result == SENT_ALL;
	}
	if (result == SEND_NEVER || (result == SEND_LATER && !time_left(r->until))) {
		give_up(h, r);
	} else if (!r->owed && any) {
		if (!r->list)
			note(&h->o->cli, "%s: uid %lu got %zu", h->o->at.arg, (unsigned long)r->uid, r->given);
		end_answer(r);
	}
	return any;
}

/* Keep R until it has read everything that was sent. */
static void keep(struct holder *h, struct reader *r)
{
	int sock = fcntl(r->sock, F_DUPFD_CLOEXEC, 0);
	struct reader *grown = sock == -1 ? NULL : realloc(h->reader, (h->readers + 1) * sizeof *grown);
	if (!grown) {
		if (sock != -1)
			close(sock);
		inbox_drop(&h->in, r->connection);
		end_answer(r);
		return;
	}
	r->sock = sock;
	h->reader = grown;
	grown[h->readers++] = *r;
}

/* Forget reader I. If the inbox has dropped the connection, ours is the last copy of its socket, and anything may be
 * in its queue, unless the peer sends no more and all was read. */
static void forget(struct holder *h, size_t i)
{
	const struct reader *r = &h->reader[i];
	struct pollfd p = {.fd = r->sock, .events = POLLRDHUP};
	int queued = 0;
	if (inbox_has(&h->in, r->connection) ||
	    (poll(&p, 1, 0) == 1 && ioctl(r->sock, FIONREAD, &queued) == 0 && queued == 0))
		close(r->sock);
	else
		closer_close(&h->closer, r->sock, r->uid);
	h->reader[i] = h->reader[--h->readers];
}

bool answers_owed(const struct holder *h, uint64_t connection)
{
	for (size_t i = 0; i < h->readers; i++)
		if (h->reader[i].connection == connection && h->reader[i].owed)
			return true;
	return false;
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
	size_t i = 0;
	if (why) {
		say(&h->o->cli, "%s: refused uid %lu: %s", h->o->at.arg, (unsigned long)d->peer.uid, why);
		inbox_answer(&h->in, d->connection, RECORD_REFUSED, d->id, why);
		return;
	}
	struct reader r = {
		.sock = d->sock, .connection = d->connection, .uid = d->peer.uid, .owed = true, .id = d->id,
		.list = d->request == RECORD_LIST, .wanted = d->set, .until = deadline_in(ANSWER_MS),
	};
	d->set = (struct set){0};
	while (i < h->readers && h->reader[i].connection != r.connection)
		i++;
	if (i < h->readers) {
		r.sock = h->reader[i].sock;
		r.unread = h->reader[i].unread;
		h->reader[i] = r;
		go_on(h, &h->reader[i]);
	} else {
		go_on(h, &r);
		if (r.owed || r.unread)
			keep(h, &r);
	}
	h->pause = 0;
	h->later = now();
}

int64_t answers_go_on(struct holder *h)
{
	bool any = false, owed = false;
	if (!h->readers)
		return NEVER;
	if (h->pause && time_left(h->later))
		return h->later;
	for (size_t i = 0; i < h->readers; i++)
		look_what_is_read(&h->reader[i]);
	for (size_t i = h->readers; i-- > 0;) {
		struct reader *r = &h->reader[i];
		any = go_on(h, r) || any;
		owed = owed || r->owed;
		if (!r->owed && !r->unread)
			forget(h, i);
	}
	h->pause = any || !h->pause ? 1 : longer(h->pause, owed ? PAUSE_MOST_MS : UNREAD_PAUSE_MOST_MS);
	h->later = deadline_in(h->pause);
	return h->readers ? h->later : NEVER;
}
