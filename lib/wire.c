/* SPDX-License-Identifier: ISC */
#include "wire.h"
#include "closer.h"
#include "rights.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void delivery_close(struct delivery *d, struct closer *c)
{
	closer_trim(c, &d->set, 0, d->peer.uid);
	set_forget(&d->set);
	free(d->text);
	*d = (struct delivery){0};
}

size_t wire_fds(const struct wire *w)
{
	return w->begun.set.count + w->records.fds.count;
}

size_t wire_bytes(const struct wire *w)
{
	return w->records.end - w->records.start;
}

int wire_send(const struct wire *w, const struct record *r)
{
	return record_send(w->sock, r, NULL, AT_ONCE);
}

void wire_clear(struct wire *w, struct closer *c)
{
	closer_trim(c, &w->records.fds, 0, w->peer.uid);
	records_free(&w->records);
	w->begun.peer = w->peer;
	delivery_close(&w->begun, c);
}

/* Keep the text that came with the first of a set's messages. */
static int keep_text(struct delivery *d, const char *text, size_t len)
{
	if (d->text)
		return 0;
	if (!(d->text = malloc(len + 1)))
		return -1;
	d->len = len;
	if (len)
		memcpy(d->text, text, len);
	return 0;
}

/* Add a set's record to what has come: its descriptors are the first of the stream. */
static int add_record(struct wire *w, const struct record *r)
{
	struct set *set = &w->begun.set;
	size_t before = set->count;
	const char *twice;
	errno = EPROTO;
	if (!r->fds || set_move(set, &w->records.fds, r->fds) == -1 || (r->names && set_name(set, before, r->names) == -1) ||
	    keep_text(&w->begun, r->text, r->text_len) == -1)
		return -1;
	w->begun.id = r->id;
	errno = EPROTO;
	return !r->more && set_repeats(set, false, &twice) ? -1 : 0;
}

enum wire_event wire_next(struct wire *w, struct record *r)
{
	int got;
	while ((got = records_next(&w->records, r)) == 1) {
		if (r->word != RECORD_SET)
			return WIRE_RECORD;
		if (add_record(w, r) == -1)
			return WIRE_FAILED;
		if (!r->more)
			return WIRE_SET;
	}
	if (got == 0)
		return WIRE_PART;
	errno = EPROTO;
	return WIRE_FAILED;
}

enum wire_event wire_read(struct wire *w, size_t gather, struct record *r, struct peer *from)
{
	char data[MESSAGE_MAX];
	struct set none = {0}, *to = w->form == FORM_RECORD ? &w->records.fds : &w->begun.set;
	size_t before = to->count, room = records_room(&w->records);
	ssize_t n = rights_receive(w->sock, to, data, w->frugal && room < sizeof data ? room : sizeof data, from);
	if (n == -1)
		return errno == EAGAIN ? WIRE_NONE : WIRE_FAILED;
	/* An empty packet can carry descriptors; without them it looks like end of file. */
	if (n == 0 && to->count == before)
		return WIRE_END;
	if (w->form == FORM_UNKNOWN)
		w->form = is_record(data, (size_t)n) ? FORM_RECORD : FORM_PLAIN;
	if (w->form == FORM_RECORD)
		return records_add(&w->records, data, (size_t)n, to == &w->begun.set ? to : &none) == -1 ? WIRE_FAILED : wire_next(w, r);
	if (to->count == before)
		return WIRE_PART;
	if (keep_text(&w->begun, data, (size_t)n) == -1)
		return WIRE_FAILED;
	return to->count >= gather ? WIRE_SET : WIRE_PART;
}
