/* SPDX-License-Identifier: ISC */
/* What fdrecv does for fdread, the builtin: give the descriptors to the shell that waits for this process. */
#include "env.h"
#include "fdrecv.h"
#include "messages.h"
#include "parse.h"
#include "rights.h"
#include "set.h"
#include "wait.h"

#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

const char *const fdread_about = "usage: fdread [options] SOCKET VAR...\n\n"
	"Receive open descriptors into this shell, and their numbers into VAR...\n"
	"Example: fdread connect:127.0.0.1:80 web && echo 'GET /' >&$web\n";

int shell_of(int *argc, char ***argv)
{
	static const char option[] = "--fdread=";
	long fd;
	if (*argc < 2 || strncmp((*argv)[1], option, sizeof option - 1) != 0)
		return -1;
	char *number = (*argv)[1] + sizeof option - 1;
	(*argv)[1] = (*argv)[0];
	++*argv;
	--*argc;
	struct pollfd p = {.events = 0};
	if (parse_number(&fd, number, 0, INT_MAX) || fcntl((int)fd, F_SETFD, FD_CLOEXEC) == -1)
		errx(FAILED, "--fdread is for the builtin of bash alone");
	p.fd = (int)fd;
	/* It may have ended already. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1 || poll(&p, 1, 0) != 0)
		errx(FAILED, "the shell has ended");
	return (int)fd;
}

int shell_give(int sock, const struct delivery *d, const char *object)
{
	struct env env;
	size_t sent = d->set.count < FDS_PER_MESSAGE ? d->set.count : FDS_PER_MESSAGE, n;
	if (env_open(&env) == -1 || env_begin(&env, 0, d->len) == -1)
		return say_failed(object);
	env_fds(&env, NULL, 0); /* so that there is a byte */
	env_delivery(&env, d);
	int result = rights_send_all(sock, d->set.fd, sent, env.text, env.used, AT_ONCE);
	for (; result == 0 && sent < d->set.count; sent += n) {
		n = d->set.count - sent < FDS_PER_MESSAGE ? d->set.count - sent : FDS_PER_MESSAGE;
		result = rights_send_all(sock, d->set.fd + sent, n, "", 1, AT_ONCE);
	}
	return result == 0 ? 0 : say_failed(object);
}
