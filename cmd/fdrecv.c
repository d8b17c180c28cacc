/* SPDX-License-Identifier: ISC */
/* fdrecv: receive descriptors, and execute a command with them or copy their data. */
#include "cli.h"
#include "closer.h"
#include "command.h"
#include "copy.h"
#include "door.h"
#include "inbox.h"
#include "launch.h"
#include "parse.h"
#include "record.h"
#include "rights.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct options {
	struct cli cli;
	struct command command;
	bool connect, no_pid;
	bool all, asks;         /* --all; a request for a store is given */
	long number;            /* -N */
	struct set list;     /* -f */
	bool numbers;           /* some of LIST are numbers */
	struct text message;
	struct endpoint at;
	struct closer closer;
};

enum { HINT_MS = 1000, CLOSE_MS = 200 };

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {0};
	int letter;
	cli_start(&o.cli, argv, "fdrecv [options] SOCKET [COMMAND [ARG...]]", "acefimFoqtvwBMNRTEIhV");
	while ((letter = cli_option(&o.cli, argc, argv)) != -1)
		switch (letter) {
		case 'c': o.connect = true; break;
		case 'f': check("-f", optarg, set_parse(&o.list, optarg, true)); break;
		case 'm': o.message = message_text(optarg); break;
		case OPT_MESSAGE_FILE: o.message = message_file(optarg); break;
		case 'N': check("-N", optarg, parse_number(&o.number, optarg, 1, 1 << 20)); break;
		case OPT_ALL: o.all = o.asks = true; break;
		case OPT_NO_PID: o.no_pid = true; break;
		default: command_option(&o.command, letter);
		}
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(&o.at, arg));
	/* --run, as in util-linux, or -- may precede COMMAND. */
	if (optind < argc && (strcmp(argv[optind], "--run") == 0 || strcmp(argv[optind], "--") == 0) &&
	    ++optind == argc)
		errx(FAILED, "COMMAND is missing after %s", argv[optind - 1]);
	o.command.argv = optind < argc ? argv + optind : NULL;
	check_given(&o.cli, "wmFE", o.connect, "needs -c");
	check_given(&o.cli, "MR", !o.connect, "cannot be combined with -c");
	check_given(&o.cli, "ioeBI", o.command.argv, "needs COMMAND");
	check_given(&o.cli, "f", !o.all, "cannot be combined with --all");
	if (o.connect && o.cli.type == SOCK_DGRAM)
		errx(FAILED, "-T dgram: with -c nobody can send a datagram to us");
	for (size_t i = 0; i < o.list.count; i++) {
		o.asks = o.asks || o.list.name[i];
		o.numbers = o.numbers || o.list.fd[i] != -1;
		if (o.list.fd[i] == -1 && !o.connect)
			errx(FAILED, "-f %s: a name alone asks a store, and needs -c", o.list.name[i]);
	}
	check_given(&o.cli, "ioe", !o.numbers, "cannot be combined with numbers in -f");
	check_repeats("-f", &o.list, true);
	o.at.type = o.cli.type;
	return o;
}

/* Ask a store for the names in -f, or for all. Another sender may ignore the request. */
static void ask(const struct options *o, int64_t deadline)
{
	char names[RECORD_MAX - 256];
	struct set named = {0};
	for (size_t i = 0; i < o->list.count; i++)
		if (o->list.name[i] && set_add(&named, -1, o->list.name[i]) == -1)
			fail("-f");
	if (set_names(&named, 0, SIZE_MAX, names, sizeof names) < named.count)
		errx(FAILED, "-f: too many names");
	set_forget(&named);
	if (record_send(o->at.fd, &(struct record){.word = RECORD_GET, .names = o->all ? NULL : names}, NULL, deadline) == 0)
		return;
	if (errno == EPIPE)
		fail_closed(&o->at, "without a descriptor");
	fail(o->at.arg);
}

static void open_socket(struct options *o, int64_t deadline)
{
	if (!o->connect) {
		if (endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog) == -1)
			fail_listen(&o->cli, o->at.arg);
		return;
	}
	if (endpoint_connect(&o->at, wait_deadline(&o->cli), deadline) == -1)
		fail_connect(o->at.arg);
	check_peer(&o->cli, &o->at);
	if (o->message.data && rights_send_all(o->at.fd, NULL, 0, o->message.data, o->message.len, deadline) == -1)
		fail(o->at.arg);
	if (o->asks)
		ask(o, deadline);
}

/* End with STATUS, even if closing the received descriptors, if any are HELD, would block. */
static _Noreturn void leave(struct options *o, bool held, int status)
{
	door_close(&o->at, &o->closer);
	closer_end(&o->closer, held);
	exit(status);
}

/* Say WHY there is nothing from the peer of D, and end if that is FATAL, or no other peer can come. */
static void nothing_from(struct options *o, const struct delivery *d, const char *why, bool fatal)
{
	if (!fatal && (o->at.listens || o->at.type == SOCK_DGRAM)) {
		say(&o->cli, "%s: uid %lu: %s", o->at.arg, (unsigned long)d->peer.uid, why);
		return;
	}
	warnx("%s: %s", o->at.arg, why);
	leave(o, true, FAILED);
}

/* Too few descriptors, of those that were sent or of those that fit us, are not made up for by another peer. */
static void peer_failed(struct options *o, enum inbox_event event, const struct delivery *d)
{
	if (event == INBOX_SHORT)
		nothing_from(o, d, "too few descriptors came", true);
	else if (event == INBOX_FAILED)
		nothing_from(o, d, d->text ? d->text : d->error == EMFILE ? "descriptors did not fit: Too many open files" :
		             strerror(d->error), out_of_resources(d->error));
	else if (o->at.listens || o->at.type == SOCK_DGRAM)
		nothing_from(o, d, "closed without a descriptor", false);
	else
		fail_closed(&o->at, "without a descriptor");
}

/* Wait for the descriptors. A store sends nothing without a request: after a second of silence report that. */
static struct delivery receive(struct options *o, struct inbox *in, int64_t deadline)
{
	struct delivery d;
	int64_t hint = o->connect && !o->asks && !o->message.data ? deadline_in(HINT_MS) : NEVER;
	for (;;) {
		enum inbox_event event = inbox_next(in, &d, false, sooner(hint, deadline));
		bool early = event == INBOX_TIMEOUT && time_left(deadline);
		if (early)
			say(&o->cli, "%s: nothing has come yet (-f NAME and --all ask a store)", o->at.arg);
		if (early || event == INBOX_HELLO)
			hint = NEVER;
		int sig = event == INBOX_SIGNAL ? signals_next(in->sigfd) : 0;
		if (event == INBOX_DELIVERY)
			break;
		if (sig) {
			door_close(&o->at, &o->closer);
			closer_end(&o->closer, in->connections.table.count);
			die_of(sig);
		}
		if (event == INBOX_TIMEOUT && !early) {
			warnx("%s: timed out: no descriptor came in time", o->at.arg);
			leave(o, in->connections.table.count, TIMED_OUT);
		}
		if (event == INBOX_GONE) {
			warnx("%s: %s", o->at.arg, reason(ESHUTDOWN));
			leave(o, true, FAILED);
		}
		if (event == INBOX_HELLO)
			inbox_offer(in, d.connection, 1, 1);
		else if (event == INBOX_REFUSED)
			say_refused(&o->cli, o->at.arg, &d.peer);
		else if (event != INBOX_SIGNAL && event != INBOX_TIMEOUT)
			peer_failed(o, event, &d);
	}
	note(&o->cli, "%s: %zu descriptor%s from pid %ld, uid %lu", o->at.arg, d.set.count, plural(d.set.count),
	     (long)d.peer.pid, (unsigned long)d.peer.uid);
	return d;
}

/* Put the descriptors, and their names, into the order of -f, and unlisted ones at the end: each name takes its own, and
 * then each number the next. Returns what is missing, or NULL. */
static const char *order(const struct set *list, struct set *set)
{
	struct set sorted = {0};
	const char *missing = NULL;
	for (size_t i = 0; i < set->count; i++)
		if (set_add(&sorted, -1, NULL) == -1)
			return "memory";
	for (int by_name = 1; by_name >= 0; by_name--)
		for (size_t i = 0, next = 0; !missing && i < set->count; i++) {
			const char *name = i < list->count ? list->name[i] : NULL;
			if ((name != NULL) != by_name)
				continue;
			while (!name && set->fd[next] == -1)
				next++;
			size_t from = name ? set_find(set, name) : next;
			if (from == set->count) {
				missing = name;
				break;
			}
			sorted.fd[i] = set->fd[from];
			sorted.name[i] = set->name[from];
			set->fd[from] = -1;
			set->name[from] = NULL;
		}
	struct set former = *set;
	if (!missing) {
		*set = sorted;
		set_forget(&former);
	}
	return missing;
}

/* Take exactly as many as -f and -N say, and close the others. On failure tell the sender the reason. */
static void take_exactly(struct options *o, struct inbox *in, struct delivery *d)
{
	size_t wanted = o->list.count ? o->list.count : (size_t)o->number;
	const char *missing = NULL;
	if (d->set.count >= wanted && o->list.count)
		missing = order(&o->list, &d->set);
	char why[300] = "";
	size_t count = wanted ? wanted : d->set.count;
	if (missing)
		snprintf(why, sizeof why, "no descriptor named %s came", missing);
	else if (d->set.count < wanted)
		snprintf(why, sizeof why, "too few descriptors came (%zu of %zu)", d->set.count, wanted);
	else if (o->command.argv && !command_fits(&o->command, count))
		too_many(&o->command, count, why, sizeof why);
	if (*why) {
		inbox_answer(in, d->connection, RECORD_REFUSED, d->id, why);
		warnx("%s: %s", o->at.arg, why);
		leave(o, true, FAILED);
	}
	closer_trim(&o->closer, &d->set, count, d->peer.uid);
}

/* The set that was asked for. It is used only once its sender has been told so: a sender that no longer listens has
 * taken it back, and may have given it to another. */
static struct delivery take(struct options *o, struct inbox *in, int64_t deadline)
{
	for (;;) {
		struct delivery d = receive(o, in, deadline);
		take_exactly(o, in, &d);
		if (!d.id || inbox_answer(in, d.connection, RECORD_TAKEN, d.id, NULL) == 0)
			return d;
		nothing_from(o, &d, "its descriptors were taken back", false);
		delivery_close(&d, &o->closer);
	}
}

static int copy_all(const struct options *o, struct delivery *d)
{
	int side;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < d->set.count; i++)
		if (copy_by_kind(d->set.fd[i], 0, 1, &side) == -1)
			fail_copy(side, o->at.arg);
	set_close(&d->set);
	return 0;
}

static bool listed(const struct set *list, int fd)
{
	size_t i = 0;
	while (i < list->count && list->fd[i] != fd)
		i++;
	return i < list->count;
}

/* The numbers of -f, and for names alone the other numbers from 3 on; NULL if -f has no numbers. */
static int *places(const struct options *o)
{
	int next = 3, *to = o->numbers ? calloc(o->list.count, sizeof *to) : NULL;
	for (size_t i = 0; to && i < o->list.count; i++) {
		to[i] = o->list.fd[i];
		if (to[i] != -1)
			continue;
		while (listed(&o->list, next))
			next++;
		to[i] = next++;
	}
	return to;
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	struct inbox in;
	int64_t deadline = deadline_in(o.cli.timeout);
	guard_standard();
	command_prepare(&o.command);
	for (size_t i = 0; o.command.argv && i < o.list.count; i++)
		if (o.list.fd[i] != -1 && (rlim_t)o.list.fd[i] >= o.command.nofile.rlim_cur)
			errx(FAILED, "-f %d: not below COMMAND's limit of %llu open files (ulimit -n)", o.list.fd[i],
			     (unsigned long long)o.command.nofile.rlim_cur);
	if (o.command.argv)
		find_command(&o.cli, &o.command);
	o.at.nofile = &o.command.nofile;
	/* Signals first: we must remove the socket file from the moment that it exists. */
	bool files = !o.connect && o.at.kind == END_PATH;
	int sigfd = files ? signals_open(false) : -1;
	if (files && sigfd == -1)
		fail(o.at.arg);
	open_socket(&o, deadline);
	if (inbox_open(&in, &o.at, &o.cli.allow, &o.closer, sigfd) == -1) {
		endpoint_close(&o.at);
		fail(o.at.arg);
	}
	in.gather = (size_t)o.number;
	be_ready(&o.cli, false);
	/* Prepare COMMAND before anything arrives. */
	struct launch l;
	if (o.command.argv && launch_open(&l, &o.command, -1, -1) == -1) {
		endpoint_close(&o.at);
		fail(o.command.argv[0]);
	}
	struct delivery d = take(&o, &in, deadline);
	inbox_close(&in);
	door_close(&o.at, &o.closer);
	closer_wait(&o.closer, CLOSE_MS);
	signals_close(sigfd);
	if (!o.command.argv)
		return copy_all(&o, &d);
	int *to = places(&o), status = become(&l, &d, to, o.no_pid);
	free(to);
	return status;
}
