/* SPDX-License-Identifier: ISC */
/* Reading a command line, and rejecting a wrong one. */
#include "options.h"
#include "parse.h"
#include "rights.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void cli_start(struct cli *c, char *argv[], unsigned command, const char *about)
{
	*c = (struct cli){.command = command, .about = about, .mode = MODE_UNSET, .timeout = NEVER, .drain = NEVER,
	                  .wait = NEVER, .type = SOCK_STREAM, .backlog = SOMAXCONN, .ready = -1};
	argv[0] = program_invocation_short_name; /* getopt_long uses it in messages */
	/* One write per message, so that messages of several processes do not mix. */
	static char line[1024];
	setvbuf(stderr, line, _IOLBF, sizeof line);
}

static _Noreturn void show(const struct cli *c, bool version)
{
	if (version)
		printf("%s (fdkit) %s\n", program_invocation_short_name, FDKIT_VERSION);
	else
		option_help(c);
	if (fflush(stdout) == EOF)
		err(FAILED, "standard output");
	exit(0);
}

int cli_option(struct cli *c, int argc, char *argv[])
{
	for (;;) {
		int code = option_next(c->command, argc, argv);
		long n = 0;
		const char *why = NULL;
		if (code != -1)
			c->given[code] = true;
		switch (code) {
		case 'a': why = allow_parse(&c->allow, optarg); break;
		case 'b': why = parse_number(&n, optarg, 1, INT32_MAX); c->backlog = (int)n; break;
		case 'h': show(c, false);
		case 'M': why = parse_mode(&c->mode, optarg); break;
		case 'q': c->loud = -1; break;
		case 'R':
			why = parse_number(&n, optarg, 0, INT32_MAX);
			if (!why && fcntl((int)n, F_SETFD, FD_CLOEXEC) == -1)
				why = strerror(errno);
			c->ready = (int)n;
			break;
		case 't': why = parse_time(&c->timeout, optarg); break;
		case 'T': why = parse_type(&c->type, optarg); break;
		case 'u': why = geteuid() ? "only root can become another" : user_parse(&c->user, optarg); break;
		case 'v': c->loud = 1; break;
		case 'V': show(c, true);
		case 'w': why = parse_time(&c->wait, optarg); break;
		case OPT_DRAIN: check("--drain", optarg, parse_time(&c->drain, optarg)); break;
		case '?': exit(FAILED); /* getopt_long has reported it */
		default: return code;
		}
		check((char[]){'-', (char)code, '\0'}, optarg, why);
	}
}

char *operand(int argc, char *argv[], const char *name)
{
	if (optind >= argc)
		errx(FAILED, "%s is missing (--help shows how to call it)", name);
	return argv[optind++];
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

void check_given(const struct cli *c, const int *options, bool apply, const char *rule)
{
	for (; !apply && *options; options++) {
		const struct option_row *r = option_table;
		while (r->code != *options)
			r++;
		if (c->given[r->code] && r->code <= LAST_LETTER)
			errx(FAILED, "-%c %s", r->code, rule);
		if (c->given[r->code])
			errx(FAILED, "--%s %s", r->name, rule);
	}
}

void check_socket(const struct endpoint *at, const char *hint)
{
	struct stat st;
	if (at->kind == END_PATH && stat(at->text, &st) == 0 && !S_ISSOCK(st.st_mode))
		errx(FAILED, "%s: not a socket%s", at->arg, hint);
}

void check_repeats(const char *object, const struct set *set, bool numbers)
{
	const char *name;
	const char *why = set_repeats(set, numbers, &name);
	if (why)
		errx(FAILED, "%s: %s", name ? name : object, why);
}

struct text message_text(int option)
{
	_Static_assert(MESSAGE_MAX == 32768, "as the message below says");
	struct text t = {.data = optarg, .len = strlen(optarg)};
	const char *word = "", *value = "-m", *why = NULL;
	if (option == OPT_MESSAGE_FILE) {
		FILE *in = strcmp(optarg, "-") == 0 ? stdin : fopen(optarg, "re");
		char *data = malloc(MESSAGE_MAX + 1);
		t = (struct text){.data = data, .len = in && data ? fread(data, 1, MESSAGE_MAX + 1, in) : 0};
		why = !in || !data || ferror(in) ? strerror(errno) : NULL;
		if (in && in != stdin)
			fclose(in);
		word = "--message-file";
		value = optarg;
	}
	if (!why && !t.len)
		why = "an empty message carries no descriptor";
	check(word, value, t.len > MESSAGE_MAX ? "a message has at most 32768 bytes" : why);
	return t;
}
