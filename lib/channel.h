/* SPDX-License-Identifier: ISC
 *
 * Channels: connections of an inbox that come from dispatchers, which send no more sets than they are offered. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include "inbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is CONNECTION there, and a dispatcher's? */
bool is_channel(const struct inbox *in, uint64_t connection);

/* Tell the dispatcher on CONNECTION that it may send SLOTS sets more, of which it will never be promised more than MOST
 * (the same each time). A dispatcher that cannot be told loses its connection. */
void channel_offer(struct inbox *in, uint64_t connection, size_t slots, size_t most);

/* Offer one to some dispatcher that was promised less than its most. */
void channel_offer_one(struct inbox *in);

#endif
