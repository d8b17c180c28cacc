/* SPDX-License-Identifier: ISC */
#include "channel.h"

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
