/* SPDX-License-Identifier: ISC
 *
 * ADDRESS: a listening socket, or a bound UDP socket. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct addrinfo;

/* The parts of HOST:PORT, in the memory of the argument. */
struct inet {
	char *host, *port;
	bool wildcard;          /* HOST is empty or *: every address of the machine */
	bool numeric;           /* HOST is an IPv6 address in brackets */
};

/* Split ARG, which changes and must outlive INET. Returns NULL or the reason. */
const char *inet_split(struct inet *inet, char *arg);

struct listener {
	const char *arg;        /* as the user wrote it */
	struct endpoint at;     /* the socket: fd, kind and type for every ADDRESS, the rest for unix: and fd: */
	bool local;             /* a Unix socket, so its peers can be checked; for fd:N known once it is open */
	bool wildcard;          /* HOST:PORT: every address of the machine */
	struct addrinfo *found; /* HOST:PORT: the addresses, until listener_close */
};

/* Parse ARG, which must outlive L, and look up its names. Nothing is bound yet. Returns NULL or the reason. */
const char *listener_parse(struct listener *l, const char *arg);

/* Bind and listen; the socket is non-blocking, unless it is inherited. MODE: of a socket file. Returns NULL or the
 * reason. */
const char *listener_open(struct listener *l, mode_t mode, int backlog);

/* Write the address that L is bound to into BUF, which has LEN bytes, as -A shows it: HOST:PORT, [::1]:PORT, *:PORT,
 * unix:PATH, or udp: before one. Returns 0. errno EAFNOSUPPORT: it is of another family; ENAMETOOLONG: it does not
 * fit. */
int listener_name(const struct listener *l, char *buf, size_t len);

/* Make a listening socket blocking that we opened and others will have, as systemd does. Returns 0; errno as fcntl(2). */
int listener_blocking(const struct listener *l);

/* How many connections may be in the queue of a socket that is only ours; 0 for an inherited one. */
size_t listener_queue(const struct listener *l);

/* As endpoint_close; also frees what listener_parse looked up. */
void listener_close(struct listener *l);

#endif
