/* SPDX-License-Identifier: ISC
 *
 * Accepting connections, and limiting the share of each uid or address. */
#ifndef DOOR_H
#define DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct allow;
struct closer;
struct endpoint;
struct peer;

enum {
	CONNECTIONS_OF_UID = 1024,      /* at once */
	BYTES_OF_UID = 4 << 20,         /* that came and are no whole record yet */
};

/* A listening socket. */
struct door {
	int fd;                         /* borrowed; -1: it is gone */
	bool inherited;
	int flags;                      /* of accepted connections, as accept4(2): SOCK_NONBLOCK unless changed */
	const struct allow *allow;      /* NULL: anybody */
	struct closer *closer;
	int64_t resting;                /* accept nothing before: out of descriptors or memory */
	struct refusal {
		uid_t uid;
		int64_t until;
	} refused[16];                  /* reported, and not again for a while */
};

/* AT is open and listens. */
void door_open(struct door *d, const struct endpoint *at, const struct allow *allow, struct closer *closer);

/* Accept nothing for 100 ms: descriptors or memory are lacking. */
void door_rest(struct door *d);

/* Does it rest? */
bool door_rests(struct door *d);

/* Accept without waiting. PEER is who it is, where that is asked. The connection is the caller's. On -1 errno is
 * EACCES: PEER was refused; report it (once in ten seconds for a uid); ESHUTDOWN: the socket accepts no more
 * (once: D->fd is -1 from here on); EAGAIN: none there; ECONNABORTED: look again, there may be more. */
int door_accept(struct door *d, struct peer *peer);

/* As endpoint_close, without waiting for what may be in AT's queue. */
void door_close(struct endpoint *at, struct closer *closer);

/* Is the refusal of UID to report? True once in ten seconds; never for a 17th uid while 16 are refused. */
bool door_tells(struct door *d, uid_t uid);

/* Where a connection comes from: a uid, or an address without its port. */
struct source {
	unsigned char bytes[17];
};

struct source source_of_uid(uid_t uid);

/* Of a TCP connection. No other process can hold this up. */
struct source source_of_address(int sock);

/* The connections, descriptors and bytes that one source has here. */
struct share {
	struct share *next;
	struct source source;
	size_t connections, fds, bytes;
	size_t owed;                    /* acknowledgements that its workers owe, */
	uint64_t turn;                  /* and when one of them was last given something */
	bool told;                      /* its excess was reported */
};

/* How many descriptors one uid may take up, by connections and unfinished sets: a quarter of our limit. */
size_t share_of_uid(void);

/* How many connections: as many, CONNECTIONS_OF_UID at most. */
size_t connections_of_uid(void);

/* The share of SOURCE, NULL if it has none. */
struct share *share_find(struct share *shares, struct source source);

/* Count one connection more of SOURCE. Returns its share, which stays until it has no connection. On failure (ENOMEM) NULL. */
struct share *share_join(struct share **shares, struct source source);

/* One connection less. */
void share_leave(struct share **shares, struct share *share);

/* Has it more than LIMIT connections and descriptors together, or than the figures above? LIMIT 0: no limit. */
bool share_exceeds(const struct share *s, size_t limit);

/* Is its EXCESS to be reported? Once, until it has less than half again. */
bool share_reports(struct share *s, size_t limit, bool excess);

#endif
