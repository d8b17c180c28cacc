/* SPDX-License-Identifier: ISC
 *
 * -A FILE, where a tool writes the addresses at which it listens; --message-to FILE of fdrecv. */
#ifndef ADDRESS_FILE_H
#define ADDRESS_FILE_H

#include "fd.h"

#include <stddef.h>
#include <stdint.h>

/* All zero: none. */
struct address_file {
	const char *path;       /* as the user wrote it */
	enum {
		FILE_RENAMED,   /* a new file, written aside and renamed to PATH */
		FILE_IN_PLACE,  /* a FIFO or a device */
		FILE_INHERITED  /* the caller's descriptor, which is never closed */
	} kind;
	int fd;                 /* where the text goes, once it is open; -1 before */
	struct file file;       /* the file that was renamed to PATH */
	size_t written;         /* so many bytes of the text */
};

/* Parse PATH, which must outlive F: a file, or for an inherited descriptor - or /dev/stdout, /dev/stderr, /dev/fd/N.
 * Returns NULL or the reason. */
const char *address_file_parse(struct address_file *f, const char *path);

/* Remove an old regular file; reject what others may have made: a symbolic link, another user's file or FIFO. Returns
 * NULL or the reason. */
const char *address_file_prepare(struct address_file *f);

/* Write LEN bytes of TEXT, without waiting. Returns 0. errno EAGAIN: no reader has the FIFO open, or it is full; call
 * again with the same TEXT. ESTALE: another file has replaced the FIFO or device. EPIPE comes with SIGPIPE. */
int address_file_write(struct address_file *f, const char *text, size_t len);

/* Write LEN bytes of TEXT, without SIGPIPE. Waits for the reader of a FIFO until DEADLINE, or for HUP, INT or TERM on SIGFD
 * (-1: for none), and then returns the signal; errno ETIMEDOUT. Returns 0; otherwise errno as above. */
int address_file_finish(struct address_file *f, const char *text, size_t len, int sigfd, int64_t deadline);

/* Remove the file if it is still the one that was renamed to PATH. */
void address_file_remove(struct address_file *f);

#endif
