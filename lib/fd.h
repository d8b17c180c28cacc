/* SPDX-License-Identifier: ISC
 *
 * Small services for one descriptor or one file. */
#ifndef FD_H
#define FD_H

#include <sys/types.h>

/* Close FD, unless it is -1, and keep errno. Returns -1, for the caller to return. */
int fd_drop(int fd);

/* The int value of the socket option NAME of level SOL_SOCKET. Returns -1 on failure; errno as getsockopt(2). */
int fd_option(int fd, int name);

/* A file that we made, by its identity. All zero: none. */
struct file {
	dev_t dev;
	ino_t ino;
};

/* Remove PATH, unless F is not the file there any more, and keep errno. F becomes none. */
void file_remove(struct file *f, const char *path);

#endif
