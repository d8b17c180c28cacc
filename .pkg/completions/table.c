/* SPDX-License-Identifier: ISC
 *
 * Prints the options and operands of all commands for the completions, a line each, with tabs between its fields:
 *
 *   COMMAND  -x or nothing  --long  the kind of its value or nothing  help
 *   COMMAND  --long or nothing  nothing  operands
 *
 * The second form has the operands of a call with that option, or without. "..." marks one that may be repeated, A/B one
 * of either kind; behind "--", and as COMMAND, stands another command. The arguments are a prefix for the commands' names, and
 * the commands. This runs where fdkit is built, which may be another machine than where fdkit will run. */
#include "options.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
	unsigned command;
	const char *name, *with, *operands;
} calls[] = {
	{FDSEND, "fdsend", "", "SOCKET FD..."},
	{FDRECV, "fdrecv", "", "SOCKET COMMAND"},
	{FDSERVE, "fdserve", "", "ADDRESS ADDRESS/SOCKET... -- COMMAND"},
	{FDEXEC, "fdexec", "", "SOCKET COMMAND"},
	{FDEXEC, "fdexec", "--socketpair", "COMMAND"},
	{FDHOLD, "fdhold", "", "SOCKET ADDRESS... -- COMMAND"},
	{FDHOLD, "fdhold", "--list", "SOCKET"},
	{FDHOLD, "fdhold", "--drop", "SOCKET"},
	{FDRUN, "fdrun", "", "SOCKET ARG..."},
	{FDRELAY, "fdrelay", "", "SOCKET"},
	{FDREAD, "fdread", "", "SOCKET VAR..."},
};

/* TEXT stands between single quotes in a shell: bash, zsh or fish. */
static void print_quoted(const char *text)
{
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text == '\n' ? ' ' : *text);
}

static void print_options(unsigned command, const char *prefix, const char *name)
{
	for (const struct option_row *r = option_table; r->commands; r++) {
		if (!r->code || !(r->commands & command))
			continue;
		const char letter[] = {'-', (char)r->code, '\0'};
		printf("%s%s\t%s\t--%s\t%s\t", prefix, name, r->code <= LAST_LETTER ? letter : "", r->name, r->value ? r->value : "");
		print_quoted(r->help);
		putchar('\n');
	}
}

int main(int argc, char *argv[])
{
	for (int arg = 2; arg < argc; arg++) {
		bool known = false;
		for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
			if (strcmp(calls[i].name, argv[arg]) != 0)
				continue;
			if (!known)
				print_options(calls[i].command, argv[1], argv[arg]);
			known = true;
			printf("%s%s\t%s\t\t%s\n", argv[1], argv[arg], calls[i].with, calls[i].operands);
		}
		if (!known) {
			fprintf(stderr, "%s: no operands are known of it\n", argv[arg]);
			return 1;
		}
	}
	return fflush(stdout) == EOF;
}
