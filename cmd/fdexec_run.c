/* SPDX-License-Identifier: ISC */
/* The keeper of a COMMAND that fdrun waits for: its parent, the leader of its session, and alone at this end of the
 * connection. So COMMAND's group is not orphaned, and can be stopped; and nothing that the client does delays others.
 * */
#include "fdexec.h"

#include "launch.h"
#include "messages.h"
#include "peer.h"
#include "record.h"
#include "wait.h"
#include "wire.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	REQUEST_MS = 10000,     /* from our answer to the client's request */
	WORDS_MOST = 6 << 20,   /* Kernel: execve(2) takes no more, by three quarters of _STK_LIM (fs/exec.c) */
	VARS_MOST = 1024,
};

struct keeper {
	const struct options *o;
	struct wire wire;       /* .sock is -1 when the client is gone */
	int sigfd;
	pid_t parent;
	struct command command; /* with the client's words */
	int *error;
	struct launch launch;
	pid_t pid;              /* COMMAND's, 0 before */
	int last;               /* fdexec ends it by this: TERM, and then KILL */
};

static _Noreturn void refuse(struct keeper *k, const char *why)
{
	*k->error = 0;
	say(&k->o->cli, "%s: uid %lu: %s", k->o->at.arg, (unsigned long)k->wire.peer.uid, why);
	wire_send(&k->wire, &(struct record){.word = RECORD_REFUSED, .id = 1, .why = why});
	_exit(FAILED);
}

/* ---- words and variables ---- */

static size_t name_length(const char *text)
{
	size_t len = 0;
	while (isalnum((unsigned char)text[len]) || text[len] == '_')
		len++;
	return len;
}

const char *vars_parse(const char *list)
{
	for (;; list++) {
		size_t len = name_length(list);
		bool star = list[len] == '*';
		char name[256];
		snprintf(name, sizeof name, "%.*s%s", (int)len, list, star ? "" : "=");
		if (!len || len + 2 > sizeof name)
			return "not names with commas between, each perhaps with a * at its end";
		if (env_reserved(name))
			return "has a variable that no client may choose";
		list += len + star;
		if (!*list)
			return NULL;
		if (*list != ',')
			return "not names with commas between, each perhaps with a * at its end";
	}
}

/* Does LIST have VAR, NAME=VALUE? */
static bool accepts(const char *list, const char *var)
{
	size_t len = name_length(var);
	if (var[len] != '=' || !len || env_reserved(var))
		return false;
	while (list && *list) {
		size_t n = name_length(list);
		if (strncmp(list, var, n) == 0 && (list[n] == '*' || n == len))
			return true;
		list += n + (list[n] == '*');
		list += *list == ',';
	}
	return false;
}

/* The content of FD, which must be sealed: then reading it does not wait. NULL and the reason in *WHY if it cannot be
 * used. */
static char *contents(int fd, size_t *size, const char **why)
{
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	*why = "words in a file without seals";
	if (seals == -1 || (seals & sealed) != sealed || fstat(fd, &st) == -1)
		return NULL;
	*why = "too many words";
	*size = (size_t)st.st_size;
	char *text = st.st_size > WORDS_MOST ? NULL : malloc(*size + 1);
	if (!text)
		return NULL;
	*why = "words without an end";
	ssize_t n = pread(fd, text, *size, 0);
	if (n >= 0 && (size_t)n == *size && (!n || !text[n - 1]))
		return text;
	free(text);
	return NULL;
}

/* Take the words and variables of a request from FD. Kernel: a read of so much of a file in memory is never short. */
static void take_words(struct keeper *k, int fd, size_t words)
{
	const char *why;
	size_t size, count = 0, vars = 0;
	char *text = contents(fd, &size, &why);
	if (!text)
		refuse(k, why);
	for (size_t i = 0; i < size; i++)
		count += !text[i];
	if (words > count)
		refuse(k, strerror(EPROTO));
	if (words && !k->o->args)
		refuse(k, "takes no words (without --args)");
	char **word = calloc(words + 1, sizeof *word);
	if (!word)
		refuse(k, strerror(errno));
	for (size_t i = 0; i < count; i++, text += strlen(text) + 1) {
		if (i < words) {
			word[i] = text;
		} else if (!accepts(k->o->vars, text)) {
			char reason[300];
			snprintf(reason, sizeof reason, "takes no variable %.*s (without --accept-env)", (int)name_length(text), text);
			refuse(k, reason);
		} else if (++vars > VARS_MOST || putenv(text)) {
			refuse(k, "too many variables");
		}
	}
	if (command_append(&k->command, word, words) == -1)
		refuse(k, strerror(errno));
}

/* ---- COMMAND begins ---- */

/* Make the first pseudo-terminal of SET the one that controls our session. Returns its index. Kernel: the driver for
 * pseudo-terminals has the major numbers 136 to 143; no other device is asked. */
static int take_terminal(struct keeper *k, const struct set *set)
{
	struct stat st;
	for (size_t i = 0; i < set->count; i++)
		if (fstat(set->fd[i], &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143 &&
		    ioctl(set->fd[i], TIOCSCTTY, 0) == 0)
			return (int)i;
	refuse(k, "no terminal that could control COMMAND");
}

static void begin(struct keeper *k, const struct record *r)
{
	struct set *set = &k->wire.records.fds;
	char why[120];
	if (set->count != r->fds || r->fds < 1u + r->args + r->cwd)
		refuse(k, strerror(EPROTO));
	int words = r->args ? set->fd[--set->count] : -1, dir = r->cwd ? set->fd[--set->count] : -1;
	if (words != -1) {
		take_words(k, words, r->words);
		close(words);
	}
	if (dir != -1 && !k->o->cwd) {
		close(dir);
		dir = -1;
	}
	if (dir != -1)
		unsetenv("PWD");
	too_many(&k->command, set->count, why, sizeof why);
	if (!command_fits(&k->command, set->count))
		refuse(k, why);
	int tty = r->tty ? take_terminal(k, set) : -1;
	struct delivery d = {.set = *set, .peer = k->wire.peer};
	if (launch_open(&k->launch, &k->command, -1, -1) == -1 || launch_delivery(&k->launch, &d, NULL) == -1)
		refuse(k, strerror(errno));
	launch_lead(&k->launch, dir, tty);
	launch_acknowledge(&k->launch, k->wire.sock, 1, "");
	k->pid = launch_start(&k->launch, k->error);
	if (k->pid == -1)
		refuse(k, strerror(errno));
	for (size_t i = 0; i < k->launch.count; i++)
		if (k->launch.fds[i] != k->wire.sock)
			close(k->launch.fds[i]);
	set_forget(set);
}

/* ---- until COMMAND ends ---- */

/* The client, or fdexec, is gone: as when a terminal is. */
static void hang_up(struct keeper *k)
{
	if (!k->pid)
		_exit(0);
	if (k->wire.sock == -1)
		return;
	kill(-k->pid, SIGHUP);
	kill(-k->pid, SIGCONT);
	close(k->wire.sock);
	k->wire.sock = -1;
}

static void tell(struct keeper *k, const struct record *r)
{
	if (k->wire.sock != -1)
		wire_send(&k->wire, r);
}

/* COMMAND's leader has stopped, or ended: then so do we. */
static void reap(struct keeper *k)
{
	int status;
	if (!k->pid || waitpid(k->pid, &status, WNOHANG | WUNTRACED) <= 0)
		return;
	if (WIFSTOPPED(status)) {
		tell(k, &(struct record){.word = RECORD_STOPPED, .id = 1, .n = (size_t)WSTOPSIG(status)});
		return;
	}
	int error = *k->error;
	*k->error = error == ECANCELED ? 0 : error; /* the client wants nothing any more */
	if (error < 0)
		refuse(k, strerror(-error));
	tell(k, &(struct record){.word = RECORD_ENDED, .id = 1, .status = (size_t)WEXITSTATUS(status),
	                         .signal = WIFSIGNALED(status) ? (size_t)WTERMSIG(status) : 0});
	_exit(exit_status(status));
}

static void pass_on(const struct keeper *k, size_t sig)
{
	for (size_t i = 0; i < SIGNALS_PASSED; i++)
		if (sig == (size_t)signals_all[i])
			kill(-k->pid, (int)sig);
}

/* Read what the client says. */
static void hear(struct keeper *k)
{
	struct record r;
	enum wire_event event = wire_read(&k->wire, 0, &r, NULL);
	for (; event == WIRE_RECORD; event = wire_next(&k->wire, &r)) {
		if (r.word == RECORD_RUN && r.fds && !k->pid)
			begin(k, &r);
		else if (r.word == RECORD_SIGNAL && k->pid && !wire_fds(&k->wire))
			pass_on(k, r.n);
		else
			break;
	}
	if (event == WIRE_NONE || event == WIRE_PART)
		return;
	if (!k->pid && event != WIRE_END)
		refuse(k, strerror(EPROTO));
	hang_up(k);
}

static void act_on(struct keeper *k, int sig)
{
	if (sig == SIGCHLD) {
		reap(k);
	} else if (sig == SIGTERM && k->pid) {
		kill(-k->pid, k->last);
		k->last = SIGKILL;
	} else if (sig == SIGHUP || sig == SIGTERM) {
		hang_up(k);
	}
	if (getppid() != k->parent)
		_exit(FAILED);
}

/* Fill in what is needed before anything of the client's is there, and answer it. */
static void begin_to_keep(struct keeper *k)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	/* Not as fdexec was started: a shell's & has INT ignored. */
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_DFL);
	k->command.child_ignored = false;
	unsetenv("NOTIFY_SOCKET");
	setsid();
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	if (getppid() != k->parent)
		_exit(FAILED);
	close(k->o->at.fd);
	k->wire.form = FORM_RECORD;
}

void keep(const struct options *o, int sock, const struct peer *peer, int sigfd, pid_t parent, int *error)
{
	struct keeper k = {.o = o, .wire = {.sock = sock, .peer = *peer}, .sigfd = sigfd, .parent = parent,
	                   .command = o->command, .error = error, .last = SIGTERM};
	int64_t deadline = deadline_in(REQUEST_MS);
	begin_to_keep(&k);
	for (;;) {
		struct pollfd p[] = {{.fd = sigfd, .events = POLLIN}, {.fd = k.wire.sock, .events = POLLIN}};
		if (await_any(p, 2, k.pid ? NEVER : deadline) == -1)
			continue;
		if (p[0].revents)
			act_on(&k, signals_next(sigfd));
		if (p[1].revents && k.wire.sock != -1)
			hear(&k);
		if (!k.pid && !time_left(deadline))
			refuse(&k, "no request came in time");
	}
}
