/* SPDX-License-Identifier: ISC */
/* Shared by all commands: options, messages, exit statuses. */
#ifndef CLI_H
#define CLI_H

#include "address.h"
#include "closer.h"
#include "command.h"
#include "inbox.h"
#include "launch.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "socket.h"

#define FDKIT_VERSION "0.1"

enum { TIMED_OUT = 124, FAILED = 125 };

#define MODE_UNSET ((mode_t)-1)

/* Options without a short form; cli_option returns these. */
enum { OPT_MESSAGE_FILE = 'F', OPT_NO_PID = 'I', OPT_ACK_TIMEOUT = 'K', OPT_ALL = 'E',
       OPT_NONBLOCK = 'G', OPT_LIST = 'O', OPT_DROP = 'D', OPT_MOST = 'Q', OPT_MOST_PER_UID = 'U',
       OPT_ALLOW_PUT = 'W', OPT_ALLOW_GET = 'X' };

/* The options that a command accepts, and the values of those with the same meaning everywhere. */
struct cli {
	const char *synopsis;   /* the usage lines of --help */
	const char *letters;    /* the options that it accepts */
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

/* Return the next option that is not in struct cli, with its value in optarg; -1 before the first operand. Handles
 * --help and --version, and rejects invalid options, by ending the process. */
int cli_option(struct cli *c, int argc, char *argv[]);

/* End with 125 and the reason WHY, unless it is NULL; the line names the option or operand WORD. */
void check(const char *word, const char *value, const char *why);

/* End with 125 if one of the options LETTERS was given and does not APPLY; RULE says when it applies. */
void check_given(const struct cli *c, const char *letters, bool apply, const char *rule);

/* End with 125 and a HINT if the path of AT is a file but not a socket: waiting would not help. */
void check_socket(const struct endpoint *at, const char *hint);

/* End with 125 if a name or, if NUMBERS, a number occurs twice in OBJECT's SET. */
void check_repeats(const char *object, const struct set *set, bool numbers);

/* Return the operand at optind, or end with 125 because NAME is missing. */
char *operand(int argc, char *argv[], const char *name);

/* End with 125 if an operand is left at optind. */
void no_more(int argc, char *argv[]);

/* Report OBJECT and errno's reason. Returns the exit status: 124 for ETIMEDOUT, else 125. */
int say_failed(const char *object);

/* The same, and exit. */
_Noreturn void fail(const char *object);

/* The same as fail for a SOCKET at which C's command cannot listen. */
_Noreturn void fail_listen(const struct cli *c, const char *object);

/* The same as fail after copying failed at SIDE (copy.c): 0, 1 or OBJECT. Dies of SIGPIPE if standard output has no
 * reader; exits with 125 for ETIMEDOUT too. */
_Noreturn void fail_copy(int side, const char *object);

/* The same as fail after connecting to a SOCKET failed. */
_Noreturn void fail_connect(const char *object);

/* The same without exiting. Returns the exit status. */
int say_unconnected(const char *object);

/* Report that the peer of AT closed WITHOUT something, and its uid if its -a may be the reason. */
void say_closed(const struct endpoint *at, const char *without);

/* The same, and exit with 125. */
_Noreturn void fail_closed(const struct endpoint *at, const char *without);

/* The plural ending of a noun after N. */
const char *plural(uint64_t n);

/* The text for errno; fdkit's own where that is clearer. */
const char *reason(int error);

/* Report an event in one line, unless -q. */
void say(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Report an event in one line, only with -v. */
void note(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Report that PEER is not allowed at OBJECT. */
void say_refused(const struct cli *c, const char *object, const struct peer *peer);

/* Report why door_accept failed at OBJECT, from errno, where that concerns the user: PEER is not allowed, or the socket
 * accepts no more. */
void say_not_accepted(const struct cli *c, const char *object, const struct peer *peer);

/* Report that UID is over its quota. */
void say_excess(const struct cli *c, const char *object, uid_t uid);

/* Report that a service that ends waits for so many COMMANDS, if any. */
void say_waiting(const struct cli *c, const char *object, size_t commands);

/* Is the peer of a connected SOCKET allowed? If not, WHY gets the reason. */
bool peer_fits(const struct cli *c, const struct endpoint *at, char *why, size_t size);

/* End with 125 if not. */
void check_peer(const struct cli *c, const struct endpoint *at);

/* The mode of a socket file. If peers are CHECKED and -a allows others, they must be able to connect. */
mode_t socket_mode(const struct cli *c, bool checked);

/* The deadline of -w; 0 without it, since nothing waits then. */
int64_t wait_deadline(const struct cli *c);

/* When all sockets are open: switch to the user of -u and report readiness, by -R and, for a SERVICE, by READY=1.
 * Otherwise NOTIFY_SOCKET is for COMMAND. */
void be_ready(const struct cli *c, bool service);

/* Does SIG end a service? */
bool ends(int sig);

/* The name of HUP, INT or TERM, with SIG. */
const char *signal_name(int sig);

/* Fill closed descriptors 0 to 2 with /dev/null, close-on-exec, so that no socket lands there. Using one still
 * fails, with EBADF: 0 cannot be read, 1 and 2 cannot be written. */
void guard_standard(void);

/* Die of SIG with its default action. */
_Noreturn void die_of(int sig);

/* The bytes of -m or of the file of --message-file: 1 to MESSAGE_MAX. */
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

/* Execute the COMMAND of L, which is open, with the set D at the numbers WHERE. If WHERE is NULL, -i, -o and -e choose
 * them, or they start at 3. Returns only on failure, with the exit status. */
int become(struct launch *l, const struct delivery *d, const int *where, bool no_pid);

/* Handle -i, -o, -e and -B. Returns false for any other LETTER. */
bool command_option(struct command *c, int letter);

/* The exit status of a command, as the shell counts it, from the status of wait(2). */
int exit_status(int wstatus);

#endif
