/* SPDX-License-Identifier: ISC
 *
 * Events of an inbox, in words. */
#ifndef EVENTS_H
#define EVENTS_H

#include "cli.h"
#include "inbox.h"

/* Report EVENT of D's peer at OBJECT, where it is no message, signal or deadline. */
void say_event(const struct cli *c, const char *object, enum inbox_event event, const struct delivery *d);

#endif
