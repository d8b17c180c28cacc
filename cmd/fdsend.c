/* SPDX-License-Identifier: ISC */
/* fdsend: send open descriptors to whoever receives at a socket. */
#include "cli.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct options {
	struct cli cli;
	bool listen, keep, one_each, no_wait;
	bool records;           /* send the record form */
	long pid;               /* -p, 0 for our own descriptors */
	struct fdlist list;
	struct text message;
	struct endpoint at;
	struct fds fds;         /* what is sent */
};

enum { SERVED_AT_ONCE = 64, RECORD_TEXT_MAX = 8192 };

/* Names and sets of more than a message's worth need the record form; nothing else does. */
static bool speaks_records(const struct options *o)
{
	for (size_t i = 0; i < o->list.count; i++)
		if (o->list.word[i].name)
			return true;
	return o->list.count > FDS_PER_MESSAGE && !o->one_each;
}

static struct options parse_options(int argc, char *argv[])
{
	struct options o = {0};
	int letter;
	cli_start(&o.cli, argv, "fdsend [options] SOCKET [FD...]", "afklmFnpqtvw1MRThV");
	while ((letter = cli_option(&o.cli, argc, argv)) != -1)
		switch (letter) {
		case 'f': check("-f", optarg, parse_fdlist(&o.list, optarg, false)); break;
		case 'k': o.keep = true; break;
		case 'l': o.listen = true; break;
		case 'm': o.message = message_text(optarg); break;
		case OPT_MESSAGE_FILE: o.message = message_file(optarg); break;
		case 'n': o.no_wait = true; break;
		case 'p': check("-p", optarg, parse_number(&o.pid, optarg, 1, INT32_MAX)); break;
		case '1': o.one_each = true; break;
		default: break;
		}
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(&o.at, arg));
	for (; optind < argc; optind++)
		check("", argv[optind], parse_fdlist(&o.list, argv[optind], false));
	if (!o.list.count)
		check("", "0", parse_fdlist(&o.list, "0", false));
	if (o.keep && !o.listen)
		errx(FAILED, "-k goes with -l");
	if (o.listen && o.cli.type == SOCK_DGRAM)
		errx(FAILED, "-T dgram: with -l there is nobody to send a datagram to");
	o.at.type = o.cli.type;
	o.records = speaks_records(&o);
	if (o.records && o.one_each)
		errx(FAILED, "-1: a receiver that takes no more than one takes no name either");
	if (o.records && o.cli.type == SOCK_DGRAM && o.list.count > FDS_PER_MESSAGE)
		errx(FAILED, "-T dgram: a datagram takes %d descriptors", FDS_PER_MESSAGE);
	if (o.records && o.message.len > RECORD_TEXT_MAX)
		errx(FAILED, "-m: beside names or more than %d descriptors, a message has at most %d bytes",
		     FDS_PER_MESSAGE, RECORD_TEXT_MAX);
	if (!o.records && !o.message.data)
		o.message = (struct text){.data = "", .len = 1};
	return o;
}

/* The descriptors themselves, checked before anything is sent or made: our own are borrowed,
 * another process's are copied. */
static void take_descriptors(struct options *o)
{
	int process = -1;
	/* No libc wrapper in musl for these two. */
	if (o->pid && (process = (int)syscall(SYS_pidfd_open, (pid_t)o->pid, 0)) == -1)
		err(FAILED, "process %ld", o->pid);
	for (size_t i = 0; i < o->list.count; i++) {
		int fd = o->list.word[i].fd;
		if (o->pid && (fd = (int)syscall(SYS_pidfd_getfd, process, fd, 0)) == -1)
			err(FAILED, "fd %d of process %ld", o->list.word[i].fd, o->pid);
		if (fcntl(fd, F_GETFD) == -1)
			err(FAILED, "fd %d", fd);
		if (fds_add(&o->fds, fd) == -1)
			err(FAILED, "fd %d", fd);
	}
	if (process != -1)
		close(process);
}

static _Noreturn void not_taken(const struct endpoint *at)
{
	struct peer peer;
	if (peer_of(at->fd, &peer) == 0 && peer.uid != geteuid() && peer.pid)
		errx(FAILED, "%s: closed without taking the descriptors (uid %lu there; its -a may refuse uid %lu)",
		     at->arg, (unsigned long)peer.uid, (unsigned long)geteuid());
	errx(FAILED, "%s: closed without taking the descriptors", at->arg);
}

static void send_message(const struct options *o, size_t first, size_t count, const char *data, size_t len,
                         int64_t deadline)
{
	if (rights_send_all(o->at.fd, o->fds.fd + first, count, data, len, deadline) == 0)
		return;
	if (errno == EPIPE || errno == ECONNRESET)
		not_taken(&o->at);
	fail(o->at.arg);
}

/* The plain form: one message, or with -1 one for each descriptor. */
static void send_plain(const struct options *o, int64_t deadline)
{
	size_t each = o->one_each ? 1 : o->fds.count;
	for (size_t sent = 0; sent < o->fds.count; sent += each)
		send_message(o, sent, each, o->message.data, o->message.len, deadline);
}

/* Join names from FIRST on, as many as a message takes and ROOM holds. Returns how many. */
static size_t join_names(const struct options *o, size_t first, char *names, size_t room)
{
	size_t n = 0, len = 0;
	for (; first + n < o->list.count && n < FDS_PER_MESSAGE; n++) {
		const char *name = o->list.word[first + n].name;
		size_t more = name ? strlen(name) : 0;
		if (len + more + 2 > room)
			break;
		if (n)
			names[len++] = ',';
		memcpy(names + len, name ? name : "", more);
		len += more;
	}
	names[len] = '\0';
	return n;
}

/* The record form: a set, in as many records as it takes. Whether an answer can be had decides if it is
 * asked for: there is none to a datagram, nor by reading from a socket that others may read too. */
static void send_set(const struct options *o, bool answered, int64_t deadline)
{
	char line[RECORD_MAX], names[RECORD_MAX - 3 * RECORD_TEXT_MAX - 256];
	for (size_t sent = 0, n; sent < o->fds.count; sent += n) {
		n = join_names(o, sent, names, sizeof names);
		bool last = sent + n == o->fds.count, named = strspn(names, ",") != strlen(names);
		const struct record r = {
			.word = RECORD_SET, .fds = n, .more = !last, .id = last && answered,
			.names = named ? names : NULL, .text = sent ? NULL : o->message.data, .text_len = o->message.len,
		};
		ssize_t len = record_format(line, &r);
		if (len == -1)
			fail(o->at.arg);
		send_message(o, sent, n, line, (size_t)len, deadline);
	}
}

static void reply(const char *data, size_t len)
{
	if (len && (fwrite(data, 1, len, stdout) != len || fflush(stdout) == EOF))
		err(FAILED, "standard output");
}

/* The answer comes first in what the receiver replies. Returns whether it is there. */
static bool read_answer(const struct options *o, struct records *in, const char *data, size_t len)
{
	struct record r;
	struct fds none = {0};
	if (records_add(in, data, len, &none) == -1)
		fail(o->at.arg);
	int got = records_next(in, &r);
	if (got == 1 && r.word == RECORD_REFUSED)
		errx(FAILED, "%s: refused: %s", o->at.arg, r.why ? r.why : "no reason given");
	if (got == -1 || (got == 1 && r.word != RECORD_TAKEN))
		errx(FAILED, "%s: does not speak the record form", o->at.arg);
	if (got == 1)
		reply(in->data + in->start, in->end - in->start);
	return got == 1;
}

/* Half-close, and read until the receiver closes. Kernel: closing with bytes unread makes that
 * ECONNRESET, so end of file says that all was read (unix_release_sock, net/unix/af_unix.c). */
static void await_end(const struct options *o, int64_t deadline)
{
	char data[4096];
	struct records in = {0};
	bool answered = !o->records;
	shutdown(o->at.fd, SHUT_WR);
	for (;;) {
		ssize_t n = recv(o->at.fd, data, sizeof data, MSG_DONTWAIT);
		if (n == 0 && answered)
			return;
		if (n == 0)
			errx(FAILED, "%s: closed without an answer (names and more than %d descriptors need a receiver that "
			     "speaks the record form)", o->at.arg, FDS_PER_MESSAGE);
		if (n == -1 && errno == ECONNRESET)
			not_taken(&o->at);
		if (n == -1 && errno == EAGAIN && await(o->at.fd, POLLIN, deadline) != -1)
			continue;
		if (n == -1 && errno != EINTR) {
			if (errno == ETIMEDOUT)
				errx(TIMED_OUT, "%s: timed out: not taken in time", o->at.arg);
			fail(o->at.arg);
		}
		if (n > 0 && answered)
			reply(data, (size_t)n);
		else if (n > 0)
			answered = read_answer(o, &in, data, (size_t)n);
	}
}

/* A socket that the caller gave may be shared: it is not half-closed, and nothing is read from it.
 * Kernel: TIOCOUTQ (SIOCOUTQ by another name) is the queue's length; no event tells that it is empty,
 * and a receiver that closes without having read empties it too, leaving ECONNRESET in SO_ERROR. */
static void await_empty_queue(const struct options *o, int64_t deadline)
{
	int queued = 0, error = 0;
	socklen_t len = sizeof error;
	for (int pause = 1; ioctl(o->at.fd, TIOCOUTQ, &queued) == 0 && queued > 0; pause += pause < 20) {
		if (time_left(deadline) == 0)
			errx(TIMED_OUT, "%s: timed out: not taken in time", o->at.arg);
		nap(pause, deadline);
	}
	if (getsockopt(o->at.fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == ECONNRESET)
		not_taken(&o->at);
}

/* Send to the peer that O->at is connected to, and make sure that it took all. */
static void deliver(const struct options *o, int64_t deadline)
{
	bool shared = o->at.kind == END_FD && endpoint_given(&o->at), datagram = o->at.type == SOCK_DGRAM;
	if (o->records)
		send_set(o, !shared && !datagram && !o->no_wait, deadline);
	else
		send_plain(o, deadline);
	note(&o->cli, "%s: sent %zu", o->at.arg, o->fds.count);
	if (o->no_wait || datagram)
		return;
	if (shared)
		await_empty_queue(o, deadline);
	else
		await_end(o, deadline);
	note(&o->cli, "%s: taken", o->at.arg);
}

/* The next peer that connects and may: its socket. Returns -1 for a signal, which is in *SIG, or 0
 * there when DEADLINE came. */
static int accept_peer(const struct options *o, int sigfd, bool full, int64_t deadline, int *sig)
{
	for (;;) {
		struct pollfd p[] = {{.fd = sigfd, .events = POLLIN}, {.fd = full ? -1 : o->at.fd, .events = POLLIN}};
		int ready = poll(p, 2, time_left(deadline));
		struct peer peer;
		if (ready == 0 && time_left(deadline) == 0)
			return -1;
		if (ready > 0 && p[0].revents && (*sig = signals_next(sigfd)))
			return -1;
		if (ready <= 0 || !p[1].revents)
			continue;
		int sock = accept4(o->at.fd, NULL, NULL, SOCK_CLOEXEC);
		if (sock == -1 && out_of_resources(errno))
			nap(100, deadline);
		if (sock == -1)
			continue;
		if (peer_of(sock, &peer) == 0 && peer_allowed(&o->cli.allow, &peer, sock))
			return sock;
		close(sock);
		say_refused(&o->cli, o->at.arg, &peer);
	}
}

/* -l: the first peer gets it. The socket is gone before anything else can go wrong. */
static void serve_first(struct options *o, int64_t deadline)
{
	int sigfd = signals_open(false), sig = 0;
	if (sigfd == -1)
		fail(o->at.arg);
	tell_ready(&o->cli, false);
	int sock = accept_peer(o, sigfd, false, deadline, &sig);
	endpoint_close(&o->at);
	signals_close(sigfd);
	if (sock == -1 && sig)
		die_of(sig);
	if (sock == -1)
		errx(TIMED_OUT, "%s: timed out: nobody came for the descriptors", o->at.arg);
	o->at.fd = sock;
	o->at.listens = true; /* accepted, so not the caller's */
	deliver(o, deadline);
}

/* -l -k: every peer, each in a process of its own, so that none waits for another. */
static void serve_all(struct options *o)
{
	struct jobs jobs;
	struct job ended;
	int sigfd = signals_open(true), sig = 0, status;
	if (sigfd == -1 || jobs_open(&jobs, SERVED_AT_ONCE) == -1)
		fail(o->at.arg);
	tell_ready(&o->cli, true);
	while (sig == 0 || sig == SIGCHLD || sig == SIGUSR1) {
		while (jobs_reap(&jobs, &ended, &status))
			;
		sig = 0;
		int sock = accept_peer(o, sigfd, jobs.running == jobs.limit, NEVER, &sig);
		pid_t pid = sock == -1 ? 0 : fork();
		if (sock != -1 && pid == 0) {
			signals_close(sigfd);
			o->at.bound = false; /* the file is the parent's */
			o->at.fd = sock;
			deliver(o, deadline_in(o->cli.timeout));
			exit(0);
		}
		if (pid > 0)
			jobs_add(&jobs, &(struct job){.pid = pid});
		if (pid == -1)
			warn("%s", o->at.arg);
		if (sock != -1)
			close(sock);
	}
	ready_notify("STOPPING=1");
	endpoint_close(&o->at);
	say(&o->cli, "%s: ended by %s, %llu served", o->at.arg, signal_name(sig),
	    (unsigned long long)jobs.started);
}

int main(int argc, char *argv[])
{
	struct options o = parse_options(argc, argv);
	int64_t deadline = deadline_in(o.cli.timeout);
	take_descriptors(&o);
	guard_standard();
	if (o.listen) {
		if (endpoint_listen(&o.at, o.cli.mode, o.cli.backlog, false) == -1)
			fail(o.at.arg);
		if (o.at.listens && o.keep)
			serve_all(&o);
		else if (o.at.listens)
			serve_first(&o, deadline);
		else
			deliver(&o, deadline);
	} else {
		if (endpoint_connect(&o.at, wait_deadline(&o.cli), deadline) == -1)
			fail_connect(o.at.arg);
		check_peer(&o.cli, &o.at);
		deliver(&o, deadline);
	}
	endpoint_close(&o.at);
	return 0;
}
