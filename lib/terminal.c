/* SPDX-License-Identifier: ISC */
/* A terminal that shows a pseudo-terminal: it is raw meanwhile, bytes go both ways, the window's size follows. */
#include "terminal.h"

#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	STUCK_MS = 2000,        /* so long a terminal may take nothing of what COMMAND wrote last */
	FINISH_MS = 3000,       /* and so long processes that COMMAND has left may go on writing */
	LOOK_MS = 200,          /* in the background */
};

/* Is the terminal ours to change? Kernel: ENOTTY for one that does not control our session, where no shell decides. */
static bool foreground(int terminal)
{
	pid_t group = tcgetpgrp(terminal);
	return group == getpgrp() || (group == -1 && errno == ENOTTY);
}

/* Give the terminal TO the window's size of FROM; for a master, the kernel sends WINCH to the other side's group. */
static void resize(int from, int to)
{
	struct winsize size;
	if (ioctl(from, TIOCGWINSZ, &size) == 0)
		ioctl(to, TIOCSWINSZ, &size);
}

int terminal_master(int like, int *slave)
{
	struct termios modes;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	/* Kernel: this opens the slave wherever devpts is mounted, or not (TIOCGPTPEER, ioctl_tty(2)). */
	if (master == -1 || grantpt(master) == -1 || unlockpt(master) == -1 ||
	    (*slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) == -1)
		return -1;
	/* In the background its modes are the shell's. */
	if (foreground(like) && tcgetattr(like, &modes) == 0)
		tcsetattr(*slave, TCSANOW, &modes);
	resize(like, master);
	return master;
}

void terminal_take(struct terminal *t)
{
	if (!foreground(t->in))
		return;
	resize(t->in, t->master);
	if (t->raw || tcgetattr(t->in, &t->before) == -1)
		return;
	struct termios modes = t->before;
	cfmakeraw(&modes);
	t->raw = tcsetattr(t->in, TCSANOW, &modes) == 0;
}

void terminal_give_back(struct terminal *t)
{
	if (t->raw && foreground(t->in))
		tcsetattr(t->in, TCSANOW, &t->before);
	t->raw = false;
}

/* ---- bytes ---- */

/* Read from FD into F, which is empty. False: there will be no more. */
static bool fill(struct flow *f, int fd)
{
	ssize_t n = read(fd, f->data, sizeof f->data);
	f->start = 0;
	f->end = n > 0 ? (size_t)n : 0;
	return n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR));
}

/* Write of F what FD takes. What it will never take is lost: the terminal, or COMMAND's side of it, is gone. */
static void drain(struct flow *f, int fd)
{
	ssize_t n = write(fd, f->data + f->start, f->end - f->start);
	if (n > 0)
		f->start += (size_t)n;
	else if (n == -1 && errno != EAGAIN && errno != EINTR)
		f->start = f->end;
}

static bool empty(const struct flow *f)
{
	return f->start == f->end;
}

int64_t terminal_poll(struct terminal *t, struct pollfd p[TERMINAL_POLLS])
{
	if (!t->raw)
		terminal_take(t);
	p[0] = (struct pollfd){.fd = t->raw && !t->closed && empty(&t->typed) ? t->in : -1, .events = POLLIN};
	p[1] = (struct pollfd){.fd = empty(&t->typed) ? -1 : t->master, .events = POLLOUT};
	p[2] = (struct pollfd){.fd = empty(&t->shown) ? t->master : -1, .events = POLLIN};
	p[3] = (struct pollfd){.fd = empty(&t->shown) ? -1 : t->out, .events = POLLOUT};
	/* Nothing tells a process that it has come into the foreground: a shell sends CONT only to one that was
	 * stopped. */
	return t->raw ? NEVER : deadline_in(LOOK_MS);
}

bool terminal_copy(struct terminal *t, const struct pollfd p[TERMINAL_POLLS])
{
	if (p[0].fd != -1 && p[0].revents)
		t->closed = !fill(&t->typed, t->in);
	if (p[1].fd != -1 && p[1].revents)
		drain(&t->typed, t->master);
	if (p[3].fd != -1 && p[3].revents)
		drain(&t->shown, t->out);
	/* Kernel: EIO once the last copy of the slave is closed (pty(7)). */
	return p[2].fd == -1 || !p[2].revents || fill(&t->shown, t->master);
}

void terminal_finish(struct terminal *t)
{
	struct pollfd p = {.fd = t->master, .events = POLLIN};
	int64_t until = deadline_in(FINISH_MS);
	do
		while (!empty(&t->shown) && await(t->out, POLLOUT, sooner(until, deadline_in(STUCK_MS))) != -1)
			drain(&t->shown, t->out);
	while (empty(&t->shown) && time_left(until) && poll(&p, 1, 0) == 1 && fill(&t->shown, t->master));
}
