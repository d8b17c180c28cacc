/* SPDX-License-Identifier: ISC */
/* fdserve -L: hand over the listening sockets. */
#include "fdserve.h"
#include "address.h"
#include "command.h"
#include "inbox.h"
#include "launch.h"
#include "messages.h"
#include "record.h"
#include "sending.h"
#include "set.h"
#include "wait.h"

#include <err.h>

int hand_over_listeners(struct options *o)
{
	struct sending sending = {.cli = &o->cli, .at = o->worker, .listen = o->listen, .keep = o->listen};
	size_t count = o->addresses.count;
	char why[120];
	too_many(&o->command, count, why, sizeof why);
	if (o->command.argv && !command_fits(&o->command, count))
		errx(FAILED, "%s: %s", o->command.argv[0], why);
	listening_open(&o->addresses, &o->cli, false);
	for (size_t i = 0; i < count; i++)
		if (!o->nonblock && listener_blocking(&o->addresses.listener[i]) == -1)
			fail(o->addresses.listener[i].arg);
	if (o->keep)
		return keep_command(o);
	sending.set = o->addresses.set;
	int status = listening_announce(&o->addresses, &o->cli, -1, deadline_in(o->cli.timeout));
	if (status)
		return status;
	if (!o->listen)
		be_ready(&o->cli, false);
	if (!o->command.argv) {
		sending_check(&sending);
		status = sending_run(&sending);
		if (status && !sending.served) /* nobody has them */
			listening_close(&o->addresses);
		return status;
	}
	struct launch l;
	if (launch_open(&l, &o->command, -1, -1) == -1)
		fail(o->command.argv[0]);
	const struct delivery set = {.set = sending.set, .peer.uid = NOBODY};
	status = become(&l, &set, NULL, o->no_pid);
	listening_close(&o->addresses);
	return status;
}
