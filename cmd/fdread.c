/* SPDX-License-Identifier: ISC */
/* fdread, a builtin of bash (enable -f fdread fdread): receive descriptors into the running shell.
 *
 * It runs fdrecv, which has the options, messages and statuses, and takes from it what it received, by a pair of sockets
 * (fdrecv_shell.c). The shell must not be left with a descriptor, a process or memory, whatever happens:
 *   - bash reaps every child in its handler of SIGCHLD: meanwhile another is there, so that fdrecv's status is ours, and
 *     bash looks for its own children afterwards;
 *   - all signals are blocked but while ppoll(2) waits, so that none comes between a look and the wait;
 *   - an interrupt, or a signal with a trap, ends fdrecv by TERM. What fdrecv has taken by then is not lost: it arrives
 *     all the same. Bash acts on the signal when nothing is ours any more. */
#include <config.h>

#include "builtins.h"
#include "shell.h"
#include "builtins/common.h"
#include "options.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Debian's headers lack trap.h. */
extern int signal_is_pending(int sig);
extern struct builtin fdread_struct;

enum {
	FIRST_NUMBER = 10,      /* of a VAR, as bash has it for {VAR}<FILE */
	DATA_MAX = 33000,       /* bytes that fdrecv sends: a message and its sender */
	PATIENCE = 2,           /* seconds from TERM to KILL */
	FDS_MAX = 253,          /* Kernel: descriptors in a message */
};

/* Beside this file there is a fdrecv, with the same prefix to its name: ../../bin/fdrecv. Known since the file was loaded,
 * when its name could be relative. */
static char fdrecv[PATH_MAX];

struct call {
	char **argv;            /* fdrecv's; of these the last VARS are */
	char **var;
	int vars;
	int sock;               /* what fdrecv sends comes here */
	pid_t pid;
	int status;             /* fdrecv's, as wait(2) has it */
	int *fd;                /* what came: COUNT descriptors */
	int count;
	bool failed;            /* they did not fit */
	char data[DATA_MAX];    /* and LEN bytes: NAME=VALUE and a NUL each */
	size_t len;
};

/* ---- the call ---- */

/* Is NAME, or the array of that element, a variable that can be set? */
static bool variable_fits(char *name)
{
	char *bracket = strchr(name, '[');
	if (!legal_identifier(name) && !(bracket && valid_array_reference(name, 0))) {
		builtin_error("%s: not a valid name of a variable", name);
		return false;
	}
	if (bracket)
		*bracket = '\0';
	SHELL_VAR *v = find_variable(name);
	bool fixed = v && (readonly_p(v) || noassign_p(v));
	if (fixed)
		builtin_error("%s: readonly variable", name);
	if (bracket)
		*bracket = '[';
	return !fixed;
}

/* Make fdrecv's arguments, and look at each VAR; fdrecv itself rejects wrong options. Returns 0 or the status. */
static int read_call(struct call *c, WORD_LIST *list, char *number)
{
	int n = 2;
	for (WORD_LIST *l = list; l; l = l->next)
		n++;
	c->argv = calloc((size_t)n + 1, sizeof *c->argv);
	c->fd = calloc((size_t)n, sizeof *c->fd);
	if (!c->argv || !c->fd) {
		builtin_error("%s", strerror(errno));
		return FAILED;
	}
	c->argv[0] = (char *)"fdread";
	c->argv[1] = number;
	n = 2;
	for (WORD_LIST *l = list; l; l = l->next)
		c->argv[n++] = l->word->word;
	/* 0 makes getopt_long(3) begin anew. */
	int option = optind = opterr = 0;
	while ((option = option_next(FDREAD, n - 1, c->argv + 1)) != -1)
		if (option == '?' || option == 'h' || option == 'V')
			return 0;
	c->var = c->argv + optind + 2;
	c->vars = n - optind - 2 > 0 ? n - optind - 2 : 0;
	for (int i = 0; i < c->vars; i++) {
		if (!variable_fits(c->var[i]))
			return FAILED;
		for (int j = 0; j < i; j++)
			if (strcmp(c->var[i], c->var[j]) == 0) {
				builtin_error("%s: the same VAR twice", c->var[i]);
				return FAILED;
			}
	}
	return 0;
}

/* ---- fdrecv ---- */

/* Is there room for a descriptor for each VAR? */
static bool room(struct call *c)
{
	int n = 0;
	while (n < c->vars && (c->fd[n] = fcntl(c->sock, F_DUPFD_CLOEXEC, FIRST_NUMBER)) != -1)
		n++;
	bool all = n == c->vars;
	while (n)
		close(c->fd[--n]);
	return all;
}

/* Start it, with the signals BEFORE blocked. Returns errno's value or 0. */
static int start(struct call *c, char *number, const sigset_t *before)
{
	int pair[2], error;
	sigset_t ours;
	posix_spawnattr_t how;
	posix_spawn_file_actions_t files;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return errno;
	c->sock = pair[0];
	if (!room(c)) {
		close(pair[1]);
		return EMFILE;
	}
	sprintf(number, "--fdread=%d", pair[1]);
	maybe_make_export_env();
	/* TERM is how we end it, though an interactive shell ignores that. */
	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	posix_spawnattr_init(&how);
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&how, before);
	posix_spawnattr_setsigdefault(&how, &ours);
	posix_spawn_file_actions_init(&files);
	error = posix_spawn_file_actions_adddup2(&files, pair[1], pair[1]); /* this clears close-on-exec */
	if (!error)
		error = *fdrecv ? posix_spawn(&c->pid, fdrecv, &files, &how, c->argv, export_env)
		                : posix_spawnp(&c->pid, "fdrecv", &files, &how, c->argv, export_env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&how);
	close(pair[1]);
	return error;
}

/* The signal that bash is to act on now, or 0. */
static int signalled(void)
{
	if (terminating_signal)
		return terminating_signal;
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGCHLD && signal_is_pending(sig))
			return sig;
	return interrupt_state ? SIGINT : 0;
}

/* Wait for its end. On a signal end it by TERM, and later by KILL. Returns the signal or 0. */
static int await_end(struct call *c, const sigset_t *before)
{
	sigset_t during = *before;
	const struct timespec patience = {.tv_sec = PATIENCE};
	int kills = 0, ready = -1;
	sigdelset(&during, SIGCHLD);
	for (; waitpid(c->pid, &c->status, WNOHANG) == 0; ready = ppoll(NULL, 0, kills == 1 ? &patience : NULL, &during))
		if (kills ? ready == 0 : signalled())
			kill(c->pid, kills++ ? SIGKILL : SIGTERM);
	return kills ? signalled() : 0;
}

/* ---- what came ---- */

/* Take all that it has sent; close what there is no VAR for. */
static void take(struct call *c)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	for (;;) {
		struct iovec io = {.iov_base = c->data + c->len, .iov_len = sizeof c->data - c->len};
		struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
		ssize_t n = recvmsg(c->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		c->len = c->len ? c->len : (size_t)n;
		c->failed = c->failed || (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC));
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		size_t fds = h ? (h->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
		for (size_t i = 0; i < fds; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			c->failed = c->failed || c->count == c->vars;
			if (c->count < c->vars)
				c->fd[c->count++] = fd;
			else
				close(fd);
		}
	}
}

/* Where bash puts what it opens for the user: from 10 on, open in its commands. */
static bool number(int *fd)
{
	int to = *fd < FIRST_NUMBER ? fcntl(*fd, F_DUPFD, FIRST_NUMBER) : *fd;
	if (to == -1 || (to == *fd && fcntl(to, F_SETFD, 0) == -1))
		return false;
	if (to != *fd)
		close(*fd);
	*fd = to;
	return true;
}

static void describe(const struct call *c)
{
	static const char *const names[] = {"FDKIT_MESSAGE", "FDKIT_PEER_PID", "FDKIT_PEER_UID", "FDKIT_PEER_GID"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t len = strlen(names[i]);
		const char *p = c->data, *end = p + c->len;
		while (p < end && (strncmp(p, names[i], len) != 0 || p[len] != '='))
			p += strlen(p) + 1;
		SHELL_VAR *v = p < end ? bind_variable(names[i], (char *)p + len + 1, 0) : NULL;
		if (v)
			VUNSETATTR(v, att_exported);
		else if (p >= end)
			unbind_variable(names[i]);
	}
	array_needs_making = 1;
}

/* Give each VAR its number. Returns the status; only for 0 is anything left open. */
static int assign(struct call *c)
{
	bool done = c->count == c->vars && !c->failed;
	if (!done)
		builtin_error("what came does not fit into this shell (ulimit -n)");
	for (int i = 0; done && i < c->count; i++) {
		done = number(&c->fd[i]);
		if (!done)
			builtin_error("%s: %s", c->var[i], strerror(errno));
	}
	for (int i = 0; done && i < c->count; i++) {
		char text[20];
		sprintf(text, "%d", c->fd[i]);
		done = builtin_bind_variable(c->var[i], text, 0); /* it has said why not */
	}
	if (done)
		describe(c);
	for (int i = 0; !done && i < c->count; i++)
		close(c->fd[i]);
	return done ? 0 : FAILED;
}

static void nothing(int sig)
{
	(void)sig;
}

/* Run fdrecv. Returns the status; if it is 0, what came is not yet assigned. */
static int run(struct call *c, char *number)
{
	sigset_t all, before;
	struct sigaction former, child = {.sa_handler = nothing};
	int sig = 0;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	sigaction(SIGCHLD, &child, &former);
	int error = start(c, number, &before);
	if (!error)
		sig = await_end(c, &before);
	sigaction(SIGCHLD, &former, NULL);
	raise(SIGCHLD);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (error) {
		builtin_error("%s: %s", *fdrecv ? fdrecv : "fdrecv", strerror(error));
		return error == ENOENT ? 127 : error == EACCES ? 126 : FAILED;
	}
	take(c);
	if (sig && c->status)
		return 128 + sig;
	return WIFSIGNALED(c->status) ? 128 + WTERMSIG(c->status) : WEXITSTATUS(c->status);
}

int fdread_builtin(WORD_LIST *list);
int fdread_builtin(WORD_LIST *list)
{
	char number[32] = "";
	struct call *c = calloc(1, sizeof *c);
	if (!c) {
		builtin_error("%s", strerror(errno));
		return FAILED;
	}
	c->sock = -1;
	int status = read_call(c, list, number);
	if (status == 0 && (status = run(c, number)) == 0 && !terminating_signal && !interrupt_state) {
		status = assign(c);
		c->count = 0;
	}
	while (c->count)
		close(c->fd[--c->count]);
	if (c->sock != -1)
		close(c->sock);
	free(c->argv);
	free(c->fd);
	free(c);
	QUIT;
	return status;
}

/* bash calls this when it has loaded the file. */
int fdread_builtin_load(char *name);
int fdread_builtin_load(char *name)
{
	Dl_info info;
	char here[PATH_MAX];
	(void)name;
	if (!dladdr(&fdread_struct, &info) || !realpath(info.dli_fname, here))
		return 1;
	/* PREFIX/lib/bash/fdread: PREFIX/bin/fdrecv */
	char *base = strrchr(here, '/') + 1;
	size_t len = strlen(base);
	if (len < 6 || strcmp(base + len - 6, "fdread") != 0)
		return 1;
	int n = snprintf(fdrecv, sizeof fdrecv, "%.*s../../bin/%.*sfdrecv", (int)(base - here), here, (int)(len - 6), base);
	if (n >= (int)sizeof fdrecv || access(fdrecv, X_OK) == -1)
		*fdrecv = '\0';
	return 1;
}

char *fdread_doc[] = {
	(char *)"Receive open descriptors into this shell.",
	(char *)"",
	(char *)"Receives descriptors from SOCKET, as fdrecv(1) does, and assigns the number of",
	(char *)"each, 10 or higher, to a VAR. The descriptors stay open in this shell and its",
	(char *)"commands until the shell closes them: exec {VAR}>&-",
	(char *)"",
	(char *)"Sets FDKIT_MESSAGE and FDKIT_PEER_PID, _UID and _GID, if they are known. The",
	(char *)"options are those of fdrecv; fdread --help lists them.",
	(char *)"",
	(char *)"Exit Status:",
	(char *)"0; 124 on timeout; 125 on failure: then nothing is open or assigned; 128+N if",
	(char *)"signal N, which has a trap, ended the wait.",
	NULL,
};

struct builtin fdread_struct = {
	.name = (char *)"fdread",
	.function = fdread_builtin,
	.flags = BUILTIN_ENABLED | ARRAYREF_BUILTIN,
	.long_doc = fdread_doc,
	.short_doc = (char *)"fdread [options] SOCKET VAR...",
};
