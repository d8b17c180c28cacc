/* SPDX-License-Identifier: ISC */
/* fdrecv: receive descriptors, and execute a command with them or copy their data. */
#include "address_file.h"
#include "cli.h"
#include "channel.h"
#include "closer.h"
#include "command.h"
#include "dial.h"
#include "door.h"
#include "fdrecv.h"
#include "inbox.h"
#include "launch.h"
#include "messages.h"
#include "parse.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct options {
	struct cli cli;
	struct command command; /* argv NULL: copy */
	bool connect, no_pid, raw;
	bool fresh;             /* connect:ADDRESS */
	int shell;              /* fdread: where it gets the descriptors; else -1 */
	size_t variables;       /* fdread: VAR... */
	bool all, asks;         /* --all; there is a request for a store */
	long number;            /* -N, or 0 */
	struct set list;        /* -f */
	bool numbers;           /* -f has numbers */
	struct text message;
	struct address_file message_to; /* --message-to */
	struct endpoint at;
	struct closer closer;
};

enum { HINT_MS = 1000, CLOSE_MS = 200 };

static bool listed(const struct set *list, int fd)
{
	size_t i = 0;
	while (i < list->count && list->fd[i] != fd)
		i++;
	return i < list->count;
}

/* Reject a -f that contradicts other options. If it has numbers, give its names without one the next from 3 on. */
static void check_list(struct options *o)
{
	struct set *list = &o->list;
	int next = 3;
	o->asks = o->all || set_named(list);
	if (o->shell != -1 && list->count && list->count != o->variables)
		errx(FAILED, "-f: %zu name%s for %zu VAR", list->count, plural(list->count), o->variables);
	for (size_t i = 0; i < list->count; i++) {
		o->numbers = o->numbers || list->fd[i] != -1;
		if (o->shell != -1 && list->fd[i] != -1)
			errx(FAILED, "-f %d: the shell chooses the number", list->fd[i]);
		if (list->fd[i] == -1 && !o->connect)
			errx(FAILED, "-f %s: a name alone asks a store, and needs -c", list->name[i]);
	}
	check_given(&o->cli, (int[]){'f', 0}, !o->all, "cannot be combined with --all");
	check_given(&o->cli, (int[]){'i', 'o', 'e', 0}, !o->numbers, "cannot be combined with numbers in -f");
	check_repeats("-f", list, true);
	for (size_t i = 0; o->numbers && i < list->count; i++) {
		while (list->fd[i] == -1 && listed(list, next))
			next++;
		list->fd[i] = list->fd[i] == -1 ? next : list->fd[i];
	}
}

/* Reject the options that do not go with connect:ADDRESS. */
static void check_fresh(const struct options *o)
{
	check_given(&o->cli, (int[]){'c', 'M', 'N', 'R', OPT_ALL, OPT_MESSAGE_TO, 0}, false, "cannot be combined with connect:");
	check_given(&o->cli, (int[]){'a', 'T', 0}, o->at.kind != END_INET, "needs connect:unix:PATH");
	if (o->list.count > 1 || set_named(&o->list))
		errx(FAILED, "-f: connect: gives one descriptor without a name");
}

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.shell = shell_of(&argc, &argv)};
	bool shell = o.shell != -1;
	int option;
	cli_start(&o.cli, argv, shell ? FDREAD : FDRECV, shell ? fdread_about :
	          "usage: fdrecv [options] SOCKET [COMMAND [ARG...]]\n\n"
	          "Receive open descriptors, and become COMMAND with them, or copy their data.\n"
	          "Example: fdrecv -o s date & fdsend -w 5 s 1    # date writes to fdsend's output\n");
	while ((option = cli_option(&o.cli, argc, argv)) != -1)
		switch (option) {
		case 'c': o.connect = true; break;
		case 'f': check("-f", optarg, set_parse(&o.list, optarg, true)); break;
		case 'm':
		case OPT_MESSAGE_FILE: o.message = message_text(option); break;
		case 'N': check("-N", optarg, parse_number(&o.number, optarg, 1, 1 << 20)); break;
		case OPT_MESSAGE_TO: check("--message-to", optarg, address_file_parse(&o.message_to, optarg)); break;
		case OPT_ALL: o.all = true; break;
		case OPT_NO_PID: o.no_pid = true; break;
		case OPT_RAW: o.raw = true; break;
		default: break;
		}
	command_options(&o.command, &o.cli, false);
	const char *arg = operand(argc, argv, "SOCKET");
	o.fresh = strncmp(arg, "connect:", 8) == 0;
	check("", arg, o.fresh ? dial_parse(&o.at, arg) : endpoint_parse(&o.at, arg));
	o.at.type = o.cli.type;
	o.variables = shell ? (size_t)(argc - optind) : 0;
	if (shell)
		operand(argc, argv, "VAR");
	if (shell && o.number && (size_t)o.number != o.variables)
		errx(FAILED, "-N %ld: there are %zu VAR", o.number, o.variables);
	/* --run, as in util-linux, or -- may precede COMMAND. */
	if (!shell && optind < argc && (strcmp(argv[optind], "--run") == 0 || strcmp(argv[optind], "--") == 0) &&
	    ++optind == argc)
		errx(FAILED, "COMMAND is missing after %s", argv[optind - 1]);
	o.command.argv = !shell && optind < argc ? argv + optind : NULL;
	if (o.fresh)
		check_fresh(&o);
	check_given(&o.cli, (int[]){'w', 'm', OPT_MESSAGE_FILE, OPT_ALL, 0}, o.connect || o.fresh, "needs -c");
	check_given(&o.cli, (int[]){'M', 'R', 0}, !o.connect, "cannot be combined with -c");
	check_given(&o.cli, (int[]){'i', 'o', 'e', 'B', OPT_NO_PID, 0}, o.command.argv || shell, "needs COMMAND");
	check_given(&o.cli, (int[]){OPT_RAW, 0}, !o.command.argv, "cannot be combined with COMMAND");
	if (o.raw && !isatty(0))
		errx(FAILED, "--raw: standard input is not a terminal");
	if (o.connect && o.cli.type == SOCK_DGRAM)
		errx(FAILED, "-T dgram: with -c nobody can send a datagram to us");
	check_list(&o);
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
	exit(errno == EPIPE ? say_closed(&o->at, "without a descriptor") : say_failed(o->at.arg));
}

static void open_socket(struct options *o, int64_t deadline)
{
	if (!o->connect) {
		if (endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog) == -1)
			exit(say_not_listening(o->at.arg, "-c connects"));
		return;
	}
	if (endpoint_connect(&o->at, wait_deadline(&o->cli), deadline) == -1)
		exit(say_unconnected(o->at.arg));
	check_peer(&o->cli, &o->at);
	if (o->message.data && rights_send_all(o->at.fd, NULL, 0, o->message.data, o->message.len, deadline) == -1)
		fail(o->at.arg);
	if (o->asks)
		ask(o, deadline);
}

/* End with STATUS, or by signal N if it is 128 + N. Closing received descriptors, if any are HELD, may block. */
static _Noreturn void leave(struct options *o, bool held, int status)
{
	door_close(&o->at, &o->closer);
	closer_end(&o->closer, held);
	if (status > 128)
		die_of(status - 128);
	exit(status);
}

/* Report WHY nothing comes from the peer of D; end if that is FATAL, or if no other peer can come. */
static void nothing_from(struct options *o, const struct delivery *d, const char *why, bool fatal)
{
	if (!fatal && (o->at.listens || o->at.type == SOCK_DGRAM)) {
		say(&o->cli, "%s: uid %lu: %s", o->at.arg, (unsigned long)d->peer.uid, why);
		return;
	}
	warnx("%s: %s", o->at.arg, why);
	leave(o, true, FAILED);
}

/* Handle an event without descriptors. If a peer sent too few, or some did not fit us, no other makes up for that. */
static void handle(struct options *o, struct inbox *in, enum inbox_event event, const struct delivery *d,
                   int64_t deadline)
{
	int sig = event == INBOX_BESIDES ? signals_next(in->besides) : 0;
	bool connected = in->connections.table.count;
	if (sig)
		leave(o, connected, 128 + sig);
	switch (event) {
	case INBOX_BESIDES: break;
	case INBOX_HELLO: channel_offer(in, d->connection, 1, 1); break;
	case INBOX_REFUSED: say_refused(&o->cli, o->at.arg, &d->peer); break;
	case INBOX_TIMEOUT:
		if (time_left(deadline)) {
			say(&o->cli, "%s: nothing has come yet (-f NAME and --all ask a store)", o->at.arg);
			break;
		}
		warnx("%s: timed out: no descriptor came in time", o->at.arg);
		leave(o, connected, TIMED_OUT);
	case INBOX_GONE: nothing_from(o, d, reason(ESHUTDOWN), true); break;
	case INBOX_SHORT: nothing_from(o, d, "too few descriptors came", true); break;
	case INBOX_FAILED:
		nothing_from(o, d, d->text ? d->text : d->error == EMFILE ? "descriptors did not fit: Too many open files" :
		             strerror(d->error), out_of_resources(d->error));
		break;
	default:
		if (!o->at.listens && o->at.type != SOCK_DGRAM)
			exit(say_closed(&o->at, "without a descriptor"));
		nothing_from(o, d, "closed without a descriptor", false);
	}
}

/* Wait for the descriptors. A store sends nothing without a request: after a second of silence report that. */
static struct delivery receive(struct options *o, struct inbox *in, int64_t deadline)
{
	struct delivery d;
	enum inbox_event event;
	int64_t hint = o->connect && !o->asks && !o->message.data ? deadline_in(HINT_MS) : NEVER;
	while ((event = inbox_next(in, &d, false, sooner(hint, deadline))) != INBOX_DELIVERY) {
		handle(o, in, event, &d, deadline);
		if (event == INBOX_TIMEOUT || event == INBOX_HELLO)
			hint = NEVER;
	}
	char text[SHOWN_MOST];
	note(&o->cli, "%s: from pid %ld, uid %lu: %s", o->at.arg, (long)d.peer.pid, (unsigned long)d.peer.uid,
	     show_set(&o->cli, &d.set, d.id ? d.peer.uid : NOBODY, text));
	return d;
}

/* Put SET into the order of LIST, of which it has no fewer: each name takes its own descriptor, each number the next
 * that is not taken by name; surplus ones follow. If that fails, SET is as it was, and WHY says why. */
static void order(const struct set *list, struct set *set, char *why, size_t size)
{
	struct set sorted = {0};
	size_t next = 0;
	for (size_t i = 0; i < set->count && !*why; i++) {
		const char *name = i < list->count ? list->name[i] : NULL;
		while (!name && set->name[next] && set_find(list, set->name[next]) < list->count &&
		       set_find(set, set->name[next]) == next)
			next++;
		size_t from = name ? set_find(set, name) : next++;
		if (from == set->count)
			snprintf(why, size, "no descriptor named %s came", name);
		else if (set_add(&sorted, set->fd[from], set->name[from]) == -1)
			snprintf(why, size, "%s", strerror(errno));
	}
	struct set unused = *why ? sorted : *set;
	if (!*why)
		*set = sorted;
	set_forget(&unused);
}

/* Take exactly as many as -f and -N say, and close the others. On failure tell the sender the reason. */
static void take_exactly(struct options *o, struct inbox *in, struct delivery *d)
{
	size_t wanted = o->list.count ? o->list.count : (size_t)o->number;
	size_t count = wanted ? wanted : d->set.count > o->variables ? d->set.count : o->variables;
	char why[300] = "";
	if (d->set.count < count)
		snprintf(why, sizeof why, "too few descriptors came (%zu of %zu)", d->set.count, count);
	else if (o->variables && count > o->variables)
		snprintf(why, sizeof why, "too many descriptors came (%zu for %zu VAR)", count, o->variables);
	else if ((o->command.argv || o->variables) && !command_fits(&o->command, count))
		too_many(&o->command, count, why, sizeof why);
	else if (o->list.count)
		order(&o->list, &d->set, why, sizeof why);
	if (*why) {
		inbox_answer(in, d->connection, RECORD_REFUSED, d->id, why);
		nothing_from(o, d, why, true);
	}
	closer_trim(&o->closer, &d->set, count, d->peer.uid);
}

/* --message-to. On failure tell the sender, who keeps its descriptors, and end. */
static void keep_message(struct options *o, struct inbox *in, const struct delivery *d, int64_t deadline)
{
	int sig = o->message_to.path ? address_file_finish(&o->message_to, d->text, d->len, in->besides, deadline) : 0;
	int status = sig > 0 ? 128 + sig : errno == ETIMEDOUT ? TIMED_OUT : FAILED;
	if (sig == -1) {
		warnx("--message-to %s: %s", o->message_to.path, reason(errno));
		inbox_answer(in, d->connection, RECORD_REFUSED, d->id, "the message could not be written");
	}
	if (sig)
		leave(o, true, status);
}

/* The set that was asked for. It is used only after its sender has been told so: a sender that no longer listens has
 * taken it back, and may have given it to another. */
static struct delivery take(struct options *o, struct inbox *in, int64_t deadline)
{
	for (;;) {
		struct delivery d = receive(o, in, deadline);
		take_exactly(o, in, &d);
		keep_message(o, in, &d, deadline);
		if (!d.id || inbox_answer(in, d.connection, RECORD_TAKEN, d.id, NULL) == 0)
			return d;
		nothing_from(o, &d, "its descriptors were taken back", false);
		delivery_close(&d, &o->closer);
	}
}

/* Receive at SOCKET. */
static struct delivery received(struct options *o, int64_t deadline)
{
	struct inbox in;
	/* Signals first: we must remove the socket file from the moment that it exists. */
	bool files = !o->connect && o->at.kind == END_PATH;
	int sigfd = files ? signals_open(false) : -1;
	if (files && sigfd == -1)
		fail(o->at.arg);
	open_socket(o, deadline);
	/* Once the sender knows that its descriptors were taken, only SIGKILL keeps them from the shell. */
	if (o->shell != -1 && !files && (sigfd = signals_open(false)) == -1)
		fail(o->at.arg);
	if (inbox_open(&in, &o->at, &o->cli.allow, &o->closer, sigfd) == -1) {
		endpoint_close(&o->at);
		fail(o->at.arg);
	}
	in.gather = (size_t)o->number;
	be_ready(&o->cli, false);
	struct delivery d = take(o, &in, deadline);
	inbox_close(&in);
	door_close(&o->at, &o->closer);
	closer_wait(&o->closer, CLOSE_MS);
	if (o->shell == -1)
		signals_close(sigfd);
	return d;
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	int64_t deadline = deadline_in(o.cli.timeout);
	guard_standard();
	command_prepare(&o.command);
	for (size_t i = 0; o.command.argv && i < o.list.count; i++)
		if (o.list.fd[i] != -1 && (rlim_t)o.list.fd[i] >= o.command.nofile.rlim_cur)
			errx(FAILED, "-f %d: not below COMMAND's limit of %llu open files (ulimit -n)", o.list.fd[i],
			     (unsigned long long)o.command.nofile.rlim_cur);
	if (o.command.argv)
		find_command(&o.cli, &o.command);
	if (o.message_to.path)
		check("--message-to", o.message_to.path, address_file_prepare(&o.message_to));
	o.at.nofile = &o.command.nofile;
	/* Prepare COMMAND before anything arrives. */
	struct launch l;
	if (o.command.argv && launch_open(&l, &o.command, -1, -1) == -1)
		fail(o.command.argv[0]);
	struct delivery d = o.fresh ? connected(&o.cli, &o.at, &o.message, deadline) : received(&o, deadline);
	if (o.shell != -1) {
		if (o.cli.given['B'])
			make_blocking(&d.set);
		leave(&o, true, shell_give(o.shell, &d, o.at.arg));
	}
	if (!o.command.argv)
		return copy_received(&d, o.raw, o.at.arg);
	return become(&l, &d, o.numbers ? o.list.fd : NULL, o.no_pid);
}
