/* SPDX-License-Identifier: ISC
 *
 * Telling that we are ready. */
#ifndef READY_H
#define READY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* s6's convention: a newline to FD, which is closed; a standard stream becomes /dev/null. FD -1: nothing to do. */
int ready_fd(int fd);

/* sd_notify(3): send STATE to NOTIFY_SOCKET where that is set. */
int ready_notify(const char *state);

/* -A FILE: where the addresses are written. All zero: nowhere. */
struct address_file {
	const char *path;       /* as the user wrote it */
	int fd;                 /* what is written in place, once it is open; -1 before */
	bool inherited;         /* it is the caller's: written to as it is, and never closed */
	bool in_place;          /* a FIFO or a device; else it is written aside and renamed: */
	bool ours;              /* and was: at PATH, unless others have replaced it, is */
	dev_t dev;              /* this file */
	ino_t ino;
	size_t written;         /* so much of the text, in place */
};

/* PATH is a file or an inherited descriptor: - or /dev/stdout, /dev/stderr, /dev/fd/N. */
const char *address_file_parse(struct address_file *f, const char *path);

/* Refuse what others may have made: symbolic links, another's file or FIFO. An old regular file is removed. */
const char *address_file_prepare(struct address_file *f);

/* Write TEXT. errno EAGAIN: no reader has the FIFO open, or it is full; try again with the same TEXT. EPIPE comes with
 * SIGPIPE. */
int address_file_write(struct address_file *f, const char *text);

/* Remove the file if it is still the one that was written aside. */
void address_file_remove(struct address_file *f);

#endif
