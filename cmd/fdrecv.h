/* SPDX-License-Identifier: ISC
 *
 * What fdrecv alone needs. */
#ifndef FDRECV_H
#define FDRECV_H

#include "options.h"
#include "wire.h"

#include <stdint.h>

/* Connect to AT, connect:ADDRESS, and send MESSAGE, if it has any. Returns the connection as the only descriptor of a delivery,
 * and the peer of a unix: address; exits if that fails. */
struct delivery connected(const struct cli *c, struct endpoint *at, const struct text *message, int64_t deadline);

#endif
