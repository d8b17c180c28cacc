/* SPDX-License-Identifier: ISC */
/* fdserve's parts: fdserve.c has the command line, and opens what the loop in fdserve_serve.c needs; fdserve_workers.c has
 * those that take the connections, fdserve_listeners.c -L, fdserve_keep.c -k, fdserve_lease.c --lease. */
#ifndef FDSERVE_H
#define FDSERVE_H

#include "cli.h"
#include "closer.h"
#include "command.h"
#include "door.h"
#include "fdserve_dispatch.h"
#include "jobs.h"
#include "listening.h"

struct pollfd;

/* The command line. */
struct options {
	struct cli cli;
	struct command command; /* argv NULL: a worker takes the connections */
	long jobs;
	long per_source;        /* -C, 0 for no limit */
	bool listen, plain;
	bool listener, nonblock, no_pid; /* -L --nonblock --no-pid */
	bool lease;
	bool keep;              /* -k */
	int64_t ready_after;    /* --ready-after */
	int64_t patience;
	struct listening addresses;
	struct endpoint worker;
};

/* After want of descriptors, memory or processes; between tries to reach a worker, at first and at most. */
enum { REST_MS = 100, ACCEPTS_MOST = 64, DIAL_MS = 10, DIAL_MOST_MS = 500 };

enum { QUIET_MS = 5 };  /* after the start of a command */

/* The state of the loop. */
struct server {
	struct options *o;
	int sigfd;
	struct door *doors;     /* one for each address */
	struct door workers;    /* -l: SOCKET's */
	struct closer closer;
	struct dispatch dispatch; /* to workers */
	struct jobs jobs;       /* -- COMMAND */
	struct share *sources;  /* -C: of connections that wait or run */
	int held;               /* -- COMMAND: accepted, and not to be started just now; or -1 */
	struct share *held_source;
	uid_t held_from;        /* whose it is; NOBODY for one from the network, which has no descriptor in its queue */
	bool told;              /* that no worker is there */
	bool told_share;        /* that a uid has all the workers that it may have */
	uid_t worker_uid;
	int64_t dial, give_up;  /* when to try the worker again, and to end for want of one */
	int pause;
	int64_t quiet;          /* signals and ends of commands wait until then for the next connection; 0: they do not */
	int64_t resting;        /* accept nothing before: out of descriptors, memory or processes */
	uint64_t accepted;
	bool stopping;          /* take nothing new */
	int64_t end_by;         /* --drain, then */
	size_t lost;            /* connections that were closed in the queues */
};

/* ---- fdserve_serve.c ---- */

/* Does a COMMAND of its own take each connection? */
bool runs_command(const struct server *s);

/* Can no connection come any more, or no worker? */
bool is_over(const struct server *s);

/* Serve until a signal, which is returned; 0 where no worker came in time, or nothing can come any more. */
int serve(struct server *s);

/* End: hand accepted connections to workers while there are any, and let commands finish; a second signal or --drain
 * ends all that. */
void finish(struct server *s);

/* Report the end by SIG, and connections that nobody took. */
void tell_end(const struct server *s, int sig);

/* ---- fdserve_workers.c ---- */

/* Try to reach the worker at SOCKET; says once why it cannot. */
void dial_worker(struct server *s);

/* -l: a worker connects. */
void accept_worker(struct server *s);

/* Handle the events of workers in P, which dispatch_poll and poll(2) have filled. */
void run_dispatch(struct server *s, const struct pollfd *p);

/* ---- fdserve_lease.c ---- */

/* --lease: keep the ports while COMMAND runs, and end as it ends. */
_Noreturn void lease_ports(struct options *o);

/* ---- fdserve_listeners.c ---- */

/* -L: hand the listening sockets themselves to COMMAND or to the receiver at SOCKET. Their files, if any, remain, since
 * other processes then serve them. Returns the exit status. */
int hand_over_listeners(struct options *o);

/* ---- fdserve_keep.c ---- */

/* -L -k: run COMMAND with the listening sockets, which are open, and its successors. Returns the exit status. */
int keep_command(struct options *o);

#endif
