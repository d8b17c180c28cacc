/* SPDX-License-Identifier: ISC */
#include "cli.h"
#include "command.h"
#include "env.h"
#include "inbox.h"
#include "launch.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "rights.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every option of every command: same letter, same meaning. An upper-case letter that is also the
 * value of an OPT_ constant stands for a long option without a short form. */
static const struct {
	char letter;
	const char *name, *value, *help;
} options[] = {
	{'a', "allow", "WHO,...", "deal with these peers too: a user name or uid, :GROUP, any"},
	{'b', "backlog", "N", "listen(2) backlog, SOMAXCONN unless given"},
	{'c', "connect", NULL, "connect to SOCKET instead of listening there"},
	{'e', "err", NULL, "put the descriptor at standard error"},
	{'f', "fds", "LIST", "descriptors to send, or numbers for those received: 0,1,log=3,5-9"},
	{'i', "in", NULL, "put the descriptor at standard input"},
	{'j', "jobs", "N", "at most N commands at once, 64 unless given"},
	{'k', "keep", NULL, "serve every peer that connects, not only the first"},
	{'l', "listen", NULL, "listen at SOCKET instead of connecting"},
	{'m', "message", "TEXT", "the bytes to send along; fdrecv -c sends them first"},
	{OPT_MESSAGE_FILE, "message-file", "FILE", "the same from FILE"},
	{'n', "no-wait", NULL, "end when the kernel has queued the message, not when it is taken"},
	{'o', "out", NULL, "put the descriptor at standard output"},
	{'p', "pid", "PID", "take the descriptors from process PID"},
	{'q', "quiet", NULL, "report only errors"},
	{'t', "timeout", "TIME", "give up after TIME with status 124"},
	{'u', "user", "USER", "switch to USER (or USER:GROUP) after opening the sockets"},
	{'v', "verbose", NULL, "log each event"},
	{'w', "wait", "TIME", "wait up to TIME until a process listens at SOCKET"},
	{'1', "one-each", NULL, "one descriptor a message"},
	{OPT_ACK_TIMEOUT, "ack-timeout", "TIME", "take back connections that a worker has not begun within TIME (10s)"},
	{'A', "address-file", "FILE", "write the addresses really bound to FILE"},
	{'B', "blocking", NULL, "clear O_NONBLOCK on the descriptor"},
	{'C', "per-source", "N", "at most N connections at once from one address"},
	{'L', "listener", NULL, "hand over the listening socket itself"},
	{'M', "mode", "MODE", "permission bits of the socket file; 0600, or with -a 0666, unless given"},
	{'N', "number", "N", "gather N descriptors over any number of messages"},
	{'P', "plain", NULL, "the other side speaks only the plain form"},
	{'R', "ready-fd", "N", "write a newline to descriptor N and close it when ready"},
	{'S', "socketpair", "FD", "run COMMAND with one end of a socketpair at FD"},
	{'T', "type", "TYPE", "stream, dgram or seqpacket; stream unless given"},
	{'x', "expire", "TIME", "close descriptors of other processes after TIME"},
	{OPT_ALL, "all", NULL, "with -c: ask fdhold for everything that it holds"},
	{OPT_NONBLOCK, "nonblock", NULL, "open non-blocking listening sockets"},
	{OPT_LIST, "list", NULL, "list the descriptors held at SOCKET"},
	{OPT_DROP, "drop", "NAME", "close the descriptor held at SOCKET under NAME"},
	{OPT_MOST, "max", "N", "hold at most N descriptors, 65536 unless given"},
	{OPT_MOST_PER_UID, "max-per-uid", "N", "hold at most N descriptors of one uid, 4096 unless given"},
	{OPT_ALLOW_PUT, "allow-put", "WHO,...", "let these peers put, and drop their own descriptors"},
	{OPT_ALLOW_GET, "allow-get", "WHO,...", "let these peers get and list"},
	{OPT_NO_PID, "no-pid", NULL, "do not set LISTEN_PID, for a COMMAND behind a wrapper"},
	{'h', "help", NULL, "show this help"},
	{'V', "version", NULL, "show the version"},
};
enum { OPTIONS = sizeof options / sizeof *options };

static bool long_only(char letter)
{
	static const char those[] = {
		OPT_MESSAGE_FILE, OPT_NO_PID, OPT_ACK_TIMEOUT, OPT_ALL, OPT_NONBLOCK, OPT_LIST, OPT_DROP, OPT_MOST,
		OPT_MOST_PER_UID, OPT_ALLOW_PUT, OPT_ALLOW_GET, 0,
	};
	return strchr(those, letter);
}

void cli_start(struct cli *c, char *argv[], const char *synopsis, const char *letters)
{
	*c = (struct cli){.synopsis = synopsis, .letters = letters, .mode = MODE_UNSET, .timeout = NEVER, .wait = NEVER,
	                  .type = SOCK_STREAM, .backlog = SOMAXCONN, .ready = -1};
	argv[0] = program_invocation_short_name; /* getopt_long uses it in messages */
	/* One write per message, so that messages of several processes do not mix. */
	static char line[1024];
	setvbuf(stderr, line, _IOLBF, sizeof line);
}

static _Noreturn void done_printing(void)
{
	if (fflush(stdout) == EOF)
		err(FAILED, "standard output");
	exit(0);
}

static _Noreturn void help(const struct cli *c)
{
	printf("usage: %s\n\n", c->synopsis);
	for (size_t i = 0; i < OPTIONS; i++) {
		if (!strchr(c->letters, options[i].letter))
			continue;
		char left[40];
		const char *value = options[i].value;
		snprintf(left, sizeof left, "--%s%s%s", options[i].name, value ? " " : "", value ? value : "");
		if (long_only(options[i].letter))
			printf("      %-24s %s\n", left, options[i].help);
		else
			printf("  -%c, %-24s %s\n", options[i].letter, left, options[i].help);
	}
	printf("\nSee %.*s(1).\n", (int)strcspn(c->synopsis, " "), c->synopsis);
	done_printing();
}

/* Call getopt_long with the options of this command. */
static int take_option(const struct cli *c, int argc, char *argv[])
{
	struct option longs[OPTIONS + 1] = {{0}};
	char shorts[2 * OPTIONS + 2] = "+", *s = shorts + 1;
	size_t n = 0;
	for (size_t i = 0; i < OPTIONS; i++) {
		if (!strchr(c->letters, options[i].letter))
			continue;
		longs[n++] = (struct option){options[i].name, options[i].value ? required_argument : no_argument,
		                             NULL, options[i].letter};
		if (long_only(options[i].letter))
			continue;
		*s++ = options[i].letter;
		if (options[i].value)
			*s++ = ':';
	}
	*s = '\0';
	return getopt_long(argc, argv, shorts, longs, NULL);
}

void check(const char *word, const char *value, const char *why)
{
	if (!why)
		return;
	/* Always one line, and no allocation, since this may report a lack of memory. */
	char shown[PATH_MAX];
	snprintf(shown, sizeof shown, "%s", value);
	printable(shown, strlen(shown));
	errx(FAILED, "%s%s%s: %s", word, *word ? " " : "", shown, why);
}

void check_given(const struct cli *c, const char *letters, bool apply, const char *rule)
{
	for (size_t i = 0; !apply && i < OPTIONS; i++) {
		char letter = options[i].letter;
		if (strchr(letters, letter) && c->given[(int)letter])
			errx(FAILED, long_only(letter) ? "--%s %s" : "-%.1s %s", long_only(letter) ? options[i].name : &letter, rule);
	}
}

void check_socket(const struct endpoint *at, const char *hint)
{
	struct stat st;
	if (at->kind == END_PATH && stat(at->text, &st) == 0 && !S_ISSOCK(st.st_mode))
		errx(FAILED, "%s: %s%s", at->arg, reason(ENOTSOCK), hint);
}

void check_repeats(const char *object, const struct set *set, bool numbers)
{
	const char *name;
	const char *why = set_repeats(set, numbers, &name);
	if (why)
		errx(FAILED, "%s: %s", name ? name : object, why);
}

/* Handle an option with the same meaning everywhere. Returns false for an option of the command itself. */
static bool common(struct cli *c, int letter)
{
	long n;
	switch (letter) {
	case 'a': check("-a", optarg, allow_parse(&c->allow, optarg)); return true;
	case 'b': check("-b", optarg, parse_number(&n, optarg, 1, INT32_MAX)); c->backlog = (int)n; return true;
	case 'M': check("-M", optarg, parse_mode(&c->mode, optarg)); return true;
	case 'q': c->loud = -1; return true;
	case 'R':
		check("-R", optarg, parse_number(&n, optarg, 0, INT32_MAX));
		if (fcntl((int)n, F_SETFD, FD_CLOEXEC) == -1)
			err(FAILED, "-R %s", optarg);
		c->ready = (int)n;
		return true;
	case 't': check("-t", optarg, parse_time(&c->timeout, optarg)); return true;
	case 'T': check("-T", optarg, parse_type(&c->type, optarg)); return true;
	case 'u':
		check("-u", optarg, geteuid() ? "only root can become another" : user_parse(&c->user, optarg));
		return true;
	case 'v': c->loud = 1; return true;
	case 'w': check("-w", optarg, parse_time(&c->wait, optarg)); return true;
	default: return false;
	}
}

int cli_option(struct cli *c, int argc, char *argv[])
{
	int letter;
	do {
		letter = take_option(c, argc, argv);
		if (letter == 'h')
			help(c);
		if (letter == 'V') {
			printf("%s (fdkit) %s\n", program_invocation_short_name, FDKIT_VERSION);
			done_printing();
		}
		if (letter == '?') /* getopt_long has reported it */
			exit(FAILED);
		if (letter != -1)
			c->given[letter] = true;
	} while (letter != -1 && common(c, letter));
	return letter;
}

char *operand(int argc, char *argv[], const char *name)
{
	if (optind >= argc)
		errx(FAILED, "%s is missing (--help shows how to call it)", name);
	return argv[optind++];
}

void no_more(int argc, char *argv[])
{
	if (optind < argc)
		errx(FAILED, "%s: one operand too many (--help shows how to call it)", argv[optind]);
}

const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

const char *reason(int error)
{
	switch (error) {
	case EADDRINUSE: return "Address already in use (somebody listens there)";
	case EDEADLK: return "input and output are the same file";
	case ENOLCK: return "stale, but another user's file stands where its lock would be (the name with .fdkit-lock)";
	case ENOTSOCK: return "not a socket";
	case EPROTOTYPE: return "a socket of another type (-T)";
	case EAFNOSUPPORT: return "not a Unix socket";
	case ESHUTDOWN: return "accepts no more connections (somebody who shares the socket has shut it down)";
	case ETIMEDOUT: return "timed out";
	default: return strerror(error);
	}
}

int say_failed(const char *object)
{
	int status = errno == ETIMEDOUT ? TIMED_OUT : FAILED;
	warnx("%s: %s", object, reason(errno));
	return status;
}

void fail(const char *object)
{
	exit(say_failed(object));
}

void fail_listen(const struct cli *c, const char *object)
{
	if (errno == EADDRINUSE)
		errx(FAILED, "%s: Address already in use (somebody listens there%s)", object,
		     strchr(c->letters, 'c') ? "; -c connects" : strchr(c->letters, 'l') ? "; connect without -l" : "");
	fail(object);
}

void fail_copy(int side, const char *object)
{
	if (side == 1 && errno == EPIPE)
		die_of(SIGPIPE);
	if (side > 1 && (errno == EINVAL || errno == EBADF))
		errx(FAILED, "%s: its descriptor cannot be copied: no file, pipe, terminal or connection (a COMMAND may use it)",
		     object);
	errx(FAILED, "%s: %s", side == 0 ? "standard input" : side == 1 ? "standard output" : object, reason(errno));
}

int say_unconnected(const char *object)
{
	int status = errno == ETIMEDOUT ? TIMED_OUT : FAILED;
	const char *hint = errno == ECONNREFUSED ? " (nobody listens there; -w TIME waits)"
	                   : errno == ENOENT     ? " (-w TIME waits)"
	                   : errno == ETIMEDOUT  ? " (nobody listens there)"
	                   : errno == EINVAL     ? " (it is a listening socket)"
	                                         : "";
	warnx("%s: %s%s", object, reason(errno), hint);
	return status;
}

void fail_connect(const char *object)
{
	exit(say_unconnected(object));
}

void say_closed(const struct endpoint *at, const char *without)
{
	struct peer peer;
	char hint[120] = "";
	if (at->fd != -1 && at->kind != END_EXEC && peer_of(at->fd, &peer) == 0 && peer.pid &&
	    peer.uid != geteuid())
		snprintf(hint, sizeof hint, " (uid %lu there; its -a may refuse uid %lu)", (unsigned long)peer.uid,
		         (unsigned long)geteuid());
	warnx("%s: closed %s%s", at->arg, without, hint);
}

void fail_closed(const struct endpoint *at, const char *without)
{
	say_closed(at, without);
	exit(FAILED);
}

void say(const struct cli *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	if (c->loud >= 0)
		vwarnx(format, ap);
	va_end(ap);
}

void note(const struct cli *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	if (c->loud > 0)
		vwarnx(format, ap);
	va_end(ap);
}

/* Write into TEXT the argument of -a that allows UID. */
static const char *rule_for(uid_t uid, char text[NUMBER_ROOM + 1])
{
	snprintf(text, NUMBER_ROOM + 1, "%lu", (unsigned long)uid);
	return uid_unmapped(uid) ? "any" : text;
}

void say_refused(const struct cli *c, const char *object, const struct peer *peer)
{
	char text[NUMBER_ROOM + 1];
	say(c, "%s: refused uid %lu (-a %s lets it in)", object, (unsigned long)peer->uid, rule_for(peer->uid, text));
}

void say_not_accepted(const struct cli *c, const char *object, const struct peer *peer)
{
	if (errno == EACCES)
		say_refused(c, object, peer);
	else if (errno == ESHUTDOWN)
		warnx("%s: %s", object, reason(errno));
}

void say_excess(const struct cli *c, const char *object, uid_t uid)
{
	say(c, "%s: uid %lu is over its quota; closing further connections", object, (unsigned long)uid);
}

void say_waiting(const struct cli *c, const char *object, size_t commands)
{
	if (commands)
		say(c, "%s: waiting for %zu command%s (a second signal ends %s)", object, commands, plural(commands),
		    commands == 1 ? "it" : "them");
}

bool peer_fits(const struct cli *c, const struct endpoint *at, char *why, size_t size)
{
	struct peer peer;
	if (endpoint_given(at) || at->type == SOCK_DGRAM)
		return true;
	if (peer_of(at->fd, &peer) == -1) {
		snprintf(why, size, "%s", strerror(errno));
		return false;
	}
	char text[NUMBER_ROOM + 1];
	snprintf(why, size, "belongs to uid %lu, refused (-a %s allows it)", (unsigned long)peer.uid, rule_for(peer.uid, text));
	return peer_allowed(&c->allow, &peer, at->fd);
}

void check_peer(const struct cli *c, const struct endpoint *at)
{
	char why[120];
	if (!peer_fits(c, at, why, sizeof why))
		errx(FAILED, "%s: %s", at->arg, why);
}

mode_t socket_mode(const struct cli *c, bool checked)
{
	bool others = c->allow.any || c->allow.count;
	return c->mode != MODE_UNSET ? c->mode : checked && others ? 0666 : 0600;
}

int64_t wait_deadline(const struct cli *c)
{
	return c->wait == NEVER ? 0 : deadline_in(c->wait);
}

void be_ready(const struct cli *c, bool service)
{
	if (user_become(&c->user) == -1)
		err(FAILED, "-u");
	if (ready_fd(c->ready) == -1)
		err(FAILED, "-R %d", c->ready);
	if (service && ready_notify("READY=1") == -1)
		warn("NOTIFY_SOCKET %s", getenv("NOTIFY_SOCKET"));
}

bool ends(int sig)
{
	return sig == SIGHUP || sig == SIGINT || sig == SIGTERM;
}

const char *signal_name(int sig)
{
	return sig == SIGHUP ? "SIGHUP" : sig == SIGINT ? "SIGINT" : "SIGTERM";
}

void guard_standard(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC) != fd)
			err(FAILED, "/dev/null");
}

void die_of(int sig)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, sig);
	signal(sig, SIG_DFL);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	exit(128 + sig); /* not reached */
}

struct text message_text(const char *text)
{
	struct text t = {.data = strdup(text), .len = strlen(text)};
	if (!t.data)
		err(FAILED, "-m");
	if (!t.len)
		errx(FAILED, "-m: an empty message carries no descriptor");
	if (t.len > MESSAGE_MAX)
		errx(FAILED, "-m: a message longer than %d bytes", MESSAGE_MAX);
	return t;
}

struct text message_file(const char *path)
{
	struct text t = {.data = malloc(MESSAGE_MAX + 1)};
	int fd = strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;
	while (fd != -1 && t.data && t.len <= MESSAGE_MAX &&
	       (n = read(fd, t.data + t.len, MESSAGE_MAX + 1 - t.len)) > 0)
		t.len += (size_t)n;
	if (n == -1)
		err(FAILED, "--message-file %s", path);
	if (!t.len)
		errx(FAILED, "--message-file %s: an empty message carries no descriptor", path);
	if (t.len > MESSAGE_MAX)
		errx(FAILED, "--message-file %s: a message longer than %d bytes", path, MESSAGE_MAX);
	if (fd)
		close(fd);
	return t;
}

void find_command(const struct cli *c, struct command *command)
{
	const char *name = command->argv[0];
	int error = command_find(command), status = 0;
	if (error)
		errx(exec_status(error), "%s: %s", name, strerror(error));
	pid_t pid = c->user.given ? fork() : 0;
	if (c->user.given && pid == 0) {
		if (user_become(&c->user) == -1)
			err(FAILED, "-u");
		if (access(command->path, X_OK) == -1)
			err(exec_status(EACCES), "%s: uid %lu", name, (unsigned long)c->user.uid);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (pid == -1)
		err(FAILED, "-u");
	if (status)
		exit(exit_status(status));
}

void too_many(const struct command *command, size_t count, char *why, size_t size)
{
	snprintf(why, size, "%zu descriptors are too many for COMMAND's limit of %llu open files (ulimit -n)", count,
	         (unsigned long long)command->nofile.rlim_cur);
}

int become(struct launch *l, const struct delivery *d, const int *where, bool no_pid)
{
	const char *name = l->command->argv[0];
	if (launch_delivery(l, d, where) == -1 || env_listen(&l->env, l->to, d->set.name, l->count, no_pid) == -1)
		fail(name);
	int error = launch_become(l);
	warnx("%s: %s", name, strerror(error));
	return exec_status(error);
}

bool command_option(struct command *c, int letter)
{
	switch (letter) {
	case 'i': return c->in = true;
	case 'o': return c->out = true;
	case 'e': return c->err = true;
	case 'B': return c->blocking = true;
	default: return false;
	}
}

int exit_status(int wstatus)
{
	return WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
}
