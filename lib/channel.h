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

/* Is the only connection a dispatcher's that can wait a little for done, since it has more free slots than taken ones while
 * RUNNING commands run? */
bool channel_waits(const struct inbox *in, size_t running);

/* Tell the dispatcher on CONNECTION, if there is one, that what its set ID started has ended: at once or, LATER, where
 * channel_waits, with the next answer or by channel_settle. */
void channel_done(struct inbox *in, uint64_t connection, uint64_t id, bool later);
void channel_settle(struct inbox *in);

/* The answers that are to be sent to CONNECTION with the next, a string; channel_paid: they were. */
const char *channel_owed(const struct inbox *in, uint64_t connection);
void channel_paid(struct inbox *in, uint64_t connection);

/* Offer one to some dispatcher that was promised less than its most. */
void channel_offer_one(struct inbox *in);

#endif
