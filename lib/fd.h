/* SPDX-License-Identifier: ISC
 *
 * Small services for one descriptor or one file. */
#ifndef FD_H
#define FD_H

#include <stdbool.h>
#include <sys/types.h>

struct stat;

/* Close FD, unless it is -1, and keep errno. Returns -1, for the caller to return. */
int fd_drop(int fd);

/* The int value of the socket option NAME of level SOL_SOCKET. Returns -1 on failure; errno as getsockopt(2). */
int fd_option(int fd, int name);

/* A file by its identity. All zero: no file. */
struct file {
	dev_t dev;
	ino_t ino;
};

struct file file_of(const struct stat *st);

/* Is F the file that ST describes? */
bool file_is(const struct file *f, const struct stat *st);

/* Is F the file at PATH? A symbolic link is not followed. */
bool file_is_at(const struct file *f, const char *path);

/* Remove PATH if F is there, and keep errno. F becomes no file. */
void file_remove(struct file *f, const char *path);

#endif
