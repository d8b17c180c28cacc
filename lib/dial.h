/* SPDX-License-Identifier: ISC
 *
 * connect:ADDRESS: a fresh connection. */
#ifndef DIAL_H
#define DIAL_H

#include "socket.h"

#include <stdint.h>

/* Parse ADDRESS behind the colon of ARG, which must outlive AT: HOST:PORT, unix:PATH, unix:@NAME or a PATH with a slash.
 * Nothing is looked up yet. Returns NULL or the reason. */
const char *dial_parse(struct endpoint *at, const char *arg);

/* Connect to AT, to the first that answers of the addresses of a HOST. Try again until WAIT while nobody listens, or while
 * HOST is unknown. WAIT 0: try once. Neither looking up nor connecting takes longer than until DEADLINE or, unless it
 * is 0, WAIT. Returns 0; AT's socket is blocking and close-on-exec, and the caller's. On -1 nothing is open; errno as
 * endpoint_connect and connect(2), ETIMEDOUT; *WHY is the reason if HOST could not be looked up, else NULL. */
int dial_connect(struct endpoint *at, int64_t wait, int64_t deadline, const char **why);

#endif
