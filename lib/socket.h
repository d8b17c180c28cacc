/* SPDX-License-Identifier: ISC
 *
 * SOCKET. */
#ifndef SOCKET_H
#define SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct endpoint {
	enum { END_PATH, END_ABSTRACT, END_FD, END_EXEC } kind;
	const char *arg;        /* as the user wrote it, for messages */
	const char *text;       /* the path, the abstract name without @, the shell command */
	int type;               /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
	int fd;                 /* the open socket, -1 before; ours to close (fd:N as well) */
	bool listens;           /* fd is a listening socket; else connected, or a bound datagram one */
	bool bound;             /* we made the file at the path: */
	dev_t dev;
	ino_t ino;
	pid_t child;            /* exec: in a service, our child; else 0 */
	const struct rlimit *nofile; /* exec: what its child is to have, NULL for what we have */
};

const char *endpoint_parse(struct endpoint *at, const char *arg);

/* Open AT for connections or datagrams to come. The file has exactly MODE from the instant
 * that it exists; a stale socket file is replaced. fd:N and exec: may give a connected socket
 * instead. SERVICE: an exec: child is ours, to be ended by endpoint_close; else it is nobody's.
 * Returns 0. errno EADDRINUSE: somebody has the socket there; ENOTSOCK: the file there, or fd:N, is no
 * socket; ENAMETOOLONG: the path's last part is too long; ENOLCK: the file there is stale, and another's file
 * stands where its lock would. On -1 nothing is left behind. */
int endpoint_listen(struct endpoint *at, mode_t mode, int backlog, bool service);

/* Accept without waiting: where the listening socket is INHERITED, and blocking, without changing that.
 * FLAGS as accept4(2); close-on-exec in any case. errno EAGAIN: none there. */
int accept_now(int listening, bool inherited, int flags);

/* Try once to connect, without waiting. Returns 0. errno ENOENT, ECONNREFUSED: nobody there yet;
 * EAGAIN: the backlog is full; ENOTSOCK; EPROTOTYPE: another type of socket; EINVAL: fd:N listens. */
int endpoint_dial(struct endpoint *at, bool service);

/* Connect, trying again until WAIT while nobody is there, until DEADLINE while the backlog
 * is full. errno as above, ETIMEDOUT. */
int endpoint_connect(struct endpoint *at, int64_t wait, int64_t deadline);

/* Close the socket, and remove its file if that is still the one that we made. */
void endpoint_close(struct endpoint *at);

/* Was the socket given by the caller, so that its peer need not be checked? */
bool endpoint_given(const struct endpoint *at);

#endif
