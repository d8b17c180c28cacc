/* SPDX-License-Identifier: ISC
 *
 * Deadlines, waiting, signals. */
#ifndef WAIT_H
#define WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Deadlines are CLOCK_MONOTONIC milliseconds; NEVER is none. */
#define NEVER ((int64_t)-1)
#define AT_ONCE ((int64_t)0)

int64_t now(void);

/* TIMEOUT milliseconds from now; NEVER for NEVER. */
int64_t deadline_in(int64_t timeout);

/* Does ERROR say that this process or the system has too much already, and may have less soon? */
bool out_of_resources(int error);

/* The earlier of two deadlines. */
int64_t sooner(int64_t a, int64_t b);

/* Milliseconds left, as poll(2) takes them: 0 when past, -1 for NEVER. */
int time_left(int64_t deadline);

/* Wait for EVENTS on FD. Returns what poll(2) saw. errno ETIMEDOUT; never EINTR. */
int await(int fd, short events, int64_t deadline);

/* Sleep for MS milliseconds, not beyond DEADLINE. */
void nap(int ms, int64_t deadline);

/* How long to wait after PAUSE, for what no event tells of: twice as long, MOST at most. */
int longer(int pause, int most);

struct pollfd;

/* poll(2) until DEADLINE. Returns as it does; where it failed for want of memory, after a rest. */
int await_any(struct pollfd *p, size_t count, int64_t deadline);

/* Block HUP, INT and TERM, and for a SERVICE CHLD and USR1 also, and return a descriptor
 * (signalfd(2)) that reads them; the caller closes it. A one-shot tool leaves alone what was
 * ignored when it started; a service takes INT and TERM whatever a shell's & made of them,
 * and leaves only an ignored HUP (nohup) alone. */
int signals_open(bool service);

/* Close that, unless -1, and let every signal through again. */
void signals_close(int sigfd);

/* The next pending signal, 0 when there is none. */
int signals_next(int sigfd);

#endif
