/* SPDX-License-Identifier: ISC
 *
 * Messages on standard error, one line each, and the end of a process. Where a message is about a failure, the function
 * returns, or exits with, the exit status: 124 for ETIMEDOUT, else 125. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cli;
struct endpoint;
struct peer;
struct set;

/* The text for ERROR, a value of errno; fdkit's own where that is clearer. */
const char *reason(int error);

/* The plural ending of a noun after N. */
const char *plural(uint64_t n);

/* Report an event, unless -q is given. */
void say(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Report an event if -v is given. */
void note(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* If -v is given, write into TEXT how many descriptors SET has, and the name and the kind of each, as many as it has room
 * for. FROM: the uid that passed them. No call here waits for a descriptor. Returns TEXT. */
enum { SHOWN_MOST = 8192 };
const char *show_set(const struct cli *c, const struct set *set, uid_t from, char text[SHOWN_MOST]);

/* If -v is given, report that SET, our own, was sent over SOCK, and to whom. */
void note_sent(const struct cli *c, const char *object, const struct set *set, int sock);

/* Report OBJECT and the reason from errno. */
int say_failed(const char *object);

/* The same, and exit. */
_Noreturn void fail(const char *object);

/* Report that connecting to the SOCKET OBJECT failed, and what may help. */
int say_unconnected(const char *object);

/* The same for listening there; HINT helps if another process listens. */
int say_not_listening(const char *object, const char *hint);

/* The same as fail after copying failed at SIDE (copy.h): 0, 1 or OBJECT. Dies of SIGPIPE if standard output has no
 * reader; the status is 125 for ETIMEDOUT, too. */
_Noreturn void fail_copy(int side, const char *object);

/* Report that the peer of AT closed WITHOUT something, and its uid if its -a may be the reason. */
int say_closed(const struct endpoint *at, const char *without);

/* Report that PEER is not allowed at OBJECT. */
void say_refused(const struct cli *c, const char *object, const struct peer *peer);

/* Report why door_accept failed at OBJECT, if errno says what concerns the user: PEER is not allowed, or the socket
 * accepts no more. */
void say_not_accepted(const struct cli *c, const char *object, const struct peer *peer);

/* Report that UID is over its quota. */
void say_excess(const struct cli *c, const char *object, uid_t uid);

/* Report that a service that ends waits for so many COMMANDS, if any. */
void say_waiting(const struct cli *c, const char *object, size_t commands);

/* Report that it sent SIGNAL to so many, if any. */
void say_ended(const struct cli *c, const char *object, size_t commands, const char *signal);

/* Is the peer of AT, a connected SOCKET, allowed? If not, WHY gets the reason. A peer that the caller gave, and the
 * receiver of a datagram, is not checked. */
bool peer_fits(const struct cli *c, const struct endpoint *at, char *why, size_t size);

/* End with 125 if not. */
void check_peer(const struct cli *c, const struct endpoint *at);

/* The name of HUP, INT or TERM, with SIG. */
const char *signal_name(int sig);

/* Die of SIG with its default action. */
_Noreturn void die_of(int sig);

#endif
