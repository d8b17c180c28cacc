/* SPDX-License-Identifier: ISC */
/* fdrecv without COMMAND: copy the data of what came. */
#include "copy.h"
#include "fdrecv.h"
#include "messages.h"
#include "set.h"
#include "terminal.h"
#include "wait.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* --raw: show the pseudo-terminal MASTER on our terminal until its other side has hung up. */
static void show(int master)
{
	struct terminal t = {.in = 0, .out = 1, .master = master};
	int sigfd = signals_open_these(signals_all, SIGNALS_ALL), sig = 0;
	for (bool more = true; more;) {
		struct pollfd p[1 + TERMINAL_POLLS] = {{.fd = sigfd, .events = POLLIN}};
		int64_t until = terminal_poll(&t, p + 1);
		if (await_any(p, 1 + TERMINAL_POLLS, until) <= 0)
			continue;
		more = terminal_copy(&t, p + 1);
		sig = p[0].revents ? signals_next(sigfd) : 0;
		if (sig == SIGWINCH || sig == SIGCONT)
			terminal_take(&t);
		else if (sig)
			terminal_give_back(&t);
		if (sig == SIGTSTP)
			kill(getpid(), SIGSTOP);
		else if (sig && sig != SIGWINCH && sig != SIGCONT)
			die_of(sig);
	}
	terminal_finish(&t);
	terminal_give_back(&t);
	signals_close(sigfd);
}

int copy_received(struct delivery *d, bool raw, const char *object)
{
	int side;
	char slave[32];
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < d->set.count; i++)
		if (raw && ptsname_r(d->set.fd[i], slave, sizeof slave) == 0 && copy_possible(0, 1, &side) == 0)
			show(d->set.fd[i]);
		else if (copy_by_kind(d->set.fd[i], 0, 1, &side) == -1)
			fail_copy(side, object);
	set_close(&d->set);
	return 0;
}
