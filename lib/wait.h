/* SPDX-License-Identifier: ISC
 *
 * Deadlines, waiting, signals. */
#ifndef WAIT_H
#define WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pollfd;

/* A deadline is a CLOCK_MONOTONIC time in milliseconds. */
#define NEVER ((int64_t)-1)
#define AT_ONCE ((int64_t)0)

/* The present time, as deadlines have it. */
int64_t now(void);

/* The deadline TIMEOUT milliseconds from now; NEVER for NEVER. */
int64_t deadline_in(int64_t timeout);

/* The earlier of two deadlines. */
int64_t sooner(int64_t a, int64_t b);

/* Milliseconds left, as poll(2) takes them: 0 when past, -1 for NEVER. */
int time_left(int64_t deadline);

/* Wait for EVENTS on FD. Returns what poll(2) saw. errno ETIMEDOUT at DEADLINE; as poll(2), but never EINTR. */
int await(int fd, short events, int64_t deadline);

/* poll(2) until DEADLINE, and the same result: 0 at DEADLINE; -1 for a signal, or for want of memory, after a pause. */
int await_any(struct pollfd *p, size_t count, int64_t deadline);

/* Sleep for MS milliseconds, not beyond DEADLINE, nor beyond a signal. */
void nap(int ms, int64_t deadline);

/* The next polling interval: PAUSE doubled, at most MOST. */
int longer(int pause, int most);

/* Does ERROR mean that descriptors or memory are lacking now, and may be free soon? */
bool out_of_resources(int error);

/* Block HUP, INT and TERM, and for a SERVICE also CHLD and USR1. Returns a descriptor, the caller's, that reads them
 * (signalfd(2)). -1: errno as signalfd(2). Signals that were ignored stay ignored; but a service takes INT and TERM,
 * which a shell ignores for what it starts with &. */
int signals_open(bool service);

/* The signals that fdrun passes on to COMMAND, and after them the others that end a process which does not catch them.
 * */
enum { SIGNALS_PASSED = 9, SIGNALS_ALL = 19 };
extern const int signals_all[SIGNALS_ALL];

/* Block COUNT signals SIG, but those that were ignored when the process started, and return a descriptor as
 * signals_open. */
int signals_open_these(const int *sig, size_t count);

/* Close SIGFD, unless it is -1, and unblock every signal. */
void signals_close(int sigfd);

/* The next pending signal; 0 when there is none. *TERMINAL: the terminal has sent it, to the whole foreground group. */
int signals_next(int sigfd);
int signals_next_from(int sigfd, bool *terminal);

#endif
