/* SPDX-License-Identifier: ISC */
/* All options of all commands, and --help. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 27 };

/* The lines of a text have at most 53 columns, and a text has at most two. */
const struct option_row option_table[] = {
	{0, "Arguments", NULL, EVERY_COMMAND, NULL},
	{0, "SOCKET", NULL, EVERY_COMMAND & ~(FDRECV | FDREAD), "Unix socket: PATH, @NAME, fd:N or exec:COMMAND"},
	{0, "SOCKET", NULL, FDRECV | FDREAD, "Unix socket: PATH, @NAME, fd:N or exec:COMMAND; or\n"
	 "connect:ADDRESS (HOST:PORT, unix:PATH): connect there"},
	{0, "FD", NULL, FDSEND, "N, N-M, NAME=N or a list of these; 0 unless given"},
	{0, "ADDRESS", NULL, FDSERVE | FDHOLD, "HOST:PORT, :PORT (port 0: a free one), unix:PATH,\n"
	 "fd:N, udp:HOST:PORT; NAME=ADDRESS gives it a name"},
	{0, "COMMAND", NULL, FDRECV, "has the descriptors at 3, 4, 5...; without COMMAND,\n"
	 "fdrecv copies from and to them, as cat does"},
	{0, "VAR", NULL, FDREAD, "gets the number of a descriptor, 10 or higher, which\n"
	 "is open in this shell and in its commands"},
	{0, "COMMAND", NULL, FDSERVE, "run for each connection, which it has at 0, 1 and 2;\n"
	 "with -L run once, with the sockets at 3, 4, 5..."},
	{0, "COMMAND", NULL, FDHOLD, "run once; hold as long as it runs, and end as it ends"},
	{0, "COMMAND", NULL, FDEXEC, "run for each message: one descriptor goes to 0, 1\n"
	 "and 2; two go to 0 and 1; a fourth goes to 3"},
	{0, "ARG", NULL, FDRUN, "a word for COMMAND, options and -- included; fdexec\n"
	 "takes words only with --args"},
	{0, "TIME", NULL, EVERY_COMMAND, "seconds, as 5 or 0.25; or 250ms, 5s, 2m, 1h"},
	{0, "WHO", NULL, EVERY_COMMAND, "user name or uid, :GROUP, any"},
	{0, "What is passed", NULL, FDSEND | FDRECV | FDSERVE | FDRUN | FDREAD, NULL},
	{'f', "fds", "LIST", FDSEND, "send these descriptors too: 0,log=3,5-9"},
	{'f', "fds", "LIST", FDRECV, "put them at these numbers: 5,6 or log=7,10-12;\n"
	 "with -c, a NAME alone asks a store for it"},
	{'f', "fds", "NAME,...", FDREAD, "with -c: ask a store for these names"},
	{'f', "fds", "LIST", FDRUN, "send these descriptors: 0,1,5-7; 0-2 unless given"},
	{'E', "env", "NAME,...", FDRUN, "send these variables too; -E NAME=VALUE sends one"},
	{OPT_PTY, "pty", NULL, FDRUN, "COMMAND gets a terminal of its own, shown on this one"},
	{OPT_ALL, "all", NULL, FDRECV | FDREAD, "with -c: ask a store for everything"},
	{'N', "number", "N", FDRECV | FDREAD, "gather N descriptors from any number of messages"},
	{'p', "pid", "PID", FDSEND, "each FD is a descriptor of process PID"},
	{'m', "message", "TEXT", FDSEND, "send TEXT with the descriptors (else one NUL byte)"},
	{'m', "message", "TEXT", FDRECV | FDREAD, "with -c or connect:, send TEXT first"},
	{OPT_MESSAGE_FILE, "message-file", "FILE", FDSEND | FDRECV | FDREAD, "as -m, but the contents of FILE (-: standard input)"},
	{OPT_MESSAGE_TO, "message-to", "FILE", FDRECV | FDREAD, "write the bytes that came with the descriptors to\n"
	 "FILE (- is standard output)"},
	{'1', "one-each", NULL, FDSEND, "send each descriptor in a message of its own"},
	{'n', "no-wait", NULL, FDSEND, "end when the message is queued, not when it is taken"},
	{'L', "listener", NULL, FDSERVE, "pass the listening sockets, not connections"},
	{'P', "plain", NULL, FDSEND | FDSERVE, "the receiver speaks only the plain form"},
	{0, "Sockets and peers", NULL, EVERY_COMMAND, NULL},
	{'c', "connect", NULL, FDRECV | FDEXEC | FDREAD, "connect to SOCKET instead of listening there"},
	{'l', "listen", NULL, FDSEND | FDSERVE, "listen at SOCKET instead of connecting to it"},
	{'k', "keep", NULL, FDSEND, "with -l: serve every peer, not only the first"},
	{'w', "wait", "TIME", FDSEND | FDRUN | FDRELAY, "wait up to TIME until a process listens at SOCKET"},
	{'w', "wait", "TIME", FDRECV | FDREAD, "with -c or connect:, wait up to TIME for a listener"},
	{'w', "wait", "TIME", FDSERVE, "give up if no worker (-L: receiver) comes in TIME"},
	{'w', "wait", "TIME", FDEXEC, "with -c: give up if no process listens for TIME"},
	{'w', "wait", "TIME", FDHOLD, "with --list, --drop: wait up to TIME for the store"},
	{'a', "allow", "WHO,...", EVERY_COMMAND, "deal with WHO too, besides root and your uid"},
	{'M', "mode", "MODE", LISTENERS, "mode of a socket file made here (0600; with -a 0666)"},
	{'T', "type", "TYPE", FDSEND | FDRECV | FDREAD, "type of SOCKET: stream (default), dgram, seqpacket"},
	{'T', "type", "TYPE", FDRELAY, "fail unless both sockets are stream, dgram, seqpacket"},
	{'b', "backlog", "N", FDSERVE | FDHOLD, "backlog of the listening sockets (SOMAXCONN)"},
	{OPT_NONBLOCK, "nonblock", NULL, FDSERVE, "with -L: make the listening sockets non-blocking"},
	{OPT_NONBLOCK, "nonblock", NULL, FDHOLD, "make the listening sockets non-blocking"},
	{'u', "user", "USER", FDSERVE | FDEXEC | FDHOLD, "when all sockets are open, become USER[:GROUP]"},
	{0, "Running COMMAND", NULL, FDRECV | FDSERVE | FDEXEC, NULL},
	{'i', "in", NULL, FDRECV, "put the descriptor at standard input"},
	{'i', "in", NULL, FDSERVE | FDEXEC, "put the descriptor at standard input (default: -ioe)"},
	{'o', "out", NULL, FDRECV | FDSERVE | FDEXEC, "put it at standard output"},
	{'e', "err", NULL, FDRECV | FDSERVE | FDEXEC, "put it at standard error; -i, -o and -e combine"},
	{'B', "blocking", NULL, FDRECV | FDSERVE | FDEXEC | FDREAD, "clear O_NONBLOCK on the descriptors"},
	{OPT_ARGS, "args", NULL, FDEXEC, "a client (fdrun) may add words to COMMAND's"},
	{OPT_CWD, "cwd", NULL, FDEXEC, "COMMAND works in the client's directory"},
	{OPT_ACCEPT_ENV, "accept-env", "NAME,...", FDEXEC, "a client may set these variables; LC_* is all\n"
	 "that begin so"},
	{'S', "socketpair", "FD", FDEXEC, "run COMMAND once, with a socketpair at FD; copy from\n"
	 "standard input to it, and from it to standard output"},
	{OPT_RAW, "raw", NULL, FDRECV, "copy a terminal's master in raw mode, size included"},
	{OPT_NO_PID, "no-pid", NULL, FDRECV, "no LISTEN_PID (COMMAND is a wrapper)"},
	{OPT_LEASE, "lease", NULL, FDSERVE, "keep each port for a server that COMMAND starts, and\n"
	 "that binds it (HOST and PORT, NAME_HOST, NAME_PORT)"},
	{OPT_NO_PID, "no-pid", NULL, FDSERVE, "with -L: no LISTEN_PID (COMMAND is a wrapper)"},
	{'k', "keep", NULL, FDSERVE, "with -L: start COMMAND again when it ends, and\n"
	 "replace it on HUP"},
	{OPT_READY_AFTER, "ready-after", "TIME", FDSERVE, "with -k: COMMAND is ready after TIME, or as soon as\n"
	 "it says READY=1 (1s)"},
	{0, "The store", NULL, FDHOLD, NULL},
	{OPT_LIST, "list", NULL, FDHOLD, "list what the store at SOCKET holds"},
	{OPT_DROP, "drop", "NAME", FDHOLD, "close what the store at SOCKET holds under NAME"},
	{OPT_ALLOW_GET, "allow-get", "WHO,...", FDHOLD, "let these peers get and list"},
	{OPT_ALLOW_PUT, "allow-put", "WHO,...", FDHOLD, "let these peers put, and drop what they have put"},
	{0, "Limits", NULL, EVERY_COMMAND, NULL},
	{'t', "timeout", "TIME", FDSEND | FDRECV | FDRELAY | FDREAD, "give up after TIME, with status 124"},
	{'t', "timeout", "TIME", FDRUN, "give up if COMMAND has not begun after TIME"},
	{'t', "timeout", "TIME", FDSERVE, "with -L and SOCKET: give up after TIME"},
	{'t', "timeout", "TIME", FDHOLD, "with --list, --drop: give up after TIME"},
	{'j', "jobs", "N", FDSERVE | FDEXEC, "run at most N commands at once (64)"},
	{'C', "per-source", "N", FDSERVE, "at most N connections at once from one address"},
	{OPT_DRAIN, "drain", "TIME", FDSERVE | FDEXEC | FDHOLD, "at the end: TERM to what still runs after TIME, and\n"
	 "KILL after TIME again (wait without limit)"},
	{OPT_ACK_TIMEOUT, "ack-timeout", "TIME", FDSERVE, "take back what a worker has not begun in TIME (10s)"},
	{OPT_MAX, "max", "N", FDHOLD, "hold at most N descriptors (65536)"},
	{OPT_MAX_PER_UID, "max-per-uid", "N", FDHOLD, "hold at most N descriptors of one uid (4096)"},
	{'x', "expire", "TIME", FDHOLD, "close what others have put after TIME"},
	{0, "Reports", NULL, EVERY_COMMAND, NULL},
	{'A', "address-file", "FILE", FDSERVE | FDHOLD, "write the addresses bound to FILE (- is standard\n"
	 "output)"},
	{'R', "ready-fd", "N", LISTENERS, "when ready, write a newline to descriptor N; close N"},
	{'q', "quiet", NULL, EVERY_COMMAND, "report only errors"},
	{'v', "verbose", NULL, EVERY_COMMAND & ~FDRELAY, "report each event: peers, descriptors, commands"},
	{'v', "verbose", NULL, FDRELAY, "report each message that carries descriptors"},
	{'h', "help", NULL, EVERY_COMMAND, "show this help"},
	{'V', "version", NULL, EVERY_COMMAND, "show the version"},
	{0, "What COMMAND finds in its environment", NULL, FDRECV | FDSERVE | FDEXEC | FDHOLD, NULL},
	{0, "FDKIT_FDS", NULL, FDRECV | FDSERVE | FDEXEC, "the numbers of the descriptors, as in 3 4"},
	{0, "FDKIT_MESSAGE", NULL, FDRECV | FDEXEC, "the text of fdsend -m"},
	{0, "FDKIT_PEER_UID", NULL, FDRECV | FDEXEC, "the sender; also FDKIT_PEER_PID and _GID"},
	{0, "REMOTE_ADDR", NULL, FDRECV | FDSERVE | FDEXEC, "the client, if a TCP connection is at 0 or 1; also\n"
	 "REMOTE_PORT"},
	{0, "LISTEN_FDS", NULL, FDRECV | FDSERVE, "how many descriptors it has from 3 on (fdserve: with\n"
	 "-L); LISTEN_FDNAMES: their names"},
	{0, "NAME_HOST, NAME_PORT", NULL, FDHOLD, "where each NAME=ADDRESS is; FDKIT_SOCKET: SOCKET"},
	{0, "Exit status", NULL, EVERY_COMMAND, NULL},
	{0, "124", NULL, EVERY_COMMAND, "timed out"},
	{0, "125", NULL, EVERY_COMMAND, "failed, refused or called wrongly: a line says why"},
	{0, "126, 127", NULL, EVERY_COMMAND & ~(FDSEND | FDRELAY), "COMMAND cannot be run; was not found"},
	{0},
};

static void print_row(const struct option_row *r)
{
	char left[40];
	if (!r->code)
		snprintf(left, sizeof left, "  %s", r->name);
	else if (r->code <= LAST_LETTER)
		snprintf(left, sizeof left, "  -%c, --%s %s", r->code, r->name, r->value ? r->value : "");
	else
		snprintf(left, sizeof left, "      --%s %s", r->name, r->value ? r->value : "");
	int first = (int)strcspn(r->help, "\n");
	printf("%-*s %.*s\n", HELP_COLUMN - 1, left, first, r->help);
	if (r->help[first])
		printf("%*s%s\n", HELP_COLUMN, "", r->help + first + 1);
}

/* Print ABOUT, which begins with usage: and our name, with what stands before that name where we are installed (make
 * install PROGRAM_PREFIX=) before each of our commands. */
static void print_about(const char *about)
{
	const char *name = about + strlen("usage: "), *called = program_invocation_short_name;
	size_t own = strcspn(name, " "), len = strlen(called);
	bool ours = len >= own && strncmp(called + len - own, name, own) == 0;
	for (const char *at = about; *at; at++) {
		if (at > about && strchr(" (\n", at[-1]) && at[0] == 'f' && at[1] == 'd' && at[2] >= 'a')
			printf("%.*s", ours ? (int)(len - own) : 0, called);
		putchar(*at);
	}
}

int option_next(unsigned command, int argc, char *argv[])
{
	struct option longs[OPTIONS_END] = {{0}};
	char shorts[2 * OPTIONS_END] = "+", *s = shorts + 1;
	size_t n = 0;
	for (const struct option_row *r = option_table; r->commands; r++) {
		if (!r->code || !(r->commands & command))
			continue;
		longs[n++] = (struct option){r->name, r->value ? required_argument : no_argument, NULL, r->code};
		if (r->code <= LAST_LETTER)
			*s++ = (char)r->code;
		if (r->code <= LAST_LETTER && r->value)
			*s++ = ':';
	}
	*s = '\0';
	return getopt_long(argc, argv, shorts, longs, NULL);
}

void option_help(const struct cli *c)
{
	print_about(c->about);
	for (const struct option_row *r = option_table; r->commands; r++) {
		if (!(r->commands & c->command))
			continue;
		if (r->help)
			print_row(r);
		else
			printf("\n%s:\n", r->name);
	}
	printf("\nSee %s(1).\n", program_invocation_short_name);
}
