/* SPDX-License-Identifier: ISC
 *
 * SOCKET: a Unix socket that listens or is connected. */
#ifndef SOCKET_H
#define SOCKET_H

#include "fd.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rlimit;

struct endpoint {
	enum {
		END_PATH,
		END_ABSTRACT,
		END_FD,
		END_EXEC,
		END_INET        /* HOST:PORT, which address.h and dial.h open */
	} kind;
	const char *arg;        /* as the user wrote it, for messages */
	const char *text;       /* the path, the abstract name without @, or the shell command */
	int type;               /* SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET */
	int fd;                 /* the open socket, which endpoint_close closes; -1 before */
	bool listens;           /* fd is a listening socket; else it is connected, or a bound datagram socket */
	struct file file;       /* the socket file that we made at the path */
	bool service;           /* exec: the child stays ours, and endpoint_close ends it; else it is nobody's child */
	const struct rlimit *nofile; /* exec: the child's limit of descriptors; NULL for our own */
	pid_t child;            /* exec: of a service; else 0 */
};

/* Parse ARG, which must outlive AT. Returns NULL or the reason. */
const char *endpoint_parse(struct endpoint *at, const char *arg);

/* Open AT for connections or datagrams. A socket file has exactly MODE from the instant that it exists, and replaces
 * a stale one. fd:N and exec: may give a connected socket instead. Returns 0. errno EADDRINUSE: a socket is bound
 * there; ENOTSOCK: the file there, or fd:N, is no socket; EAFNOSUPPORT: fd:N is no Unix socket; ENAMETOOLONG: the
 * last part of the path is too long; ENOLCK: the file there is stale, but its lock's name is taken by another file.
 * On -1 nothing is left behind. */
int endpoint_listen(struct endpoint *at, mode_t mode, int backlog);

/* Try once to connect, without waiting. Returns 0. errno ENOENT, ECONNREFUSED: nobody listens there yet; EAGAIN: the
 * backlog is full; ENOTSOCK; EPROTOTYPE: a socket of another type; EINVAL: fd:N listens. */
int endpoint_dial(struct endpoint *at);

/* Connect, and try again until WAIT while nobody listens, and until DEADLINE while the backlog is full. WAIT 0: do
 * not wait. Returns 0. errno as endpoint_dial; ETIMEDOUT. */
int endpoint_connect(struct endpoint *at, int64_t wait, int64_t deadline);

/* Close the socket, unless it is an inherited standard stream, remove its file if it is still ours, and end the child
 * of a service. errno stays. It may be called again. */
void endpoint_close(struct endpoint *at);

/* Did the caller give the connected socket, so that its peer needs no check? */
bool endpoint_given(const struct endpoint *at);

#endif
