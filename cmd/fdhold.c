/* SPDX-License-Identifier: ISC */
/* fdhold: keep named descriptors open for other processes. */
#include "fdhold.h"
#include "address.h"
#include "closer.h"
#include "command.h"
#include "door.h"
#include "fdhold_store.h"
#include "inbox.h"
#include "messages.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "record.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PUT_PER_UID = 4096,
	NAMES_PER_UID = 32768,  /* a quarter of the room in LISTEN_FDNAMES: MAX_ARG_STRLEN, execve(2) */
	ASKED_AT_ONCE = 16, ASKED_PER_UID = 4,
};

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.expire = NEVER, .most = 65536};
	int option;
	cli_start(&o.cli, argv, FDHOLD, "usage: fdhold [options] SOCKET [NAME=ADDRESS...]\n"
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
	                       OPT_ALLOW_GET, 0};
	check_given(&o.cli, service, !o.list, "cannot be combined with --list");
	check_given(&o.cli, service, !o.drop, "cannot be combined with --drop");
	check_given(&o.cli, (int[]){OPT_LIST, 0}, !o.drop, "cannot be combined with --drop");
	check_given(&o.cli, (int[]){'t', 'w', 0}, o.list || o.drop, "needs --list or --drop");
	if (o.list || o.drop) {
		if (optind < argc)
			errx(FAILED, "%s: one operand too many (--help shows how to call it)", argv[optind]);
		return o;
	}
	listening_parse(&o.addresses, argv + optind, (size_t)(argc - optind), true);
	for (size_t i = 0; i < o.addresses.count; i++)
		if (!o.addresses.set.name[i])
			errx(FAILED, "%s: a name is missing (NAME=ADDRESS)", argv[optind + (int)i]);
	return o;
}

/* ---- --list and --drop: a question to a store ---- */

static _Noreturn void fail_form(const struct options *o)
{
	errx(FAILED, "%s: does not speak the record form", o->at.arg);
}

/* Handle one record of the store's answer. Returns whether it was the last. */
static bool show(const struct options *o, const struct record *r)
{
	if (r->word == RECORD_REFUSED)
		errx(FAILED, "%s: refused: %s", o->at.arg, r->why ? r->why : "no reason given");
	if (o->list && r->word == RECORD_ENTRY && r->text) {
		for (size_t i = 0, n; i < r->text_len; i += n ? n : 1) {
			n = r->text[i] == '\t' ? 1 : printable_length(r->text + i, r->text_len - i);
			fwrite(n ? r->text + i : "?", 1, n ? n : 1, stdout);
		}
		putchar('\n');
		return false;
	}
	if (r->word != RECORD_TAKEN || r->id != 1)
		fail_form(o);
	return true;
}

static int ask(struct options *o)
{
	char line[RECORD_MAX], data[4096];
	struct records in = {0};
	struct set none = {0};
	struct record r = {.word = o->list ? RECORD_LIST : RECORD_DROP, .names = o->drop, .id = 1};
	int64_t deadline = deadline_in(o->cli.timeout);
	if (endpoint_connect(&o->at, wait_deadline(&o->cli), deadline) == -1)
		exit(say_unconnected(o->at.arg));
	check_peer(&o->cli, &o->at);
	ssize_t len = record_format(line, sizeof line, &r);
	if (rights_send_all(o->at.fd, NULL, 0, line, (size_t)len, deadline) == -1) {
		if (errno == EPIPE)
			exit(say_closed(&o->at, "without an answer"));
		fail(o->at.arg);
	}
	for (;;) {
		int got = 0;
		bool last = false;
		ssize_t n = await(o->at.fd, POLLIN, deadline) == -1 ? -1 : recv(o->at.fd, data, sizeof data, 0);
		if (n == 0 || (n == -1 && errno == ECONNRESET))
			exit(say_closed(&o->at, "without an answer"));
		if (n == -1)
			fail(o->at.arg);
		if (records_add(&in, data, (size_t)n, &none) == -1)
			fail(o->at.arg);
		while (!last && (got = records_next(&in, &r)) == 1)
			last = show(o, &r);
		if (got == -1)
			fail_form(o);
		if (last)
			break;
		/* A peer that keeps sending cannot postpone the deadline. */
		if (time_left(deadline) == 0) {
			errno = ETIMEDOUT;
			fail(o->at.arg);
		}
	}
	if (fflush(stdout) == EOF || ferror(stdout))
		err(FAILED, "standard output");
	return 0;
}

/* ---- the store ---- */

/* Watch for the end of E's peer, which our copy hides from all others. One event for each change: an error, such as a
 * timestamp in the error queue, lasts until a process reads it. */
static void watch(const struct holder *h, const struct entry *e)
{
	struct epoll_event event = {.events = EPOLLET, .data.fd = e->fd};
	if (e->connected)
		epoll_ctl(h->watch, EPOLL_CTL_ADD, e->fd, &event);
}

static void drop(struct holder *h, struct entry *e)
{
	/* Kernel: closing our copy would not end the watch while others have theirs (epoll(7)). */
	if (e->connected)
		epoll_ctl(h->watch, EPOLL_CTL_DEL, e->fd, NULL);
	h->hung -= e->hung;
	uid_t from = e->who.uid;
	closer_close(&h->closer, store_drop(&h->store, e), from);
}

static const char *put(struct holder *h, const char *name, int fd, const struct peer *who, int64_t expires)
{
	const char *why = store_put(&h->store, name, fd, who, expires);
	if (!why)
		watch(h, store_find(&h->store, name));
	return why;
}

/* Put a whole set or nothing of it. Returns NULL or the reason. */
static const char *put_set(struct holder *h, struct delivery *d)
{
	const char *why = peer_allowed(&h->o->put, &d->peer, d->sock) ? NULL : "you may not put";
	for (size_t i = 0; !why && i < d->set.count; i++)
		if (!d->set.name[i])
			why = "a name is missing";
	size_t kept = 0;
	for (; !why && kept < d->set.count; kept++)
		if ((why = put(h, d->set.name[kept], d->set.fd[kept], &d->peer, deadline_in(h->o->expire))))
			break;
	if (!why) {
		d->set.count = 0; /* the store's now */
		return NULL;
	}
	while (kept--) {
		drop(h, store_find(&h->store, d->set.name[kept]));
		d->set.fd[kept] = d->set.fd[--d->set.count]; /* closed with the store's entry */
	}
	closer_trim(&h->closer, &d->set, 0, d->peer.uid);
	return why;
}

static void take(struct holder *h, struct delivery *d)
{
	size_t count = d->set.count;
	const char *why = put_set(h, d);
	if (why)
		say(&h->o->cli, "%s: refused %zu descriptors of uid %lu: %s", h->o->at.arg, count,
		    (unsigned long)d->peer.uid, why);
	else
		note(&h->o->cli, "%s: uid %lu put %zu", h->o->at.arg, (unsigned long)d->peer.uid, count);
	/* The plain form has no other answer than this and the end of the connection. */
	if (d->id || why)
		inbox_answer(&h->in, d->connection, why ? RECORD_REFUSED : RECORD_TAKEN, d->id, why);
	if (why && !d->id)
		inbox_drop(&h->in, d->connection);
}

/* The uid that put an entry may drop it, and so may root and our own uid. */
static void drop_named(struct holder *h, const struct delivery *d)
{
	const char *why = !peer_allowed(&h->o->put, &d->peer, d->sock) ? "you may not drop" : d->set.count ? NULL : "a name is missing";
	for (size_t i = 0; !why && i < d->set.count; i++) {
		struct entry *e = d->set.name[i] ? store_find(&h->store, d->set.name[i]) : NULL;
		if (!e)
			why = "nothing of that name is held";
		else if (!uid_trusted(d->peer.uid) && (d->peer.uid != e->who.uid || uid_unmapped(d->peer.uid)))
			why = "somebody else put it";
		else
			drop(h, e);
	}
	note(&h->o->cli, "%s: uid %lu dropped: %s", h->o->at.arg, (unsigned long)d->peer.uid, why ? why : "done");
	inbox_answer(&h->in, d->connection, why ? RECORD_REFUSED : RECORD_TAKEN, d->id, why);
}

/* ---- peers that are gone ---- */

/* The other side of E has hung up: drop it, unless it has unread bytes. */
static void hung_up(struct holder *h, struct entry *e, bool unread)
{
	h->hung -= e->hung;
	e->hung = false;
	if (unread)
		return;
	say(&h->o->cli, "%s: %s hung up, dropped", h->o->at.arg, e->name);
	drop(h, e);
}

static int any_unread(void *fd)
{
	int unread = 0;
	return ioctl(*(int *)fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* Let processes find out whether entries that hung up have unread bytes. Kernel: FIONREAD of a TCP socket waits for its
 * lock (tcp_ioctl); a process that receives into memory backed by a FUSE file may hold that. */
static void ask_unread(struct holder *h)
{
	for (size_t i = 0; h->hung && h->asked < ASKED_AT_ONCE && i < h->store.count; i++) {
		struct entry *e = h->store.entry[i];
		_Alignas(16) char stack[16384]; /* of the new process, which has a copy of our memory */
		size_t asked = 0;
		for (size_t k = 0; e->hung && !e->asked && k < h->store.count; k++)
			asked += h->store.entry[k]->asked && h->store.entry[k]->who.uid == e->who.uid;
		if (!e->hung || e->asked || asked >= ASKED_PER_UID)
			continue;
		pid_t pid = clone(any_unread, stack + sizeof stack, CLONE_FILES | SIGCHLD, &e->fd);
		if (pid == -1)
			return;
		e->asked = pid;
		h->asked++;
	}
}

/* The process PID has ended. */
static void answered(struct holder *h, pid_t pid, int status)
{
	size_t i = 0;
	if (pid == h->o->at.child) {
		h->o->at.child = 0;
		return;
	}
	h->asked--;
	while (i < h->store.count && h->store.entry[i]->asked != pid)
		i++;
	if (i == h->store.count)
		return;
	h->store.entry[i]->asked = 0;
	hung_up(h, h->store.entry[i], status != 0);
}

static void look_at(struct holder *h, const struct epoll_event *event)
{
	size_t i = 0;
	while (i < h->store.count && h->store.entry[i]->fd != event->data.fd)
		i++;
	if (i == h->store.count || !(event->events & EPOLLHUP))
		return;
	struct entry *e = h->store.entry[i];
	if (strncmp(e->kind, "unix", 4) == 0) {
		hung_up(h, e, any_unread(&e->fd));
	} else if (!e->hung) {
		e->hung = true;
		h->hung++;
	}
}

/* Handle the events of the watch. Returns a signal that ends us, or 0. */
static int look(struct holder *h)
{
	struct epoll_event event[64];
	int n = epoll_wait(h->watch, event, 64, 0), sig = 0, status;
	for (int i = 0; i < n; i++) {
		if (event[i].data.fd != h->sigfd) {
			look_at(h, &event[i]);
			continue;
		}
		sig = signals_next(h->sigfd);
		if (sig == SIGUSR1)
			warnx("%s: holds %zu, connections %zu", h->o->at.arg, h->store.count, h->in.connections.table.count);
		for (pid_t pid; sig == SIGCHLD && (pid = waitpid(-1, &status, WNOHANG)) > 0;)
			answered(h, pid, status);
	}
	ask_unread(h);
	return ends(sig) ? sig : 0;
}

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

static void tell(const struct holder *h, enum inbox_event event, const struct delivery *d)
{
	unsigned long uid = d->peer.uid;
	const char *arg = h->o->at.arg;
	if (event == INBOX_REFUSED)
		say_refused(&h->o->cli, arg, &d->peer);
	else if (event == INBOX_EXCESS)
		say_excess(&h->o->cli, arg, d->peer.uid);
	else if (event == INBOX_EMPTY || event == INBOX_ENDED)
		note(&h->o->cli, "%s: uid %lu closed", arg, uid);
	else if (event == INBOX_GONE)
		warnx("%s: %s", arg, reason(ESHUTDOWN));
	else if (event == INBOX_SHORT)
		say(&h->o->cli, "%s: uid %lu closed in the middle of a set", arg, uid);
	else if (event == INBOX_FAILED)
		say(&h->o->cli, "%s: uid %lu: %s", arg, uid, strerror(d->error));
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

/* Hold until a signal, and return it. */
static int hold(struct holder *h)
{
	struct delivery d;
	for (;;) {
		expire(h);
		int64_t until = h->o->expire == NEVER ? NEVER : store_deadline(&h->store);
		enum inbox_event event = inbox_next(&h->in, &d, false, sooner(until, answers_go_on(h)));
		int sig = event == INBOX_SIGNAL ? look(h) : 0;
		if (sig)
			return sig;
		if (event == INBOX_DELIVERY || event == INBOX_REQUEST)
			obey(h, event, &d);
		else if (event == INBOX_HELLO)
			inbox_drop(&h->in, d.connection);
		else
			tell(h, event, &d);
		delivery_close(&d, &h->closer);
		if (inbox_over(&h->in))
			return 0;
	}
}

/* ---- starting and ending ---- */

/* How many descriptors from 3 on a service manager or another store has passed to us (LISTEN_FDS). Call it before
 * opening any descriptor of our own. */
static int adoptable(void)
{
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	long count, own;
	if (!fds || (pid && (parse_number(&own, pid, 1, INT32_MAX) || own != (long)getpid())))
		return 0;
	check("LISTEN_FDS", fds, parse_number(&count, fds, 0, 1 << 20));
	for (int fd = 3; fd < 3 + (int)count; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
			err(FAILED, "LISTEN_FDS %s: fd %d", fds, fd);
	return (int)count;
}

/* Put a descriptor that we adopted or opened. On failure remove our files and exit. */
static void put_own(struct holder *h, const char *name, int fd)
{
	const struct peer self = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
	const char *why = put(h, name, fd, &self, NEVER);
	if (why)
		listening_close(&h->o->addresses);
	check("", name, why);
}

static void adopt(struct holder *h, int count)
{
	const char *names = getenv("LISTEN_FDNAMES");
	char *copy = names ? strdup(names) : NULL, *rest = copy;
	for (int fd = 3; fd < 3 + count; fd++) {
		char made[20];
		const char *name = rest ? strsep(&rest, ":") : "";
		bool good = *name && strcmp(name, "unknown") != 0 && !parse_name(name) && !store_find(&h->store, name);
		for (int n = fd; !good; n += count) { /* another entry may already have this name */
			snprintf(made, sizeof made, "fd%d", n);
			good = !store_find(&h->store, made);
			name = made;
		}
		put_own(h, name, fd);
	}
	free(copy);
}

/* Set the limits of one uid: in the store, after our own entries, and for connections and unfinished sets. A uid that
 * may put more than a share may put it in one set. */
static void set_quotas(struct holder *h)
{
	size_t share = share_of_uid(), given = (size_t)h->o->most_per_uid;
	h->store.most_per_uid = given ? given : 2 * share < PUT_PER_UID ? 2 * share : PUT_PER_UID;
	h->store.names_per_uid = 8 * h->store.most_per_uid > NAMES_PER_UID ? 8 * h->store.most_per_uid : NAMES_PER_UID;
	h->in.share = given > share ? given : share;
	answers_share(h, share);
}

static void open_holder(struct holder *h, int adopted)
{
	struct options *o = h->o;
	o->at.service = true;
	h->watch = epoll_create1(EPOLL_CLOEXEC);
	h->sigfd = signals_open(true);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = h->sigfd};
	if (h->watch == -1 || h->sigfd == -1 || epoll_ctl(h->watch, EPOLL_CTL_ADD, h->sigfd, &event) == -1)
		fail(o->at.arg);
	adopt(h, adopted);
	listening_open(&o->addresses, &o->cli, false);
	for (size_t i = 0; i < o->addresses.count; i++) {
		if (!o->nonblock)
			listener_blocking(&o->addresses.listener[i]);
		put_own(h, o->addresses.set.name[i], o->addresses.listener[i].at.fd);
	}
	if (endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog) == -1 ||
	    inbox_open(&h->in, &o->at, &o->cli.allow, &h->closer, h->watch) == -1) {
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
	be_ready(&o->cli, true);
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
		say(&h->o->cli, "%s: ended by %s, held %zu%s", h->o->at.arg, sig ? signal_name(sig) : "the end of its socket", h->store.count,
		    names);
	free(names);
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	int adopted = o.list || o.drop ? 0 : adoptable();
	guard_standard();
	if (o.list || o.drop)
		return ask(&o);
	struct holder h = {.o = &o, .store = {.most = (size_t)o.most, .most_per_uid = SIZE_MAX}};
	command_prepare(&o.command);
	/* -a allows everything; a peer that may put or get may connect. */
	if (allow_join(&o.put, &o.cli.allow) == -1 || allow_join(&o.get, &o.cli.allow) == -1 ||
	    allow_join(&o.cli.allow, &o.put) == -1 || allow_join(&o.cli.allow, &o.get) == -1)
		fail(o.at.arg);
	open_holder(&h, adopted);
	int sig = hold(&h);
	ready_notify("STOPPING=1");
	tell_end(&h, sig);
	/* A connection, or one in the queue, may hold what blocks: so they are closed with all else. */
	o.at.fd = -1;
	endpoint_close(&o.at);
	address_file_remove(&o.addresses.file);
	closer_end(&h.closer, true);
	return sig || !o.at.listens ? 0 : FAILED;
}
