/* SPDX-License-Identifier: ISC */
/* fdhold SOCKET NAME=ADDRESS... -- COMMAND: hold as long as COMMAND runs. */
#include "fdhold.h"
#include "child.h"
#include "messages.h"

#include <err.h>
#include <string.h>

int command_parse(struct options *o, int argc, char *argv[], int first)
{
	int end = first;
	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end < argc)
		o->command.argv = argv + end + 1;
	if (end + 1 == argc)
		errx(FAILED, "COMMAND is missing after --");
	check_given(&o->cli, (int[]){OPT_DRAIN, 0}, o->command.argv, "needs -- COMMAND");
	return end;
}

bool command_begin(struct holder *h)
{
	const struct endpoint *at = &h->o->at;
	bool named = at->kind == END_PATH || at->kind == END_ABSTRACT;
	if (!child_start(&h->child, &h->o->command, &h->o->addresses, false, named ? at->arg : NULL, h->o->cli.drain))
		return false;
	note(&h->o->cli, "%s: pid %ld started", h->o->command.argv[0], (long)h->child.pid);
	return true;
}
