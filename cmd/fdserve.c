/* SPDX-License-Identifier: ISC */
/* fdserve: accept connections, and hand each to a worker or run a command for it. */
#include "fdserve.h"
#include "address.h"
#include "child.h"
#include "closer.h"
#include "command.h"
#include "door.h"
#include "fdserve_dispatch.h"
#include "jobs.h"
#include "messages.h"
#include "parse.h"
#include "ready.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PATIENCE_MS = 10000, READY_AFTER_MS = 1000 };

/* Reject options that do not apply before anything is opened. */
static void check_options(const struct options *o)
{
	const struct cli *c = &o->cli;
	check_given(c, (int[]){'a', 'b', 'e', 'i', 'j', 'k', 'l', 'o', 't', 'w', 'B', 'C', 'L', 'M', 'P', OPT_ACK_TIMEOUT, OPT_NONBLOCK,
	                       OPT_NO_PID, 0}, !o->lease, "cannot be combined with --lease");
	check_given(c, (int[]){OPT_LEASE, 0}, o->command.argv, "needs -- COMMAND");
	check_given(c, (int[]){'i', 'o', 'e', 'B', 'j', 'C', 'P', OPT_ACK_TIMEOUT, 0}, !o->listener,
	            "cannot be combined with -L");
	check_given(c, (int[]){'t', OPT_NONBLOCK, OPT_NO_PID, 0}, o->listener, "needs -L");
	check_given(c, (int[]){'l', 'P', 't', 'w', OPT_ACK_TIMEOUT, 0}, !o->command.argv, "needs a SOCKET");
	check_given(c, (int[]){'i', 'o', 'e', 'B', 'j', OPT_NO_PID, 0}, o->command.argv, "needs -- COMMAND");
	check_given(c, (int[]){'k', 0}, o->listener && o->command.argv, "needs -L and -- COMMAND");
	check_given(c, (int[]){OPT_READY_AFTER, 0}, o->keep, "needs -k");
	check_given(c, (int[]){OPT_DRAIN, 0}, !o->listener || o->keep, "with -L needs -k");
	check_given(c, (int[]){'C', OPT_ACK_TIMEOUT, 0}, !o->plain, "cannot be combined with -P");
	check_given(c, (int[]){'w', 0}, !o->listener || !o->listen, "cannot be combined with -L -l");
	if (o->patience == 0)
		errx(FAILED, "--ack-timeout must be greater than 0");
	if (o->command.argv && !*o->command.argv)
		errx(FAILED, "COMMAND is missing after --");
}

/* The same once it is known which ADDRESSes are Unix sockets: those that are inherited may be. */
static void check_peers(const struct options *o)
{
	bool files = o->listen, peers = !o->command.argv;
	for (size_t i = 0; i < o->addresses.count; i++) {
		const struct listener *l = &o->addresses.listener[i];
		if (o->lease && (!l->found || l->at.type == SOCK_DGRAM))
			errx(FAILED, "%s: --lease keeps TCP ports only (HOST:PORT)", l->arg);
		if (l->at.type == SOCK_DGRAM && !o->listener)
			errx(FAILED, "%s: UDP has no connections to hand over (-L hands over the socket)", l->arg);
		files = files || l->local;
		peers = peers || (!o->listener && (l->local || l->at.kind == END_FD));
	}
	check_given(&o->cli, (int[]){'M', 0}, files, "needs -l or an ADDRESS that is a Unix socket");
	check_given(&o->cli, (int[]){'a', 0}, peers, "needs a SOCKET or connections to an ADDRESS that is a Unix socket");
}

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.jobs = 64, .patience = PATIENCE_MS, .ready_after = READY_AFTER_MS};
	int option;
	cli_start(&o.cli, argv, FDSERVE, "usage: fdserve [options] ADDRESS... SOCKET\n"
	          "       fdserve [options] ADDRESS... -- COMMAND [ARG...]\n"
	          "       fdserve -L [options] [NAME=]ADDRESS... SOCKET\n"
	          "       fdserve -L [-k] [options] [NAME=]ADDRESS... -- COMMAND [ARG...]\n"
	          "       fdserve [options] --lease [NAME=]ADDRESS... -- COMMAND [ARG...]\n\n"
	          "Accept connections at ADDRESS, and hand each to the worker at SOCKET or to a\n"
	          "COMMAND of its own. With -L, hand over the listening sockets themselves. With\n"
	          "--lease, keep a TCP port for a server that takes no socket.\n"
	          "Example: addr=$(fdserve -A - -R 1 127.0.0.1:0 -- ./handler &)   # a free port\n");
	while ((option = cli_option(&o.cli, argc, argv)) != -1)
		switch (option) {
		case 'A': check("-A", optarg, address_file_parse(&o.addresses.file, optarg)); break;
		case 'C': check("-C", optarg, parse_number(&o.per_source, optarg, 1, INT32_MAX)); break;
		case 'j': check("-j", optarg, parse_number(&o.jobs, optarg, 1, 1 << 20)); break;
		case 'k': o.keep = true; break;
		case 'l': o.listen = true; break;
		case 'L': o.listener = true; break;
		case 'P': o.plain = true; break;
		case OPT_LEASE: o.lease = true; break;
		case OPT_NONBLOCK: o.nonblock = true; break;
		case OPT_NO_PID: o.no_pid = true; break;
		case OPT_READY_AFTER: check("--ready-after", optarg, parse_time(&o.ready_after, optarg)); break;
		case OPT_ACK_TIMEOUT: check("--ack-timeout", optarg, parse_time(&o.patience, optarg)); break;
		default: break;
		}
	command_options(&o.command, &o.cli, !o.listener);
	int end = optind;
	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end < argc)
		o.command.argv = argv + end + 1;
	else
		end--;
	/* getopt_long has passed over a -- that comes first. */
	if (end <= optind)
		errx(FAILED, "%s is missing (--help shows how to call it)",
		     end < optind || o.command.argv || strcmp(argv[optind - 1], "--") == 0 ? "ADDRESS" : "SOCKET or -- COMMAND");
	check_options(&o);
	listening_parse(&o.addresses, argv + optind, (size_t)(end - optind), o.listener || o.lease);
	if (o.lease)
		child_check_names(&o.addresses);
	check_peers(&o);
	if (!o.command.argv) {
		check("", argv[end], endpoint_parse(&o.worker, argv[end]));
		check_socket(&o.worker, " (COMMAND follows --)");
	}
	return o;
}

static void open_server(struct server *s)
{
	struct options *o = s->o;
	/* An inherited socket works or fails at once; waiting would not help. */
	if (o->worker.kind == END_FD && !o->command.argv && !o->listen && endpoint_dial(&o->worker) == -1)
		exit(say_unconnected(o->worker.arg));
	/* Signals first: we must remove the socket file from the moment that it exists. */
	s->sigfd = signals_open(true);
	if (s->sigfd == -1 || !(s->doors = calloc(o->addresses.count, sizeof *s->doors)) ||
	    (runs_command(s) && jobs_open(&s->jobs, (size_t)o->jobs) == -1))
		fail(o->addresses.listener[0].arg);
	o->worker.nofile = &o->command.nofile;
	o->worker.service = true;
	listening_open(&o->addresses, &o->cli, true);
	if (o->listen && endpoint_listen(&o->worker, socket_mode(&o->cli, true), o->cli.backlog) == -1) {
		listening_close(&o->addresses);
		exit(say_not_listening(o->worker.arg, "connect without -l"));
	}
	for (size_t i = 0; i < o->addresses.count; i++) {
		const struct listener *l = &o->addresses.listener[i];
		door_open(&s->doors[i], &l->at, l->local ? &o->cli.allow : NULL, &s->closer);
		s->doors[i].flags = 0;
	}
	door_open(&s->workers, &o->worker, &o->cli.allow, &s->closer);
	int status = listening_announce(&o->addresses, &o->cli, s->sigfd, NEVER);
	if (status) {
		endpoint_close(&o->worker);
		exit(status);
	}
	/* SOCKET may be an inherited connected one. */
	if (o->listen && !o->worker.listens) {
		if (dispatch_add(&s->dispatch, o->worker.fd) == -1)
			fail(o->worker.arg);
		o->worker.fd = -1;
	}
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct server s = {
		.o = &o, .held = -1, .end_by = NEVER, .pause = DIAL_MS,
		.dispatch = {.plain = o.plain, .sources = o.per_source ? &s.sources : NULL, .patience = o.patience},
	};
	s.dispatch.closer = &s.closer;
	guard_standard();
	command_prepare(&o.command);
	if (o.command.argv)
		find_command(&o.cli, &o.command);
	if (o.lease)
		lease_ports(&o);
	if (o.listener)
		return hand_over_listeners(&o);
	open_server(&s);
	s.give_up = runs_command(&s) ? NEVER : deadline_in(o.cli.wait);
	be_ready(&o.cli, true);
	bool strangers = false; /* connections from the network wait for nobody when they are closed */
	for (size_t i = 0; i < o.addresses.count; i++)
		strangers = strangers || o.addresses.listener[i].local;
	if (runs_command(&s) && jobs_reserve(&s.jobs, &s.closer, strangers) == -1) {
		listening_close(&o.addresses);
		fail(o.addresses.listener[0].arg);
	}
	int sig = serve(&s);
	ready_notify("STOPPING=1");
	if (!sig && !is_over(&s)) {
		listening_close(&o.addresses);
		endpoint_close(&o.worker);
		errx(TIMED_OUT, "%s: timed out: no worker came", o.worker.arg);
	}
	finish(&s);
	tell_end(&s, sig);
	dispatch_close(&s.dispatch);
	door_close(&o.worker, &s.closer);
	closer_end(&s.closer, s.jobs.running);
	return sig ? 0 : FAILED;
}
