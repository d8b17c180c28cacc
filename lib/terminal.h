/* SPDX-License-Identifier: ISC */
/* A terminal that shows a pseudo-terminal. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

/* Bytes on their way. Kernel: a pseudo-terminal that is ready to be written (poll(2)) takes as many without waiting
 * (tty_buffer_alloc, drivers/tty/tty_buffer.c). */
struct flow {
	char data[1024];
	size_t start, end;
};

struct terminal {
	int in, out, master;    /* the caller's; IN is a terminal */
	bool raw;               /* IN is in raw mode, and was */
	struct termios before;  /* in this one */
	bool closed;            /* nothing more is typed */
	struct flow typed, shown;
};

/* Make a pseudo-terminal with the modes and the size of the terminal LIKE. Returns its master;
 * both it and *SLAVE are the caller's. */
int terminal_master(int like, int *slave);

/* If we are in the foreground: into raw mode, unless it is; pass on the window's size. */
void terminal_take(struct terminal *t);

/* Restore the modes that it had, unless others have the foreground now, and with it the say. */
void terminal_give_back(struct terminal *t);

enum { TERMINAL_POLLS = 4 };

/* Fill in what to poll; returns until when. In the foreground this takes the terminal. */
int64_t terminal_poll(struct terminal *t, struct pollfd p[TERMINAL_POLLS]);

/* Copy what poll(2) found. What is typed is read in raw mode only. False: the other side has hung up. */
bool terminal_copy(struct terminal *t, const struct pollfd p[TERMINAL_POLLS]);

/* Show what the other side has written so far. */
void terminal_finish(struct terminal *t);

#endif
