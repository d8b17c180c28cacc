/* SPDX-License-Identifier: ISC */
/* fdrun: run what a fdexec offers, as if it ran here. */
#include "fdrun.h"
#include "closer.h"
#include "messages.h"
#include "options.h"
#include "record.h"
#include "rights.h"
#include "socket.h"
#include "terminal.h"
#include "wait.h"
#include "wire.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HINT_MS = 200 };

struct run {
	struct cli cli;
	struct endpoint at;
	struct set list;        /* -f */
	struct request request;
	bool pty;               /* --pty: */
	struct terminal terminal;
	struct wire wire;       /* to the server */
	struct closer closer;
	int sigfd;
};

static void parse_options(struct run *r, int argc, char *argv[])
{
	int option;
	*r = (struct run){.wire.form = FORM_RECORD};
	cli_start(&r->cli, argv, FDRUN, "usage: fdrun [options] SOCKET [ARG...]\n\n"
	          "Run the COMMAND of the fdexec at SOCKET as if it ran here, on this terminal.\n"
	          "Example: fdexec --args --cwd make.sock make & fdrun -w 5 make.sock -j8 test\n");
	while ((option = cli_option(&r->cli, argc, argv)) != -1)
		switch (option) {
		case 'E': check("-E", optarg, request_variables(&r->request, optarg)); break;
		case 'f': check("-f", optarg, set_parse(&r->list, optarg, false)); break;
		case OPT_PTY: r->pty = true; break;
		default: break;
		}
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(&r->at, arg));
	check_socket(&r->at, "");
	if (!r->list.count)
		check("-f", "0-2", set_parse(&r->list, "0-2", false));
	if (set_named(&r->list))
		errx(FAILED, "-f: COMMAND's descriptors have no names");
	if (r->list.count > FDS_PER_MESSAGE - 2) /* and two beside them */
		errx(FAILED, "-f: more than %d descriptors", FDS_PER_MESSAGE - 2);
	r->request.word = argv + optind;
	r->request.words = (size_t)(argc - optind);
}

/* A closed one of 0 to 2 is /dev/null from here on; the others of -f must be there. */
static void take_descriptors(struct run *r)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd)
			err(FAILED, "/dev/null");
	for (size_t i = 0; i < r->list.count; i++)
		if (fcntl(r->list.fd[i], F_GETFD) == -1 || set_add(&r->request.fds, r->list.fd[i], NULL) == -1)
			err(FAILED, "fd %d", r->list.fd[i]);
}

/* With --pty: is FD a terminal that COMMAND has a pseudo-terminal for? */
static bool replaced(const struct run *r, int fd)
{
	return r->pty && fd <= 2 && isatty(fd);
}

/* --pty: a pseudo-terminal in place of those of 0, 1 and 2 that are terminals. We keep its slave open, so that COMMAND
 * may close and open it again. */
static void make_pty(struct run *r)
{
	struct set *fds = &r->request.fds;
	int slave, like = isatty(0) ? 0 : isatty(2) ? 2 : 1;
	r->terminal = (struct terminal){.in = like, .out = isatty(1) ? 1 : like, .master = terminal_master(like, &slave)};
	if (r->terminal.master == -1)
		err(FAILED, "--pty");
	for (size_t i = 0; i < fds->count; i++)
		if (replaced(r, fds->fd[i])) {
			fds->fd[i] = slave;
			r->request.tty = true;
		}
	if (!r->request.tty)
		errx(FAILED, "--pty: none of 0, 1 and 2 is a terminal that is sent");
}

/* ---- the server ---- */

/* Give the terminal back, and end: by SIGNAL, without a core, or else with STATUS. A descriptor that the
 * server sent last may block the process that closes it. */
static _Noreturn void leave(struct run *r, int signal, int status)
{
	int queued = 0;
	if (r->pty)
		terminal_give_back(&r->terminal);
	shutdown(r->at.fd, SHUT_RD);
	ioctl(r->at.fd, FIONREAD, &queued);
	closer_end(&r->closer, queued);
	if (signal) {
		prctl(PR_SET_DUMPABLE, 0);
		die_of(signal);
	}
	exit(status);
}

static _Noreturn void not_ours(struct run *r)
{
	warnx("%s: does not run commands for fdrun", r->at.arg);
	leave(r, 0, FAILED);
}

/* The next record, waiting until DEADLINE; false then. A refusal ends us, and so does the end of the connection,
 * WITHOUT what was due. */
static bool hear(struct run *r, struct record *record, const char *without, int64_t deadline)
{
	enum wire_event event = wire_next(&r->wire, record);
	while (event == WIRE_PART || event == WIRE_NONE) {
		if (await(r->at.fd, POLLIN, deadline) == -1)
			return false;
		event = wire_read(&r->wire, 0, record, NULL);
		closer_trim(&r->closer, &r->wire.records.fds, 0, NOBODY); /* none is due */
	}
	if (event == WIRE_END)
		leave(r, 0, say_closed(&r->at, without));
	if (event != WIRE_RECORD)
		not_ours(r);
	if (record->word != RECORD_REFUSED)
		return true;
	warnx("%s: refused: %s", r->at.arg, record->why ? record->why : "no reason given");
	leave(r, 0, FAILED);
}

/* ---- while COMMAND runs ---- */

/* Let go of what was sent, so that pipes end and break as COMMAND has it. Messages need standard error, but a reader
 * may wait for the end of a pipe or a connection. */
static void let_go(const struct run *r)
{
	struct stat st;
	for (size_t i = 0; i < r->list.count; i++) {
		int fd = r->list.fd[i];
		bool keep = fd == 2 && fstat(2, &st) == 0 && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode);
		if (!keep && fd != r->at.fd && !replaced(r, fd))
			close(fd);
	}
}

/* We got SIG. */
static void pass_on(struct run *r, int sig)
{
	size_t i = 0;
	if (r->pty && (sig == SIGWINCH || sig == SIGCONT))
		terminal_take(&r->terminal);
	while (i < SIGNALS_PASSED && signals_all[i] != sig)
		i++;
	if (i == SIGNALS_PASSED)
		leave(r, sig, 0);
	/* The pseudo-terminal passes WINCH on by itself. A server that lets hundreds of signals pile up gets no more.
	 * */
	if (!r->pty || sig != SIGWINCH)
		record_send(r->at.fd, &(struct record){.word = RECORD_SIGNAL, .id = 1, .n = (size_t)sig}, NULL, AT_ONCE);
}

/* SIG has stopped COMMAND: so stop, for our shell's job control. At a terminal use the same signal. Kernel: TSTP, TTIN
 * and TTOU stop no process of an orphaned group (setpgid(2)), which no shell could continue; then COMMAND goes on. */
static void stop(struct run *r, int sig)
{
	sigset_t set;
	int terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (terminal == -1 || (sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU))
		sig = SIGSTOP;
	if (terminal != -1)
		close(terminal);
	if (r->pty)
		terminal_give_back(&r->terminal);
	sigemptyset(&set);
	sigaddset(&set, sig);
	kill(getpid(), sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (sig == SIGTSTP)
		sigprocmask(SIG_BLOCK, &set, NULL);
	sigpending(&set);
	if (!sigismember(&set, SIGCONT))
		pass_on(r, SIGCONT);
}

static void act_on(struct run *r, const struct record *record)
{
	if (record->word == RECORD_STOPPED) {
		stop(r, (int)record->n);
		return;
	}
	if (r->pty)
		terminal_finish(&r->terminal);
	if (record->word != RECORD_ENDED || (!record->signal && record->status > 255))
		not_ours(r);
	note(&r->cli, "%s: COMMAND has ended by %s %zu", r->at.arg, record->signal ? "signal" : "status",
	     record->signal ? record->signal : record->status);
	leave(r, (int)record->signal, (int)record->status);
}

/* ---- before it runs ---- */

/* Wait for the record WORD. */
static struct record await_word(struct run *r, enum record_word word, const char *without, int64_t deadline)
{
	struct record record;
	bool loud = r->cli.loud > 0, heard = loud && hear(r, &record, without, sooner(deadline_in(HINT_MS), deadline));
	if (loud && !heard && time_left(deadline))
		note(&r->cli, "%s: waiting for a place", r->at.arg);
	if (!heard && !hear(r, &record, without, deadline)) {
		warnx("%s: timed out: COMMAND has not begun in time", r->at.arg);
		leave(r, 0, TIMED_OUT);
	}
	if (record.word == RECORD_STOPPED) /* what has not begun cannot stop */
		not_ours(r);
	if (record.word != word) /* it may have ended already */
		act_on(r, &record);
	return record;
}

/* Was that sent? A server that has closed may have said why. */
static void check_sent(struct run *r, int result)
{
	if (result == -1 && errno != EPIPE && errno != ECONNRESET)
		leave(r, 0, say_failed(r->at.arg));
}

/* Connect, and have COMMAND begin. Until it has, signals do to us what they do to any process: it gets HUP then. */
static void begin(struct run *r, int64_t deadline)
{
	int64_t wait = r->cli.wait == NEVER ? 0 : deadline_in(r->cli.wait);
	if (endpoint_connect(&r->at, wait, deadline) == -1)
		exit(say_unconnected(r->at.arg));
	check_peer(&r->cli, &r->at);
	r->wire.sock = r->at.fd;
	check_sent(r, record_send(r->at.fd, &(struct record){.word = RECORD_RUN}, NULL, deadline));
	bool cwd = await_word(r, RECORD_TAKES, "without an answer", deadline).cwd;
	check_sent(r, request_send(&r->request, r->at.fd, cwd, deadline));
	note_sent(&r->cli, r->at.arg, &r->request.fds, r->at.fd);
	await_word(r, RECORD_TAKEN, "without beginning COMMAND", deadline);
	r->sigfd = signals_open_these(signals_all, r->pty ? SIGNALS_ALL : SIGNALS_PASSED);
	if (r->sigfd == -1)
		fail(r->at.arg);
	note(&r->cli, "%s: COMMAND has begun", r->at.arg);
}

/* Wait for COMMAND's end, and end so. */
static _Noreturn void follow(struct run *r)
{
	struct record record;
	for (;;) {
		struct pollfd p[2 + TERMINAL_POLLS] = {{.fd = r->sigfd, .events = POLLIN}, {.fd = r->at.fd, .events = POLLIN}};
		while (hear(r, &record, "without saying how COMMAND ended", AT_ONCE))
			act_on(r, &record);
		int64_t until = r->pty ? terminal_poll(&r->terminal, p + 2) : NEVER;
		if (await_any(p, r->pty ? 2 + TERMINAL_POLLS : 2, until) <= 0)
			continue;
		int sig = p[0].revents ? signals_next(r->sigfd) : 0;
		if (sig)
			pass_on(r, sig);
		if (r->pty)
			terminal_copy(&r->terminal, p + 2);
	}
}

int main(int argc, char *argv[])
{
	struct run r;
	parse_options(&r, argc, argv);
	int64_t deadline = deadline_in(r.cli.timeout);
	take_descriptors(&r);
	if (r.pty)
		make_pty(&r);
	begin(&r, deadline);
	let_go(&r);
	follow(&r);
}
