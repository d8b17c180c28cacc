/* SPDX-License-Identifier: ISC */
#include "channel.h"
#include "wait.h"

#include <string.h>

bool is_channel(const struct inbox *in, uint64_t connection)
{
	const struct connection *c = table_find(&in->connections.table, connection);
	return c && c->channel;
}

static void promise(struct inbox *in, struct connection *c, size_t slots)
{
	c->promised += slots;
	if (wire_send(&c->wire, &(struct record){.word = RECORD_SLOTS, .n = slots}) == -1)
		inbox_drop(in, c->id);
}

void channel_offer(struct inbox *in, uint64_t connection, size_t slots, size_t most)
{
	struct connection *c = table_find(&in->connections.table, connection);
	if (!c)
		return;
	size_t left = c->promised < most ? most - c->promised : 0;
	c->most = most;
	promise(in, c, slots < left ? slots : left);
}

bool channel_waits(const struct inbox *in, size_t running)
{
	const struct slot *s = in->connections.table.slot;
	while (in->connections.table.count == 1 && !s->item)
		s++;
	const struct connection *c = in->connections.table.count == 1 ? s->item : NULL;
	return c && c->late && running < c->promised / 2;
}

const char *channel_owed(const struct inbox *in, uint64_t connection)
{
	return in->owed_to == connection ? in->owed : "";
}

void channel_paid(struct inbox *in, uint64_t connection)
{
	if (in->owed_to == connection)
		*in->owed = '\0';
}

void channel_settle(struct inbox *in)
{
	const struct connection *c = *in->owed ? table_find(&in->connections.table, in->owed_to) : NULL;
	if (c && rights_send_all(c->wire.sock, NULL, 0, in->owed, strlen(in->owed), AT_ONCE) == -1)
		inbox_drop(in, c->id);
	*in->owed = '\0';
}

void channel_done(struct inbox *in, uint64_t connection, uint64_t id, bool later)
{
	size_t len = strlen(in->owed);
	ssize_t n = -1;
	if (later && (!len || in->owed_to == connection))
		n = record_format(in->owed + len, sizeof in->owed - 1 - len, &(struct record){.word = RECORD_DONE, .id = id});
	in->owed[n == -1 ? len : len + (size_t)n] = '\0';
	if (n != -1) {
		in->owed_to = connection;
		return;
	}
	channel_settle(in);
	inbox_answer(in, connection, RECORD_DONE, id, NULL);
}

void channel_offer_one(struct inbox *in)
{
	for (size_t i = 0, seen = 0; seen < in->channels; i++) {
		struct connection *c = in->connections.table.slot[i].item;
		seen += c && c->channel;
		if (c && c->promised < c->most) {
			promise(in, c, 1);
			return;
		}
	}
}
