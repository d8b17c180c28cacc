/* SPDX-License-Identifier: ISC */
/* fdhold: keep named descriptors open for other processes. */
#include "fdhold.h"
#include "door.h"
#include "events.h"
#include "messages.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "record.h"
#include "wait.h"

#include <err.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PUT_PER_UID = 4096,
	NAMES_PER_UID = 32768,  /* a quarter of the room in LISTEN_FDNAMES: MAX_ARG_STRLEN, execve(2) */
	UNREAD_PER_UID = 4096,
};

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.expire = NEVER, .most = 65536};
	int option;
	cli_start(&o.cli, argv, FDHOLD, "usage: fdhold [options] SOCKET [NAME=ADDRESS...] [-- COMMAND [ARG...]]\n"
	          "       fdhold [options] --list SOCKET\n"
	          "       fdhold [options] --drop NAME SOCKET\n\n"
	          "Hold open descriptors, each under a NAME, for other processes: the listening\n"
	          "sockets that it opens, and those that are put there (fdsend SOCKET NAME=FD).\n"
	          "Example: fdhold h.sock web=:8000 & fdrecv -c -w 5 -f web h.sock ./server\n");
	while ((option = cli_option(&o.cli, argc, argv)) != -1)
		switch (option) {
		case 'A': check("-A", optarg, address_file_parse(&o.addresses.file, optarg)); break;
		case 'x': check("-x", optarg, parse_time(&o.expire, optarg)); break;
		case OPT_NONBLOCK: o.nonblock = true; break;
		case OPT_LIST: o.list = true; break;
		case OPT_DROP: check("--drop", optarg, parse_name(optarg)); o.drop = optarg; break;
		case OPT_MAX: check("--max", optarg, parse_number(&o.most, optarg, 1, 1 << 20)); break;
		case OPT_MAX_PER_UID: check("--max-per-uid", optarg, parse_number(&o.most_per_uid, optarg, 1, 1 << 20)); break;
		case OPT_ALLOW_PUT: check("--allow-put", optarg, allow_parse(&o.put, optarg)); break;
		case OPT_ALLOW_GET: check("--allow-get", optarg, allow_parse(&o.get, optarg)); break;
		default: break;
		}
	const char *arg = operand(argc, argv, "SOCKET");
	if (strchr(arg, '=') && strcspn(arg, "=") < strcspn(arg, ":/@"))
		errx(FAILED, "%s: SOCKET is missing before it (a file of that name is ./%s)", arg, arg);
	check("", arg, endpoint_parse(&o.at, arg));
	const int service[] = {'b', 'u', 'x', 'A', 'M', 'R', OPT_NONBLOCK, OPT_MAX, OPT_MAX_PER_UID, OPT_ALLOW_PUT,
	                       OPT_ALLOW_GET, OPT_DRAIN, 0};
	check_given(&o.cli, service, !o.list, "cannot be combined with --list");
	check_given(&o.cli, service, !o.drop, "cannot be combined with --drop");
	check_given(&o.cli, (int[]){OPT_LIST, 0}, !o.drop, "cannot be combined with --drop");
	check_given(&o.cli, (int[]){'t', 'w', 0}, o.list || o.drop, "needs --list or --drop");
	if (o.list || o.drop) {
		if (optind < argc)
			errx(FAILED, "%s: one operand too many (--help shows how to call it)", argv[optind]);
		return o;
	}
	listening_parse(&o.addresses, argv + optind, (size_t)(command_parse(&o, argc, argv, optind) - optind), true);
	for (size_t i = 0; i < o.addresses.count; i++)
		if (!o.addresses.set.name[i])
			errx(FAILED, "%s: a name is missing (NAME=ADDRESS)", argv[optind + (int)i]);
	if (o.command.argv)
		child_check_names(&o.addresses);
	return o;
}

/* ---- what is held ---- */

void drop(struct holder *h, struct entry *e)
{
	uid_t from = e->who.uid;
	hangup_forget(h, e);
	closer_close(&h->closer, store_drop(&h->store, e), from);
}

/* Put a whole set or nothing of it. Returns NULL or the reason. */
static const char *put_set(struct holder *h, struct delivery *d)
{
	const char *why = peer_allowed(&h->o->put, &d->peer, d->sock) ? NULL : "you may not put";
	struct set *set = &d->set;
	size_t kept = 0;
	while (!why && kept < set->count) {
		why = set->name[kept] ? store_put(&h->store, set->name[kept], set->fd[kept], &d->peer, deadline_in(h->o->expire))
		                      : "a name is missing";
		kept += !why;
	}
	if (!why) {
		set->count = 0; /* the store's now */
		return NULL;
	}
	while (kept--) { /* closed with the set */
		store_drop(&h->store, store_find(&h->store, set->name[kept]));
		set->name[kept] = NULL;
	}
	closer_trim(&h->closer, set, 0, d->peer.uid);
	return why;
}

static void take(struct holder *h, struct delivery *d)
{
	size_t count = d->set.count;
	char text[SHOWN_MOST];
	show_set(&h->o->cli, &d->set, d->peer.uid, text);
	const char *why = put_set(h, d);
	if (why)
		say(&h->o->cli, "%s: refused %zu descriptors of uid %lu: %s", h->o->at.arg, count,
		    (unsigned long)d->peer.uid, why);
	else
		note(&h->o->cli, "%s: uid %lu put %s", h->o->at.arg, (unsigned long)d->peer.uid, text);
	/* The plain form has no other answer than this and the end of the connection. */
	if (d->id || why)
		inbox_answer(&h->in, d->connection, why ? RECORD_REFUSED : RECORD_TAKEN, d->id, why);
	if (why && !d->id)
		inbox_drop(&h->in, d->connection);
}

/* The uid that put an entry may drop it, and so may root and our own uid. */
static void drop_named(struct holder *h, const struct delivery *d)
{
	const char *why = !peer_allowed(&h->o->put, &d->peer, d->sock) ? "you may not drop"
	                  : !d->set.count                              ? "a name is missing"
	                                                               : NULL;
	for (size_t i = 0; !why && i < d->set.count; i++) {
		struct entry *e = d->set.name[i] ? store_find(&h->store, d->set.name[i]) : NULL;
		if (!e)
			why = "nothing of that name is held";
		else if (!uid_trusted(d->peer.uid) && (d->peer.uid != e->who.uid || uid_unmapped(d->peer.uid)))
			why = "somebody else put it";
		else
			drop(h, e);
	}
	note(&h->o->cli, "%s: uid %lu dropped %s: %s", h->o->at.arg, (unsigned long)d->peer.uid,
	     d->set.count && d->set.name[0] ? d->set.name[0] : "nothing", why ? why : "done");
	inbox_answer(&h->in, d->connection, why ? RECORD_REFUSED : RECORD_TAKEN, d->id, why);
}

/* ---- the loop ---- */

static void expire(struct holder *h)
{
	for (size_t i = h->store.count; i-- > 0;) {
		struct entry *e = h->store.entry[i];
		if (e->expires == NEVER || time_left(e->expires))
			continue;
		say(&h->o->cli, "%s: %s expired", h->o->at.arg, e->name);
		drop(h, e);
	}
}

/* Handle the request D. */
static void obey(struct holder *h, enum inbox_event event, struct delivery *d)
{
	if (answers_owed(h, d->connection)) {
		note(&h->o->cli, "%s: uid %lu asks before it has read", h->o->at.arg, (unsigned long)d->peer.uid);
		inbox_drop(&h->in, d->connection);
	} else if (event == INBOX_DELIVERY) {
		take(h, d);
	} else if (d->error) {
		inbox_answer(&h->in, d->connection, RECORD_REFUSED, d->id, "not a list of names");
	} else if (d->request == RECORD_DROP) {
		drop_named(h, d);
	} else {
		answers_begin(h, d);
	}
}

static bool runs_command(const struct holder *h)
{
	return h->o->command.argv;
}

/* Handle a signal or a hang-up. Returns a signal that ends us, or 0. */
static int look(struct holder *h)
{
	struct epoll_event event;
	int sig = 0, status;
	if (epoll_wait(h->store.watch, &event, 1, 0) != 1)
		return 0;
	if (!event.data.ptr)
		sig = runs_command(h) ? child_signal(&h->child, h->sigfd, SIGUSR1) : signals_next(h->sigfd);
	else if (event.events & EPOLLHUP)
		hangup(h, event.data.ptr);
	if (sig == SIGUSR1)
		warnx("%s: holds %zu, connections %zu", h->o->at.arg, h->store.count, h->in.connections.table.count);
	for (pid_t pid; sig == SIGCHLD && (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		if (pid == h->o->at.child)
			h->o->at.child = 0;
		else if (!child_ended(&h->child, pid, status))
			hangup_answered(h, pid, status);
	return ends(sig) && !runs_command(h) ? sig : 0;
}

/* Hold until a signal, and return it; or as long as COMMAND runs. */
static int hold(struct holder *h)
{
	struct delivery d;
	int sig = 0;
	while (runs_command(h) ? h->child.pid != 0 : !sig && !inbox_over(&h->in)) {
		expire(h);
		child_drain(&h->child);
		int64_t until = sooner(h->child.due, h->o->expire == NEVER ? NEVER : store_deadline(&h->store));
		enum inbox_event event = inbox_next(&h->in, &d, false, sooner(until, answers_continue(h)));
		if (event == INBOX_BESIDES)
			sig = look(h);
		else if (event == INBOX_DELIVERY || event == INBOX_REQUEST)
			obey(h, event, &d);
		else if (event == INBOX_HELLO)
			inbox_drop(&h->in, d.connection);
		else /* a client may close without a request */
			say_event(&h->o->cli, h->o->at.arg, event == INBOX_EMPTY ? INBOX_ENDED : event, &d);
		delivery_close(&d, &h->closer);
	}
	return sig;
}

/* ---- starting and ending ---- */

/* Set the limits of one uid: in the store, after our own entries, and for connections and unfinished sets. A uid that
 * may put more than a share may put it in one set. */
static void set_quotas(struct holder *h)
{
	size_t share = share_of_uid(), given = (size_t)h->o->most_per_uid;
	h->store.most_per_uid = given ? given : 2 * share < PUT_PER_UID ? 2 * share : PUT_PER_UID;
	h->store.names_per_uid = 8 * h->store.most_per_uid > NAMES_PER_UID ? 8 * h->store.most_per_uid : NAMES_PER_UID;
	h->in.share = given > share ? given : share;
	h->unread_per_uid = share > UNREAD_PER_UID ? UNREAD_PER_UID : share;
}

static void open_holder(struct holder *h, int adopted)
{
	struct options *o = h->o;
	o->at.service = true;
	struct epoll_event signals = {.events = EPOLLIN};
	h->store.watch = epoll_create1(EPOLL_CLOEXEC);
	h->sigfd = runs_command(h) ? child_signals_open() : signals_open(true);
	if (h->store.watch == -1 || h->sigfd == -1 || epoll_ctl(h->store.watch, EPOLL_CTL_ADD, h->sigfd, &signals) == -1)
		fail(o->at.arg);
	own_put(h, adopted);
	if (endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog) == -1 ||
	    inbox_open(&h->in, &o->at, &o->cli.allow, &h->closer, h->store.watch) == -1) {
		listening_close(&o->addresses);
		endpoint_close(&o->at);
		fail(o->at.arg);
	}
	h->in.requests = true;
	set_quotas(h);
	int status = listening_announce(&o->addresses, &o->cli, h->sigfd, NEVER);
	if (status) {
		endpoint_close(&o->at);
		exit(status);
	}
	be_ready(&o->cli, !runs_command(h));
	if (runs_command(h) && !command_begin(h)) {
		listening_close(&o->addresses);
		endpoint_close(&o->at);
		exit(FAILED);
	}
}

static void tell_end(const struct holder *h, int sig)
{
	char *names = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&names, &len);
	for (size_t i = 0; out && i < h->store.count && i < 20; i++)
		fprintf(out, "%s%s", i ? ", " : ": ", h->store.entry[i]->name);
	if (out && h->store.count > 20)
		fprintf(out, ", ...");
	if (out && fclose(out) != EOF)
		(runs_command(h) ? note : say)(&h->o->cli, "%s: ended by %s, held %zu%s", h->o->at.arg,
		                               sig ? signal_name(sig) : runs_command(h) ? "the end of COMMAND" : "the end of its socket",
		                               h->store.count, names);
	free(names);
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	int adopted = o.list || o.drop ? 0 : own_adopted();
	guard_standard();
	if (o.list || o.drop)
		return ask(&o);
	struct holder h = {.o = &o, .store = {.most = (size_t)o.most, .most_per_uid = SIZE_MAX}, .child.due = NEVER};
	command_prepare(&o.command);
	if (o.command.argv)
		find_command(&o.cli, &o.command);
	/* -a allows everything; a peer that may put or get may connect. */
	if (allow_join(&o.put, &o.cli.allow) == -1 || allow_join(&o.get, &o.cli.allow) == -1 ||
	    allow_join(&o.cli.allow, &o.put) == -1 || allow_join(&o.cli.allow, &o.get) == -1)
		fail(o.at.arg);
	open_holder(&h, adopted);
	int sig = hold(&h);
	if (!runs_command(&h))
		ready_notify("STOPPING=1");
	tell_end(&h, sig);
	/* A connection, or one in the queue, may hold what blocks: so they are closed with all else. */
	o.at.fd = -1;
	endpoint_close(&o.at);
	address_file_remove(&o.addresses.file);
	closer_end(&h.closer, true);
	if (runs_command(&h))
		child_exit(&h.child);
	return sig || !o.at.listens ? 0 : FAILED;
}
