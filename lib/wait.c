/* SPDX-License-Identifier: ISC */
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t deadline_in(int64_t timeout)
{
	return timeout == NEVER ? NEVER : now() + timeout;
}

int64_t sooner(int64_t a, int64_t b)
{
	return a == NEVER || (b != NEVER && b < a) ? b : a;
}

int time_left(int64_t deadline)
{
	if (deadline == NEVER)
		return -1;
	int64_t left = deadline - now();
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

int await_any(struct pollfd *p, size_t count, int64_t deadline)
{
	int ready = poll(p, count, time_left(deadline));
	/* Kernel: ENOMEM, for more than fits its stack (do_sys_poll, fs/select.c). */
	if (ready == -1 && errno != EINTR)
		nap(100, NEVER);
	return ready;
}

int await(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};
	for (;;) {
		int ready = poll(&p, 1, time_left(deadline));
		if (ready > 0)
			return p.revents;
		if (ready == -1 && errno != EINTR)
			return -1;
		if (ready == 0 && time_left(deadline) == 0) {
			errno = ETIMEDOUT;
			return -1;
		}
	}
}

void nap(int ms, int64_t deadline)
{
	int left = time_left(deadline);
	if (left != -1 && left < ms)
		ms = left;
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

int longer(int pause, int most)
{
	return pause < most / 2 ? 2 * pause : most;
}

bool out_of_resources(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static bool ignored(int sig)
{
	struct sigaction sa;
	return sigaction(sig, NULL, &sa) == 0 && !(sa.sa_flags & SA_SIGINFO) && sa.sa_handler == SIG_IGN;
}

const int signals_all[SIGNALS_ALL] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGTSTP, SIGALRM,
                                 SIGPIPE, SIGABRT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT};

int signals_open_these(const int *sig, size_t count)
{
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		if (!ignored(sig[i]))
			sigaddset(&set, sig[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int signals_open(bool service)
{
	static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGCHLD, SIGUSR1};
	sigset_t set;
	sigemptyset(&set);
	for (int i = 0; i < (service ? 5 : 3); i++)
		if ((service && signals[i] != SIGHUP) || !ignored(signals[i]))
			sigaddset(&set, signals[i]);
	/* Kernel: a blocked signal is queued even if it is ignored (sig_ignored, kernel/signal.c), so signalfd reads the SIGINT
	 * of a background job. */
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void signals_close(int sigfd)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (sigfd != -1)
		close(sigfd);
}

int signals_next(int sigfd)
{
	bool terminal;
	return signals_next_from(sigfd, &terminal);
}

int signals_next_from(int sigfd, bool *terminal)
{
	struct signalfd_siginfo info = {0};
	ssize_t n;
	do
		n = read(sigfd, &info, sizeof info);
	while (n == -1 && errno == EINTR);
	/* Kernel: the terminal's signals go to the foreground process group (isig, drivers/tty/n_tty.c); only HUP, when it
	 * hangs up, goes to the leader of the session alone (tty_signal_session_leader, drivers/tty/tty_jobctrl.c). */
	*terminal = info.ssi_code == SI_KERNEL && (info.ssi_signo != SIGHUP || getsid(0) != getpid());
	return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}
