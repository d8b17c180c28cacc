/* SPDX-License-Identifier: ISC */
/* What the commands share of their command lines: options, messages, exit statuses. */
#ifndef CLI_H
#define CLI_H

#include "fdkit.h"

enum { TIMED_OUT = 124, FAILED = 125 };

#define MODE_UNSET ((mode_t)-1)

/* Options that have no short form; next_option returns these. */
enum { OPT_MESSAGE_FILE = 'F', OPT_NO_PID = 'I', OPT_ACK_TIMEOUT = 'K', OPT_ALL = 'E',
       OPT_NONBLOCK = 'G', OPT_LIST = 'O', OPT_DROP = 'D', OPT_MOST = 'Q', OPT_MOST_PER_UID = 'U',
       OPT_ALLOW_PUT = 'W', OPT_ALLOW_GET = 'X' };

/* A command's line: what it takes, and the values of the options that mean the same everywhere. */
struct cli {
	const char *synopsis;   /* the lines of --help that say how it is called */
	const char *letters;    /* the options it takes, in the order of --help */
	bool given[128];        /* by letter */
	struct allow allow;     /* -a */
	mode_t mode;            /* -M; see socket_mode */
	int64_t timeout;        /* -t: milliseconds or NEVER */
	int64_t wait;           /* -w: milliseconds or NEVER: do not wait */
	int type;               /* -T */
	int backlog;            /* -b */
	int ready;              /* -R: descriptor or -1 */
	struct user user;       /* -u */
	int loud;               /* -1 for -q, 1 for -v */
};

void cli_start(struct cli *c, char *argv[], const char *synopsis, const char *letters);

/* The next option that is not one of those above, with its value in optarg; -1 before the first
 * operand. Ends the process for --help, --version and for what is wrong. */
int cli_option(struct cli *c, int argc, char *argv[]);

/* 125, naming option or operand WORD, if WHY is not NULL. */
void check(const char *word, const char *value, const char *why);

/* 125, naming it, if one of the options LETTERS was given and does not APPLY: RULE says when it does. */
void check_given(const struct cli *c, const char *letters, bool apply, const char *rule);

/* 125, with a HINT, if the path of AT is a file that is no socket: nothing to wait for. */
void check_socket(const struct endpoint *at, const char *hint);

/* 125 if a name, which is named, or, where NUMBERS, a number stands in OBJECT's LIST twice. */
void check_repeats(const char *object, const struct fdlist *list, bool numbers);

/* The operand at optind, or 125 saying that NAME is missing. */
char *operand(int argc, char *argv[], const char *name);

/* 125 if anything is left at optind. */
void no_more(int argc, char *argv[]);

/* Say OBJECT and errno's reason. Returns the status to exit with: 124 for ETIMEDOUT, else 125. */
int say_failed(const char *object);

/* The same, and end. */
_Noreturn void fail(const char *object);

/* The same for a SOCKET at which C's command cannot listen. */
_Noreturn void fail_listen(const struct cli *c, const char *object);

/* The same where copying failed at SIDE (copy.c), which is 0, 1 or OBJECT; dies of SIGPIPE where nobody reads
 * standard output. 125 for ETIMEDOUT too. */
_Noreturn void fail_copy(int side, const char *object);

/* The same as fail for a SOCKET that could not be connected to. */
_Noreturn void fail_connect(const char *object);

/* The same without ending: says why, and returns the status to exit with. */
int say_unconnected(const char *object);

/* Say that the peer of AT closed WITHOUT something; names its uid, if its -a may be why. */
void say_closed(const struct endpoint *at, const char *without);

/* The same, and end with 125. */
_Noreturn void fail_closed(const struct endpoint *at, const char *without);

/* The ending of a noun that N stands before. */
const char *plural(uint64_t n);

/* errno's reason, in fdkit's words where it has better ones. */
const char *reason(int error);

/* One line of what happened, unless -q. */
void say(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line of an event, with -v. */
void note(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Say of a peer on the object's other side that it was not let in. */
void say_refused(const struct cli *c, const char *object, const struct peer *peer);

/* Say that UID may have no more of us. */
void say_excess(const struct cli *c, const char *object, uid_t uid);

/* Say that a service that was asked to end waits for so many COMMANDS, if there are any. */
void say_waiting(const struct cli *c, const char *object, size_t commands);

/* May the peer of a connected SOCKET have our descriptors, or give us some? If not, WHY says so. */
bool peer_fits(const struct cli *c, const struct endpoint *at, char *why, size_t size);

/* 125 if not. */
void check_peer(const struct cli *c, const struct endpoint *at);

/* The mode of a socket file: where peers are CHECKED and -a lets some in, they must be able to connect. */
mode_t socket_mode(const struct cli *c, bool checked);

/* The deadline of -w: never is 0, since nothing waits without it. */
int64_t wait_deadline(const struct cli *c);

/* All sockets are open: become -u's user and say that we are ready, with -R and, for a SERVICE, by
 * READY=1; NOTIFY_SOCKET is COMMAND's to answer otherwise. */
void be_ready(const struct cli *c, bool service);

/* Does SIG ask a service to end? */
bool ends(int sig);

/* HUP, INT, TERM with their SIG. */
const char *signal_name(int sig);

/* Fill closed descriptors 0 to 2 with /dev/null, close-on-exec, so that no socket lands there. Using one still
 * fails, with EBADF: 0 cannot be read, 1 and 2 cannot be written. */
void guard_standard(void);

/* Die of SIG, as if it had never been caught. */
_Noreturn void die_of(int sig);

/* The bytes of -m, or of the file of --message-file, at most MESSAGE_MAX and at least one. */
struct text {
	char *data;
	size_t len;
};
struct text message_text(const char *text);
struct text message_file(const char *path);

/* Look up COMMAND, for -u's user too, before anything is opened: ends the process with 127 or 126 where it cannot be run. */
void find_command(const struct cli *c, struct command *command);

/* Say in WHY, which has SIZE bytes, that COMMAND cannot have COUNT descriptors. */
void too_many(const struct command *command, size_t count, char *why, size_t size);

/* Become the COMMAND of L, which is open, with the set D: at WHERE, or, if that is NULL, where -i, -o and
 * -e say or from 3 on. Returns only if that fails, with the status to exit with. */
int become(struct launch *l, const struct delivery *d, const int *where, bool no_pid);

/* The placement options -i -o -e -B; false if LETTER is none of them. */
bool command_option(struct command *c, int letter);

/* ---- sending.c ---- */

/* A set of descriptors, and where and how to send it. */
struct sending {
	const struct cli *cli;
	struct endpoint at;
	struct closer closer;
	struct delivery set;    /* .fds, .name, .text and .len are sent; the default text is one NUL */
	bool listen, keep;      /* -l -k */
	bool one_each, no_wait, plain; /* -1 -n -P */
	bool records;           /* the record form: sending_check says so */
	struct listening *untaken; /* what is sent, to be closed where that fails; or NULL */
};

/* Refuse, with 125, what makes no sense together. */
void sending_check(struct sending *s);

/* Send it; ends the process where that fails. */
void sending_run(struct sending *s);

/* ---- listening.c ---- */

/* Listening sockets that were asked for as ADDRESS or, where NAMED, NAME=ADDRESS. */
struct listening {
	struct listener *listener;
	char **name;            /* NULL where there is none */
	size_t count;
	struct address_file file; /* -A */
};

/* Parse COUNT words; ends the process for what is wrong. */
void listening_parse(struct listening *l, char *argv[], size_t count, bool named);

/* Open all of them or, ending the process, none. An old address file is removed before. CHECKED: peers at unix: addresses
 * are admitted by -a. */
void listening_open(struct listening *l, const struct cli *c, bool checked);

/* Tell the addresses really bound: with -v, and in the address file, whose reader is waited for until DEADLINE or a signal
 * on SIGFD. Returns 0, or the status to exit with after they were closed: FAILED or TIMED_OUT, which was said, 128 + N for
 * signal N. */
int listening_announce(struct listening *l, const struct cli *c, int sigfd, int64_t deadline);

/* Close them; their files and the address file go, if they are still ours. */
void listening_close(struct listening *l);

/* What became of a command, after wait(2): its status as the shell counts it. */
int exit_status(int wstatus);

#endif
