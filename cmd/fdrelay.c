/* SPDX-License-Identifier: ISC */
/* fdrelay: carry bytes and descriptors between standard input and a socket, and show what passes. */
#include "cli.h"
#include "command.h"
#include "door.h"
#include "fd.h"
#include "fdrelay_carry.h"
#include "messages.h"
#include "peer.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void parse_options(struct cli *c, struct endpoint *at, int argc, char *argv[])
{
	cli_start(c, argv, FDRELAY, "usage: fdrelay [options] SOCKET\n\n"
	          "Carry bytes and descriptors between the connection at standard input and SOCKET.\n"
	          "Example: fdserve -io unix:box.sock -- fdrelay -v -w 5 app.sock  # traces\n");
	while (cli_option(c, argc, argv) != -1)
		;
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(at, arg));
	if (optind < argc)
		check("", argv[optind], "one SOCKET is enough");
}

/* The connection at standard input, and its type. */
static struct side standard_input(int *type)
{
	struct sockaddr_storage peer;
	struct peer who = {.uid = NOBODY};
	socklen_t len = sizeof peer;
	struct side s = {.fd = 0, .name = "standard input", .local = fd_option(0, SO_DOMAIN) == AF_UNIX};
	*type = fd_option(0, SO_TYPE);
	if (*type == -1 || (fd_option(0, SO_ACCEPTCONN) != 1 && getpeername(0, (struct sockaddr *)&peer, &len) == -1))
		fail(s.name);
	if (fd_option(0, SO_ACCEPTCONN) == 1)
		errx(FAILED, "%s: it is a listening socket", s.name);
	if (s.local)
		peer_of(0, &who);
	s.uid = who.uid;
	return s;
}

/* Connect to SOCKET. */
static struct side far_side(const struct cli *c, struct endpoint *at, int type, int64_t deadline)
{
	struct peer who = {.uid = NOBODY};
	const char *given = c->given['T'] ? "-T" : at->arg;
	at->type = c->given['T'] ? c->type : type;
	if (at->kind == END_FD && at->fd == 0)
		errx(FAILED, "%s: that is standard input", at->arg);
	if (at->type == type && endpoint_connect(at, wait_deadline(c), deadline) == -1)
		exit(say_unconnected(at->arg));
	if (at->type != type)
		errx(FAILED, "%s: the socket at standard input is of another type", given);
	check_peer(c, at);
	peer_of(at->fd, &who);
	note(c, "%s: connected to pid %ld, uid %lu", at->arg, (long)who.pid, (unsigned long)who.uid);
	return (struct side){.fd = at->fd, .name = at->arg, .local = true, .uid = who.uid};
}

int main(int argc, char *argv[])
{
	struct cli c;
	struct endpoint at;
	struct rlimit nofile;
	struct relay r = {.cli = &c};
	parse_options(&c, &at, argc, argv);
	int64_t deadline = deadline_in(c.timeout);
	guard_standard();
	raise_limit(&nofile);
	at.nofile = &nofile;
	r.object = at.arg;
	r.side[0] = standard_input(&r.type);
	r.side[1] = far_side(&c, &at, r.type, deadline);
	int sigfd = signals_open(false);
	if (sigfd == -1)
		fail(at.arg);
	int status = carry(&r, sigfd, deadline);
	/* A descriptor that is held, or left in a queue, may block the process that closes it. */
	door_close(&at, &r.closer);
	closer_end(&r.closer, status || r.passed);
	if (status > 128)
		die_of(status - 128);
	return status;
}
