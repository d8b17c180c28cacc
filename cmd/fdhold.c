/* SPDX-License-Identifier: ISC */
/* fdhold: keep named descriptors open for whoever asks for them. */
#include "cli.h"

#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct options {
	struct cli cli;
	struct command command; /* only for our own limit of descriptors */
	struct endpoint at;
	struct listening addresses;
	struct allow put, get;
	int64_t expire;
	long most, most_per_uid; /* the latter 0 where it is not given */
	bool nonblock, list;
	const char *drop;
};

enum { PUT_PER_UID = 4096, ANSWERED_AT_ONCE = 64, ANSWERED_PER_UID = 32, ANSWER_MS = 30000, SENT_AT_ONCE = 16 };

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {.expire = NEVER, .most = 65536};
	int letter;
	cli_start(&o.cli, argv, "fdhold [options] SOCKET [NAME=ADDRESS...]\n"
	          "       fdhold [options] --list SOCKET\n"
	          "       fdhold [options] --drop NAME SOCKET", "abqtuvwxAMRGODQUWXhV");
	while ((letter = cli_option(&o.cli, argc, argv)) != -1)
		switch (letter) {
		case 'A': check("-A", optarg, address_file_parse(&o.addresses.file, optarg)); break;
		case 'x': check("-x", optarg, parse_time(&o.expire, optarg)); break;
		case OPT_NONBLOCK: o.nonblock = true; break;
		case OPT_LIST: o.list = true; break;
		case OPT_DROP: check("--drop", optarg, parse_name(optarg)); o.drop = optarg; break;
		case OPT_MOST: check("--max", optarg, parse_number(&o.most, optarg, 1, 1 << 20)); break;
		case OPT_MOST_PER_UID: check("--max-per-uid", optarg, parse_number(&o.most_per_uid, optarg, 1, 1 << 20)); break;
		case OPT_ALLOW_PUT: check("--allow-put", optarg, allow_parse(&o.put, optarg)); break;
		case OPT_ALLOW_GET: check("--allow-get", optarg, allow_parse(&o.get, optarg)); break;
		default: break;
		}
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(&o.at, arg));
	check_given(&o.cli, "buxAMRGQUWX", !o.list, "cannot be combined with --list");
	check_given(&o.cli, "buxAMRGQUWXO", !o.drop, "cannot be combined with --drop");
	check_given(&o.cli, "tw", o.list || o.drop, "needs --list or --drop");
	if (o.list || o.drop) {
		no_more(argc, argv);
		return o;
	}
	listening_parse(&o.addresses, argv + optind, (size_t)(argc - optind), true);
	for (size_t i = 0; i < o.addresses.count; i++)
		if (!o.addresses.name[i])
			errx(FAILED, "%s: a name is missing (NAME=ADDRESS)", argv[optind + (int)i]);
	return o;
}

/* ---- --list and --drop: a question to a store ---- */

static _Noreturn void fail_form(const struct options *o)
{
	errx(FAILED, "%s: does not speak the record form", o->at.arg);
}

/* One record of the store's answer. Returns whether it was the last. */
static bool show(const struct options *o, const struct record *r)
{
	if (r->word == RECORD_REFUSED)
		errx(FAILED, "%s: refused: %s", o->at.arg, r->why ? r->why : "no reason given");
	if (o->list && r->word == RECORD_ENTRY && r->text) {
		for (size_t i = 0; i < r->text_len; i++)
			putchar(iscntrl((unsigned char)r->text[i]) && r->text[i] != '\t' ? '?' : r->text[i]);
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
	struct fds none = {0};
	struct record r = {.word = o->list ? RECORD_LIST : RECORD_DROP, .names = o->drop, .id = 1};
	int64_t deadline = deadline_in(o->cli.timeout);
	if (endpoint_connect(&o->at, wait_deadline(&o->cli), deadline) == -1)
		fail_connect(o->at.arg);
	check_peer(&o->cli, &o->at);
	ssize_t len = record_format(line, sizeof line, &r);
	if (rights_send_all(o->at.fd, NULL, 0, line, (size_t)len, deadline) == -1) {
		if (errno == EPIPE)
			fail_closed(&o->at, "without an answer");
		fail(o->at.arg);
	}
	for (;;) {
		int got = 0;
		bool last = false;
		ssize_t n = await(o->at.fd, POLLIN, deadline) == -1 ? -1 : recv(o->at.fd, data, sizeof data, 0);
		if (n == 0 || (n == -1 && errno == ECONNRESET))
			fail_closed(&o->at, "without an answer");
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
		/* Who never stops talking does not put it off. */
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

struct holder {
	struct options *o;
	struct store store;
	struct inbox in;
	struct jobs answering;  /* processes that answer what takes long */
	int sigfd;
	int watch;              /* epoll(7): signals, and hang-ups of what is held */
};

/* A held copy hides from everybody else that a connection's peer is gone: so it is looked for here.
 * Kernel: a socket that is not connected yet shows a hang-up as well, so those are left out. */
static void watch(const struct holder *h, const struct entry *e)
{
	int type = 0;
	socklen_t len = sizeof type, any = 0;
	struct epoll_event event = {.data.fd = e->fd};
	if (getsockopt(e->fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type != SOCK_DGRAM &&
	    getpeername(e->fd, &(struct sockaddr){0}, &any) == 0)
		epoll_ctl(h->watch, EPOLL_CTL_ADD, e->fd, &event);
}

static void drop(struct holder *h, struct entry *e)
{
	/* Kernel: closing our copy would not end the watch while others have theirs (epoll(7)). */
	epoll_ctl(h->watch, EPOLL_CTL_DEL, e->fd, NULL);
	store_drop(&h->store, e);
}

static const char *put(struct holder *h, const char *name, int fd, const struct peer *who, int64_t expires)
{
	const char *why = store_put(&h->store, name, fd, who, expires);
	if (!why)
		watch(h, store_find(&h->store, name));
	return why;
}

/* Put a whole set, or nothing of it. Returns why not. */
static const char *put_set(struct holder *h, struct delivery *d)
{
	const char *why = peer_allowed(&h->o->put, &d->peer, d->sock) ? NULL : "you may not put";
	for (size_t i = 0; !why && i < d->fds.count; i++)
		if (!d->name || !d->name[i])
			why = "a name is missing";
	size_t kept = 0;
	for (; !why && kept < d->fds.count; kept++)
		if ((why = put(h, d->name[kept], d->fds.fd[kept], &d->peer, deadline_in(h->o->expire))))
			break;
	if (!why) {
		d->fds.count = 0; /* the store's now */
		return NULL;
	}
	while (kept--) {
		drop(h, store_find(&h->store, d->name[kept]));
		d->fds.fd[kept] = d->fds.fd[--d->fds.count]; /* closed with the store's entry */
	}
	return why;
}

static void take(struct holder *h, struct delivery *d)
{
	size_t count = d->fds.count;
	const char *why = put_set(h, d);
	if (why)
		say(&h->o->cli, "%s: refused %zu descriptors of uid %lu: %s", h->o->at.arg, count,
		    (unsigned long)d->peer.uid, why);
	else
		note(&h->o->cli, "%s: uid %lu put %zu", h->o->at.arg, (unsigned long)d->peer.uid, count);
	if (d->id)
		inbox_answer(&h->in, d->connection, why ? RECORD_REFUSED : RECORD_TAKEN, d->id, why);
	else if (why)
		inbox_drop(&h->in, d->connection);
}

/* Has D's connection an answer under way, or its uid more than its share of them? Then it waits for none. */
static bool answered_enough(const struct holder *h, const struct delivery *d)
{
	for (size_t i = 0; i < h->answering.used; i++)
		if (h->answering.job[i].pid && h->answering.job[i].connection == d->connection)
			return true;
	return jobs_of(&h->answering, d->peer.uid) >= ANSWERED_PER_UID || h->answering.running == h->answering.limit;
}

/* Answer D in a process of its own, which may wait for its reader. True: we are that process. Who asks
 * again before it has read, or asks too much at once, loses the connection. */
static bool in_child(struct holder *h, const struct delivery *d)
{
	pid_t pid = answered_enough(h, d) ? -1 : fork();
	if (pid == 0)
		signals_close(h->sigfd);
	if (pid > 0)
		jobs_add(&h->answering, &(struct job){.pid = pid, .uid = d->peer.uid, .connection = d->connection});
	if (pid == -1) {
		say(&h->o->cli, "%s: uid %lu asks for too much at once", h->o->at.arg, (unsigned long)d->peer.uid);
		inbox_drop(&h->in, d->connection);
	}
	return pid == 0;
}

/* What D asks for, borrowed from the store. Returns what is missing, or NULL. */
static const char *find_set(const struct holder *h, const struct delivery *d, struct delivery *set)
{
	bool all = !d->names;
	size_t count = all ? h->store.count : d->names;
	for (size_t i = 0; i < count; i++) {
		const struct entry *e = all ? h->store.entry[i] : d->name[i] ? store_find(&h->store, d->name[i]) : NULL;
		if (!e)
			return d->name[i] ? d->name[i] : "";
		if (fds_add(&set->fds, e->fd) == -1 || names_append(&set->name, i, e->name, 1) == -1)
			return "";
		set->names = i + 1;
	}
	return count ? NULL : "at all";
}

static void give(struct holder *h, const struct delivery *d)
{
	struct delivery set = {0};
	char why[300] = "you may not get";
	bool may = peer_allowed(&h->o->get, &d->peer, d->sock);
	const char *missing = may ? find_set(h, d, &set) : "";
	if (may && missing)
		snprintf(why, sizeof why, "nothing named %s is held", missing);
	if (missing) {
		say(&h->o->cli, "%s: refused uid %lu: %s", h->o->at.arg, (unsigned long)d->peer.uid, why);
		inbox_answer(&h->in, d->connection, RECORD_REFUSED, d->id, why);
	} else {
		/* One short record is sent as a whole or not at all; anything else may have to wait. */
		if ((set.fds.count > SENT_AT_ONCE || set_send(d->sock, &set, false, now()) == -1) && in_child(h, d))
			_exit(set_send(d->sock, &set, false, deadline_in(ANSWER_MS)) == -1);
		note(&h->o->cli, "%s: uid %lu got %zu", h->o->at.arg, (unsigned long)d->peer.uid, set.fds.count);
	}
	set.fds.count = 0; /* the store's */
	delivery_free(&set);
}

static void format_time(char *text, size_t len, time_t t)
{
	struct tm tm;
	if (!gmtime_r(&t, &tm) || !strftime(text, len, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(text, len, "-");
}

/* An entry as --list shows it. */
static void send_entry(int sock, const struct entry *e)
{
	char line[RECORD_MAX], text[5000], kind[4300], since[32], expires[32] = "-";
	describe(e->fd, kind, sizeof kind);
	format_time(since, sizeof since, (time_t)e->since);
	if (e->expires != NEVER)
		format_time(expires, sizeof expires, time(NULL) + (time_t)((e->expires - now()) / 1000));
	int n = snprintf(text, sizeof text, "%s\t%s\t%s\tuid %lu\t%s", e->name, kind, since, (unsigned long)e->who.uid,
	                 expires);
	const struct record r = {.word = RECORD_ENTRY, .text = text, .text_len = (size_t)n};
	ssize_t len = record_format(line, sizeof line, &r);
	if (len == -1 || rights_send_all(sock, NULL, 0, line, (size_t)len, deadline_in(ANSWER_MS)) == -1)
		_exit(1);
}

static void list(struct holder *h, const struct delivery *d)
{
	if (!peer_allowed(&h->o->get, &d->peer, d->sock)) {
		inbox_answer(&h->in, d->connection, RECORD_REFUSED, d->id, "you may not list");
		return;
	}
	if (!in_child(h, d))
		return;
	for (size_t i = 0; i < h->store.count; i++)
		send_entry(d->sock, h->store.entry[i]);
	char line[RECORD_MAX];
	ssize_t len = record_format(line, sizeof line, &(struct record){.word = RECORD_TAKEN, .id = d->id});
	_exit(rights_send_all(d->sock, NULL, 0, line, (size_t)len, deadline_in(ANSWER_MS)) == -1);
}

/* Whoever put it may drop it, and who rules the store. */
static void drop_named(struct holder *h, const struct delivery *d)
{
	const char *why = !peer_allowed(&h->o->put, &d->peer, d->sock) ? "you may not drop" : d->names ? NULL : "a name is missing";
	for (size_t i = 0; !why && i < d->names; i++) {
		struct entry *e = d->name[i] ? store_find(&h->store, d->name[i]) : NULL;
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

/* The other side of what is held as FD has hung up. What is still to be read of it is kept. */
static void hung_up(struct holder *h, int fd)
{
	int unread = 0;
	size_t i = 0;
	while (i < h->store.count && h->store.entry[i]->fd != fd)
		i++;
	if (i == h->store.count)
		return;
	struct entry *e = h->store.entry[i];
	if (ioctl(fd, FIONREAD, &unread) == 0 && unread > 0) {
		epoll_ctl(h->watch, EPOLL_CTL_DEL, fd, NULL);
		return;
	}
	say(&h->o->cli, "%s: %s hung up, dropped", h->o->at.arg, e->name);
	drop(h, e);
}

/* Something to see on the watch. Returns a signal that asks us to end, or 0. */
static int look(struct holder *h)
{
	struct epoll_event event[64];
	int n = epoll_wait(h->watch, event, 64, 0), sig = 0, status;
	struct job ended;
	for (int i = 0; i < n; i++) {
		if (event[i].data.fd != h->sigfd) {
			hung_up(h, event[i].data.fd);
			continue;
		}
		sig = signals_next(h->sigfd);
		if (sig == SIGUSR1)
			warnx("%s: holds %zu, connections %zu", h->o->at.arg, h->store.count, h->in.count);
		while (sig == SIGCHLD && jobs_reap(&h->answering, &ended, &status))
			if (status)
				inbox_drop(&h->in, ended.connection);
	}
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
	else if (event == INBOX_SHORT)
		say(&h->o->cli, "%s: uid %lu closed in the middle of a set", arg, uid);
	else if (event == INBOX_FAILED)
		say(&h->o->cli, "%s: uid %lu: %s", arg, uid, strerror(d->error));
}

/* Hold until a signal, which is returned. */
static int hold(struct holder *h)
{
	struct delivery d;
	for (;;) {
		expire(h);
		int64_t until = h->o->expire == NEVER ? NEVER : store_deadline(&h->store);
		enum inbox_event event = inbox_next(&h->in, &d, false, until);
		int sig = event == INBOX_SIGNAL ? look(h) : 0;
		if (sig)
			return sig;
		if (event == INBOX_DELIVERY)
			take(h, &d);
		else if (event == INBOX_REQUEST && d.error)
			inbox_answer(&h->in, d.connection, RECORD_REFUSED, d.id, "not a list of names");
		else if (event == INBOX_REQUEST && d.request == RECORD_GET)
			give(h, &d);
		else if (event == INBOX_REQUEST && d.request == RECORD_LIST)
			list(h, &d);
		else if (event == INBOX_REQUEST)
			drop_named(h, &d);
		else if (event == INBOX_HELLO)
			inbox_drop(&h->in, d.connection);
		else
			tell(h, event, &d);
		delivery_free(&d);
	}
}

/* ---- starting and ending ---- */

/* How many descriptors a service manager, or a store before us, has passed on from 3 on: LISTEN_FDS. To
 * be asked before we open any of our own. */
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

/* Keep what is our own from the start; if that cannot be, nothing is left behind. */
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
		for (int n = fd; !good; n += count) { /* another may have been given that one's number as its name */
			snprintf(made, sizeof made, "fd%d", n);
			good = !store_find(&h->store, made);
			name = made;
		}
		put_own(h, name, fd);
	}
	free(copy);
}

/* What one uid may have: of the store, once our own are there, and of connections and unfinished sets. Who
 * may put more than a share may put it at once. */
static void set_quotas(struct holder *h)
{
	size_t share = share_of_uid(), given = (size_t)h->o->most_per_uid;
	h->store.most_per_uid = given ? given : 2 * share < PUT_PER_UID ? 2 * share : PUT_PER_UID;
	h->in.share = given > share ? given : share;
}

static void open_holder(struct holder *h, int adopted)
{
	struct options *o = h->o;
	h->watch = epoll_create1(EPOLL_CLOEXEC);
	h->sigfd = signals_open(true);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = h->sigfd};
	if (h->watch == -1 || h->sigfd == -1 || epoll_ctl(h->watch, EPOLL_CTL_ADD, h->sigfd, &event) == -1 ||
	    jobs_open(&h->answering, ANSWERED_AT_ONCE) == -1)
		fail(o->at.arg);
	adopt(h, adopted);
	listening_open(&o->addresses, &o->cli, false);
	for (size_t i = 0; i < o->addresses.count; i++) {
		if (!o->nonblock)
			listener_blocking(&o->addresses.listener[i]);
		put_own(h, o->addresses.name[i], o->addresses.listener[i].at.fd);
	}
	if (endpoint_listen(&o->at, socket_mode(&o->cli, true), o->cli.backlog, true) == -1) {
		listening_close(&o->addresses);
		fail(o->at.arg);
	}
	if (inbox_open(&h->in, &o->at, &o->cli.allow, h->watch) == -1)
		fail(o->at.arg);
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
		say(&h->o->cli, "%s: ended by %s, held %zu%s", h->o->at.arg, signal_name(sig), h->store.count, names);
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
	/* -a is for all; whoever may do one thing may connect. */
	if (allow_join(&o.put, &o.cli.allow) == -1 || allow_join(&o.get, &o.cli.allow) == -1 ||
	    allow_join(&o.cli.allow, &o.put) == -1 || allow_join(&o.cli.allow, &o.get) == -1)
		fail(o.at.arg);
	open_holder(&h, adopted);
	int sig = hold(&h);
	ready_notify("STOPPING=1");
	tell_end(&h, sig);
	inbox_close(&h.in);
	endpoint_close(&o.at);
	address_file_remove(&o.addresses.file);
	return 0;
}
