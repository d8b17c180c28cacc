/* SPDX-License-Identifier: ISC
 *
 * The command line: options, operands, and what is wrong with them. A wrong call ends the process with status 125 and
 * one line on standard error. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct endpoint;
struct set;

#define FDKIT_VERSION "0.2"

enum { TIMED_OUT = 124, FAILED = 125 };

#define MODE_UNSET ((mode_t)-1)

/* The commands, one bit each; those that can listen at SOCKET; and all. fdread is fdrecv for the builtin of that name. */
enum { FDSEND = 1, FDRECV = 2, FDSERVE = 4, FDEXEC = 8, FDHOLD = 16, FDRUN = 32, FDRELAY = 64, FDREAD = 128, LISTENERS = 31 | 128,
       EVERY_COMMAND = 255 };

/* The code of an option is its letter or, if it has none, one of these. */
enum {
	LAST_LETTER = 'z', OPT_ACCEPT_ENV, OPT_ACK_TIMEOUT, OPT_ALL, OPT_ALLOW_GET, OPT_ALLOW_PUT, OPT_ARGS, OPT_CWD, OPT_DRAIN, OPT_DROP,
	OPT_LEASE, OPT_LIST, OPT_MAX, OPT_MAX_PER_UID, OPT_MESSAGE_FILE, OPT_MESSAGE_TO, OPT_NO_PID, OPT_NONBLOCK, OPT_PTY, OPT_RAW,
	OPT_READY_AFTER, OPTIONS_END,
};

/* The reading of command lines, --help and completions are made from one table. A row is a paragraph of --help: an
 * option, an argument (CODE is 0) or a heading (HELP is NULL, too). An option has several rows if its text differs by
 * command. */
struct option_row {
	int code;
	const char *name;       /* its long name; the argument; the heading */
	const char *value;      /* the option's argument or NULL; each word is one kind: FILE, LIST, MODE, N, ... */
	unsigned commands;      /* that have this row; 0 ends the table */
	const char *help;
};
extern const struct option_row option_table[];

/* Which options are given, and the values of those that mean the same in every command. */
struct cli {
	unsigned command;       /* its bit */
	const char *about;      /* what --help says before the options */
	bool given[OPTIONS_END];
	struct allow allow;     /* -a */
	mode_t mode;            /* -M or MODE_UNSET; see socket_mode */
	int64_t timeout;        /* -t: milliseconds or NEVER */
	int64_t drain;          /* --drain: milliseconds or NEVER */
	int64_t wait;           /* -w: milliseconds or NEVER: do not wait */
	int type;               /* -T: SOCK_... */
	int backlog;            /* -b */
	int ready;              /* -R: descriptor or -1 */
	struct user user;       /* -u */
	int loud;               /* -1 for -q, 1 for -v */
};

/* Prepare C for COMMAND, one bit. ABOUT stays the caller's: usage, purpose and an example, in lines. */
void cli_start(struct cli *c, char *argv[], unsigned command, const char *about);

/* Return the code of the next option that has no value in struct cli, with its argument in optarg; -1 before the first
 * operand. --help, --version and invalid options end the process. */
int cli_option(struct cli *c, int argc, char *argv[]);

/* Call getopt_long(3) with the options of COMMAND, one bit. */
int option_next(unsigned command, int argc, char *argv[]);

/* Print what --help says of C's command to standard output. */
void option_help(const struct cli *c);

/* Return the operand at optind, called NAME, and go on to the next. */
char *operand(int argc, char *argv[], const char *name);

/* Reject VALUE for the reason WHY, unless that is NULL. VALUE is the argument of the option WORD or, if WORD is empty,
 * an operand. */
void check(const char *word, const char *value, const char *why);

/* Reject those of OPTIONS, which ends with 0, that are given, unless they APPLY; RULE says when they do. */
void check_given(const struct cli *c, const int *options, bool apply, const char *rule);

/* Reject AT if its path is a file but not a socket, since waiting would not help; HINT follows the message. */
void check_socket(const struct endpoint *at, const char *hint);

/* Reject OBJECT if a name or, if NUMBERS, a number occurs twice in its SET. */
void check_repeats(const char *object, const struct set *set, bool numbers);

/* The bytes of -m or --message-file, 1 to MESSAGE_MAX. */
struct text {
	const char *data;       /* NULL if neither is given; never freed */
	size_t len;
};

/* Read them for OPTION: 'm' or OPT_MESSAGE_FILE. */
struct text message_text(int option);

#endif
