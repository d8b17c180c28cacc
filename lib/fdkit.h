/* SPDX-License-Identifier: ISC
 *
 * fdkit's library: what its commands share. It never prints and never exits.
 * Functions return -1 and errno, parsers return NULL or the reason as a
 * constant string. "Kernel:" marks a fact of Linux that the code leans on, with
 * its source.
 */
#ifndef FDKIT_H
#define FDKIT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>

#define FDKIT_VERSION "0.1"

/* ---- rights.c: descriptors as ancillary data ---- */

enum {
	FDS_PER_MESSAGE = 253,  /* Kernel: SCM_MAX_FD, include/net/scm.h; one more is EINVAL */
	MESSAGE_MAX = 32768,    /* bytes beside descriptors: Kernel: one skb, so it arrives whole
	                           (unix_stream_sendmsg splits above 48 KiB, measured on 6.18) */
};

/* A growing set of descriptors that its holder owns. All zero is the empty set. */
struct fds {
	int *fd;
	size_t count, room;
};

/* Who sent: pid 0 stands for unknown. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* Append FD. On -1 (ENOMEM) FD is still the caller's. */
int fds_add(struct fds *set, int fd);

/* Append the first COUNT of FROM, which loses them. On -1 (ENOMEM) those that did not fit are closed. */
int fds_move(struct fds *to, struct fds *from, size_t count);

/* Close all but the first KEEP descriptors. */
void fds_trim(struct fds *set, size_t keep);

/* Close all and free the memory; the set is empty afterwards. */
void fds_free(struct fds *set);

/* Send COUNT (at most FDS_PER_MESSAGE) descriptors of the caller's, which stay the
 * caller's, with LEN > 0 bytes in one message, without waiting. Returns the number of
 * bytes sent: on a stream it can be less than LEN, and then the descriptors went with
 * the first part. errno as sendmsg(2): EAGAIN a full queue, ETOOMANYREFS too many
 * descriptors in flight (backpressure too), EPIPE the peer is gone; never EINTR, no SIGPIPE. */
ssize_t rights_send(int sock, const int *fd, size_t count, const void *data, size_t len);

/* The same, waiting until all is sent. errno ETIMEDOUT: not by DEADLINE. */
int rights_send_all(int sock, const int *fd, size_t count, const void *data, size_t len,
                    int64_t deadline);

/* Receive one message without waiting: up to LEN bytes into DATA, its descriptors appended
 * to SET, close-on-exec from the first instant. Returns the number of bytes, 0 at end of
 * file. FROM, where not NULL, is overwritten if the message carries credentials (SO_PASSCRED).
 * errno EAGAIN: nothing there. EMFILE: some descriptors did not fit this process (Kernel:
 * MSG_CTRUNC, net/core/scm.c; a security module's refusal looks the same); those that did are
 * in SET, and a NUL ends the bytes in DATA if they are fewer than LEN. Never EINTR, nor
 * ECONNRESET: what the peer sent comes first, and then end of file. */
ssize_t rights_receive(int sock, struct fds *set, void *data, size_t len, struct peer *from);

/* The same, but with ECONNRESET, once, where the peer closed and left bytes of ours unread. Kernel: on a seqpacket
 * socket it comes before what is in the queue (unix_dgram_recvmsg). */
ssize_t rights_read(int sock, struct fds *set, void *data, size_t len, struct peer *from);

/* The same for a process that shares its parent's memory, of a message that a rights_send of ours sent: its descriptors
 * alone, MOST at most, into FD. Returns how many, or minus errno's value; errno stays. After a failure some may be open. */
long rights_take(int sock, int *fd, size_t most);

/* Is there a message to receive, with bytes or with descriptors alone? Kernel: a peek without room for
 * control data installs no descriptor, and MSG_CTRUNC says that there is one. */
bool rights_waiting(int sock);

/* ---- closer.c: closing what may block ---- */

#define NOBODY ((uid_t)-1) /* Kernel: no uid (uid_valid) */

/* All zero: nothing to close, nothing started. A process that was forked has one of its own from then on. */
struct closer {
	struct closing *shared;
	pid_t supervisor;
};

/* Close FD, which is the closer's from here on, without ever waiting for it. FROM is the uid that had a hand in it,
 * NOBODY where that is unknown. A TCP socket without SO_LINGER, from our own uid or root, is closed at once, all else
 * by a helper process. Where there can be no helper, it is closed at once; where too many wait, it stays open. errno stays. */
void closer_close(struct closer *c, int fd, uid_t from);

/* The same for all of SET but the first KEEP. */
void closer_trim(struct closer *c, struct fds *set, size_t keep, uid_t from);

/* Close SOCK, a connected Unix socket that we accepted: at once if its queue is empty. */
void closer_hang_up(struct closer *c, int sock, uid_t from);

/* Before exec: wait, MS at most, until no number that the closer has is in our table, and leave to the helpers that are
 * stuck a table of their own, so that they keep nothing open that is COMMAND's, and are none of its children. */
void closer_wait(struct closer *c, int ms);

/* The tool ends, and has closed what is its own and unlinked its files. If helpers were used, or it HELD strangers'
 * descriptors, these helpers close every number of the table, so that peers see end of file and standard streams end
 * though one is stuck for ever. Returns after half a second at most; then exit at once: no descriptor is open. */
void closer_end(struct closer *c, bool held);

/* ---- wait.c: deadlines, waiting, signals ---- */

/* Deadlines are CLOCK_MONOTONIC milliseconds; NEVER is none. */
#define NEVER ((int64_t)-1)

int64_t now(void);

/* TIMEOUT milliseconds from now; NEVER for NEVER. */
int64_t deadline_in(int64_t timeout);

/* Does ERROR say that this process or the system has too much already, and may have less soon? */
bool out_of_resources(int error);

/* The earlier of two deadlines. */
int64_t sooner(int64_t a, int64_t b);

/* Milliseconds left, as poll(2) takes them: 0 when past, -1 for NEVER. */
int time_left(int64_t deadline);

/* Wait for EVENTS on FD. Returns what poll(2) saw. errno ETIMEDOUT; never EINTR. */
int await(int fd, short events, int64_t deadline);

/* Sleep for MS milliseconds, not beyond DEADLINE. */
void nap(int ms, int64_t deadline);

/* How long to wait after PAUSE, for what no event tells of: twice as long, MOST at most. */
int longer(int pause, int most);

struct pollfd;

/* poll(2) until DEADLINE. Returns as it does; where it failed for want of memory, after a rest. */
int await_any(struct pollfd *p, size_t count, int64_t deadline);

/* Block HUP, INT and TERM, and for a SERVICE CHLD and USR1 also, and return a descriptor
 * (signalfd(2)) that reads them; the caller closes it. A one-shot tool leaves alone what was
 * ignored when it started; a service takes INT and TERM whatever a shell's & made of them,
 * and leaves only an ignored HUP (nohup) alone. */
int signals_open(bool service);

/* Close that, unless -1, and let every signal through again. */
void signals_close(int sigfd);

/* The next pending signal, 0 when there is none. */
int signals_next(int sigfd);

/* ---- peer.c: who is on the other side, and may they ---- */

/* Whom to deal with besides root and the own effective uid. All zero: nobody. */
struct allow {
	bool any;
	uid_t *uid;
	gid_t *gid;
	size_t uids, gids;
};

/* Add what the list WHO,... names. */
const char *allow_parse(struct allow *allow, const char *list);

/* Allow whom FROM allows as well. */
int allow_join(struct allow *to, const struct allow *from);

/* Who connected, or who listens (Kernel: unix(7) SO_PEERCRED, fixed at connect and listen). */
int peer_of(int sock, struct peer *peer);

/* Does UID show for all those that our user namespace does not map? Then no rule but any lets it in. */
bool uid_unmapped(uid_t uid);

/* Is UID root's or our effective one? */
bool uid_trusted(uid_t uid);

/* May we deal with PEER? SOCK, where not -1, tells its supplementary groups (SO_PEERGROUPS). */
bool peer_allowed(const struct allow *allow, const struct peer *peer, int sock);

/* Both at once, for a connected SOCK: PEER is who it is, all zero if that cannot be told. */
bool peer_admitted(const struct allow *allow, int sock, struct peer *peer);

/* Whom to be once what only root may open is open. All zero: whoever we are. */
struct user {
	bool given;
	const char *name;       /* whose supplementary groups, NULL for none */
	uid_t uid;
	gid_t gid;
};

/* USER, a name or a uid, or USER:GROUP; a uid that nobody has needs a GROUP. */
const char *user_parse(struct user *user, char *arg);

/* Be USER from here on, with no way back. errno EPERM: we are not root. On -1 the process is neither
 * one nor the other: exit. */
int user_become(const struct user *user);

/* ---- parse.c: the words in arguments ---- */

/* A descriptor, a name, or both: N is -1 where only the name is given. NAME is NULL or owned. */
struct fdword {
	char *name;
	int fd;
};
struct fdlist {
	struct fdword *word;
	size_t count, room;
};

const char *parse_number(long *out, const char *arg, long min, long max);

/* The other way round, without a NUL, into NUMBER_ROOM bytes. Returns the length. */
enum { NUMBER_ROOM = 20 };
size_t format_number(char *text, uint64_t n);

/* Length of the character at TEXT, which has LEFT > 0 bytes: 0 for one that must not reach a terminal, a control
 * character (C0, DEL, C1) or no UTF-8. */
size_t printable_length(const char *text, size_t left);

/* Overwrite each such byte with a question mark: before text that a peer sent is shown. */
void printable(char *text, size_t len);

const char *parse_time(int64_t *ms, const char *arg);   /* TIME, rounded up to milliseconds */
const char *parse_mode(mode_t *mode, const char *arg);  /* octal, 0 to 0777 */
const char *parse_name(const char *name);
const char *parse_type(int *type, const char *arg);     /* stream, dgram, seqpacket: SOCK_... */

/* Append N, N-M, NAME=N or, where BARE, NAME: a comma separates several. */
const char *parse_fdlist(struct fdlist *list, const char *arg, bool bare);

/* NULL if no name and, where NUMBERS, no number stands there twice; else the reason, and in *NAME the name,
 * which stays the list's, or NULL. */
const char *fdlist_repeats(const struct fdlist *list, bool numbers, const char **name);

/* ---- socket.c: SOCKET ---- */

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

/* ---- address.c: ADDRESS ---- */

/* A listening socket for connections from the network, or on a Unix socket; or a bound UDP one. */
struct addrinfo;

struct listener {
	const char *arg;        /* as the user wrote it */
	struct endpoint at;     /* .fd is the socket in every case; the rest for unix: and fd: */
	bool local;             /* a Unix socket: its peers can be checked */
	bool wildcard;          /* every address of the machine */
	struct addrinfo *found; /* what HOST:PORT resolved to */
};

/* Parse, and resolve names: nothing is bound yet. */
const char *listener_parse(struct listener *l, const char *arg);

/* Bind and listen. On failure returns the reason (a constant string: from getaddrinfo or errno). */
const char *listener_open(struct listener *l, mode_t mode, int backlog);

/* The address really bound, as -A writes it: HOST:PORT, [::1]:PORT, *:PORT, unix:PATH. errno EAFNOSUPPORT: it is of
 * another family; ENAMETOOLONG: LEN bytes do not hold it. */
int listener_name(const struct listener *l, char *buf, size_t len);

/* Make a listening socket that we opened, and which others will have, blocking: as systemd's are. */
int listener_blocking(const struct listener *l);

/* Connections in the queue of a socket that is only ours, at most; 0 for an inherited one.
 * Kernel: a listening socket's tcpi_unacked is its queue's length (tcp_get_info, net/ipv4/tcp.c). */
size_t listener_queue(const struct listener *l);

void listener_close(struct listener *l);

/* ---- record.c: the record form ---- */

enum {
	RECORD_MAX = MESSAGE_MAX,       /* bytes of a line with its newline */
	RECORDS_ROOM = 2 * RECORD_MAX,
	SET_TEXT_MAX = 8192,            /* bytes of text that a set may have */
};

/* A set of descriptors, and what came with it. Whoever receives one owns it, and ends it with
 * delivery_free. */
struct delivery {
	struct fds fds;
	char *text;                     /* the bytes that came with the first message, LEN of them */
	size_t len;
	char **name;                    /* NULL, or a name or NULL for each of FDS: */
	size_t names;                   /* so many */
	struct peer peer;               /* who sent; pid 0: not known (exec:) */
	int error;                      /* INBOX_FAILED: errno */
	int request;                    /* INBOX_REQUEST: RECORD_GET, RECORD_LIST or RECORD_DROP of NAME */
	uint64_t id;                    /* record form: an answer is wanted, see inbox_answer */
	uint64_t connection;            /* its serial number */
	int sock;                       /* its socket, still the inbox's */
};

void delivery_free(struct delivery *d);

struct closer;

/* The same, but C closes its descriptors, for its sender. */
void delivery_close(struct delivery *d, struct closer *c);

/* One line. What it points to is the caller's when writing, the stream's when reading. */
struct record {
	enum record_word {
		RECORD_SET,      /* descriptors: fds, names, text, more, id */
		RECORD_TAKEN,    /* the set ID is taken */
		RECORD_REFUSED,  /* it is not, and why */
		RECORD_HELLO,    /* a dispatcher asks a worker how much it takes */
		RECORD_SLOTS,    /* a worker takes N sets more */
		RECORD_DONE,     /* what the set ID started has ended: one set more */
		RECORD_GET,      /* fdhold: a set, please, of NAMES or, without, of all */
		RECORD_LIST,     /* fdhold: an entry for each, please */
		RECORD_DROP,     /* fdhold: close what NAMES names */
		RECORD_ENTRY,    /* fdhold: one entry, in TEXT */
	} word;
	size_t fds, slots;
	uint64_t id;            /* 0: no answer wanted */
	bool more;              /* the set goes on in the next record */
	const char *names;      /* separated by commas, empty where a descriptor has none */
	const char *text;       /* TEXT_LEN bytes */
	size_t text_len;
	const char *why;
};

/* What has come on a stream and is not read yet. All zero is empty. */
struct records {
	char *data;
	size_t start, end;
	struct fds fds;
};

/* Do these first bytes of a connection begin a record? */
bool is_record(const char *data, size_t len);

/* Could they, once more have come? */
bool may_be_record(const char *data, size_t len);

/* Write R into LINE, which has room for SIZE bytes. Returns the length; errno EMSGSIZE. */
ssize_t record_format(char *line, size_t size, const struct record *r);

/* Send a set, in as many records as it takes, waiting until DEADLINE; the descriptors stay the
 * caller's. ANSWERED: ask for an answer, to id 1. errno as rights_send_all; EMSGSIZE: too much text. */
int set_send(int sock, const struct delivery *set, bool answered, int64_t deadline);

/* Append what was received, once all that is whole was read; the descriptors move. errno EPROTO: more bytes or
 * descriptors than one line can have. */
int records_add(struct records *in, const char *data, size_t len, struct fds *fds);

/* The next whole record: 1; 0 when there is none yet; -1 (EPROTO) for a line that is no record, or names
 * more descriptors than came, which is passed over. A set's descriptors are the first R->fds of in->fds: take them. R
 * points into the stream until the next records_add. */
int records_next(struct records *in, struct record *r);

void records_free(struct records *in);

/* Make *NAME, an array of owned names with NULL where a descriptor has none, COUNT longer than BEFORE,
 * by NAMES as in a record, or NULL for COUNT without one. It stays NULL while there are none at all.
 * errno EPROTO: another count, or a bad name; then nothing of NAMES is kept. */
int names_append(char ***name, size_t before, const char *names, size_t count);

/* NULL if no name is there twice; else the reason, and in *TWICE the name, which stays its owner's, or NULL without
 * memory to tell. */
const char *names_repeat(char *const *name, size_t count, const char **twice);

void names_free(char **name, size_t count);

/* ---- dispatch.c: connections to workers, each to exactly one ---- */

struct pollfd;
struct worker;
struct ticket;

struct dispatch {
	bool plain;             /* the workers speak the plain form: no slots, no acknowledgements */
	bool track;             /* keep count of what runs, by source */
	struct closer *closer;
	int64_t patience;       /* ms that a worker has for an acknowledgement, NEVER for ever */
	struct worker *worker;
	size_t workers, worker_room;
	struct ticket *ticket;
	size_t tickets, ticket_room;
	size_t vacant;          /* the first free place among them, counted from 1 */
	size_t waiting;         /* connections that no worker has got, */
	size_t pending;         /* or acknowledged */
	int64_t check;          /* when to look for overdue acknowledgements, 0 for never */
	size_t turn;            /* the worker to look at first */
	uint64_t last_id;
	uint64_t handed, acknowledged, returned; /* figures */
	uint64_t turned_away;   /* workers that went before they took anything */
};

/* Where a connection comes from: its address without the port, or a uid. */
struct source {
	unsigned char bytes[17];
};

/* Take a connected worker: SOCK is the dispatcher's from here on, also on -1. */
int dispatch_add(struct dispatch *d, int sock);

/* Workers of UID. */
size_t dispatch_of_uid(const struct dispatch *d, uid_t uid);

/* Is there a worker that has taken something, or has not been silent for all its patience? */
bool dispatch_hopeful(const struct dispatch *d);

/* Connections that could be handed to a worker at once. */
size_t dispatch_room(const struct dispatch *d);

/* Connections that no worker has acknowledged. */
size_t dispatch_pending(const struct dispatch *d);

/* Connections from SOURCE that wait or run; needs track. */
size_t dispatch_from(const struct dispatch *d, const struct source *source);

/* Free slots of all workers. */
size_t dispatch_slots(const struct dispatch *d);

/* Hand CONNECTION over to a worker that is free, now or when there is one. It is the dispatcher's from
 * here on, which closes its copy once a worker has acknowledged it; on -1 (ENOMEM) still the caller's. */
int dispatch_give(struct dispatch *d, int connection, const struct source *source);

/* What to poll: fills one pollfd for each worker. */
void dispatch_poll(const struct dispatch *d, struct pollfd *p);

/* Read what workers say, notice those that are gone or keep silent for too long, and hand on what
 * comes back from them. P as dispatch_poll filled it, and poll(2) answered. */
void dispatch_run(struct dispatch *d, const struct pollfd *p);

/* When dispatch_run is to be called though no descriptor says so. */
int64_t dispatch_deadline(const struct dispatch *d);

/* Did a worker that was greeted never say how much it takes, for as long as its patience? Told once. */
bool dispatch_mute(struct dispatch *d);

void dispatch_close(struct dispatch *d);

/* ---- door.c: who comes in, and how much each uid has ---- */

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
	} refused[16];                  /* told of, and not again for a while */
};

/* AT is open and listens. */
void door_open(struct door *d, const struct endpoint *at, const struct allow *allow, struct closer *closer);

/* Is nothing to be accepted just now? */
bool door_rests(struct door *d);

/* Accept without waiting. PEER is who it is, where that is asked. The connection is the caller's. On -1 errno is
 * EACCES: PEER was refused, which is to be told of (once in ten seconds for a uid); ESHUTDOWN: the socket accepts no more
 * (once: D->fd is -1 from here on); EAGAIN: none there; ECONNABORTED: look again, there may be more. */
int door_accept(struct door *d, struct peer *peer);

/* As endpoint_close, without waiting for what may be in AT's queue. */
void door_close(struct endpoint *at, struct closer *closer);

/* UID is refused: is that to be told of? Once in ten seconds; while 16 uids are refused, no other's is. */
bool door_tells(struct door *d, uid_t uid);

/* What one uid has of us. */
struct share {
	uid_t uid;
	size_t connections, fds, bytes;
	bool told;                      /* it was said that it has all that it may have */
};
struct shares {
	struct share **share;
	size_t count, room;
};

/* How many descriptors one uid may take up, by connections and unfinished sets: a quarter of our limit. */
size_t share_of_uid(void);

/* How many connections: as many, CONNECTIONS_OF_UID at most. */
size_t connections_of_uid(void);

/* Count one connection more of UID. Returns its share, which stays until it has none. On failure (ENOMEM) NULL. */
struct share *share_join(struct shares *s, uid_t uid);

/* One connection less. */
void share_leave(struct shares *s, struct share *share);

/* ---- inbox.c: messages from whoever connects to a SOCKET ---- */

struct connection;

/* Connections in a row. */
struct queue {
	struct connection *first, *last;
};

struct inbox {
	struct endpoint *at;            /* open */
	struct door door;               /* where it listens */
	struct closer *closer;
	size_t gather;                  /* plain form: descriptors that make one delivery; 0: one message's */
	bool requests;                  /* are understood: get, list, drop */
	size_t share;                   /* descriptors that one uid's connections and unfinished sets may take up,
	                                   and these for so long; 0: any number, for ever */
	uid_t paused;                   /* whose connections that were accepted here are left unread; or NOBODY */
	int sigfd;                      /* -1 for none */
	int epoll;                      /* epoll(7): connections */
	struct connection **connection; /* by place; NULL in a free one */
	size_t count, room;
	size_t vacant;                  /* no place before this one is free */
	size_t channels;                /* dispatchers among them */
	uint64_t serial;                /* the last connection's */
	struct shares shares;
	struct queue ahead;             /* of which more is read than was told */
	struct queue parked;            /* that have something for us, and were not to be read when it came */
	int64_t check;                  /* when the first unfinished set may be late, 0 for never */
	unsigned turn;                  /* whom to look at first */
	unsigned late;                  /* rounds since DEADLINE came */
};

enum inbox_event {
	INBOX_DELIVERY,  /* .fds, .text, .len, .peer */
	INBOX_REQUEST,   /* .request, .name, .names, .peer */
	INBOX_HELLO,     /* .peer is a dispatcher, on .connection: inbox_offer it something */
	INBOX_SIGNAL,    /* the signal descriptor is readable */
	INBOX_TIMEOUT,   /* DEADLINE came */
	INBOX_REFUSED,   /* .peer was not allowed and is closed; told of once in a flood of them */
	INBOX_EXCESS,    /* .peer was closed since its uid has its share; told of once in a flood of them */
	INBOX_EMPTY,     /* .peer closed without a descriptor */
	INBOX_SHORT,     /* .peer closed before it had sent `gather` descriptors */
	INBOX_ENDED,     /* a connection that had delivered was closed */
	INBOX_GONE,      /* the listening socket accepts no more: somebody has shut it down */
	INBOX_FAILED,    /* .peer's connection failed: .error; EMFILE: descriptors did not fit;
	                    .text where the peer said why */
};

/* AT, CLOSER and ALLOW stay the caller's, and must stay. On -1 there is nothing to close. */
int inbox_open(struct inbox *in, struct endpoint *at, const struct allow *allow, struct closer *closer, int sigfd);

/* The next event, waiting until DEADLINE. HOLD: take no messages, only signals. */
enum inbox_event inbox_next(struct inbox *in, struct delivery *d, bool hold, int64_t deadline);

/* Add the endpoint's socket, connected again. */
int inbox_attach(struct inbox *in);

/* Is connection SERIAL still there? */
bool inbox_has(const struct inbox *in, uint64_t serial);

/* Answer connection SERIAL: the set ID (0 in the plain form) is taken, or done, or refused and WHY. A peer that lets
 * answers pile up loses its connection. -1 if it could not be told: the connection is gone, or the peer reads no more
 * (whoever hands connections over has then taken the set back, and may give it to another). */
int inbox_answer(struct inbox *in, uint64_t serial, enum record_word word, uint64_t id, const char *why);

/* Is it there, and a dispatcher's? */
bool inbox_is_channel(const struct inbox *in, uint64_t serial);

/* Tell the dispatcher on connection SERIAL that it may send SLOTS sets more, of which it will never be
 * promised more than MOST (the same each time). */
void inbox_offer(struct inbox *in, uint64_t serial, size_t slots, size_t most);

/* Offer one to some dispatcher that was promised less than its most. */
void inbox_offer_one(struct inbox *in);

/* Close connection SERIAL. */
void inbox_drop(struct inbox *in, uint64_t serial);

/* Can nothing come any more: a connected socket has reached end of file, or the listening one is gone? */
bool inbox_over(const struct inbox *in);

/* Close every connection; the endpoint stays the caller's. */
void inbox_close(struct inbox *in);

/* ---- env.c: the environment of COMMAND ---- */

struct env {
	char **var;             /* NULL-terminated, for exec */
	size_t count, room;
	size_t base;            /* the first BASE are borrowed from the caller's environment */
	char text[400];         /* env_connection's */
};

/* The caller's environment without the families of variables that fdkit sets. Like all that follow it returns -1 and
 * ENOMEM where there is no memory, and leaves nothing then. */
int env_open(struct env *env);

void env_free(struct env *env);

/* Remove NAME. */
void env_unset(struct env *env, const char *name);

/* FDKIT_FDS: the numbers where descriptors were placed. */
int env_fds(struct env *env, const int *to, size_t count);

/* LISTEN_FDS, LISTEN_FDNAMES (NAME NULL: none has any) and, unless NO_PID, LISTEN_PID as this process's
 * own; nothing where the descriptors do not lie at 3, 4, 5..., in whatever order. */
int env_listen(struct env *env, const int *to, char *const *name, size_t count, bool no_pid);

/* FDKIT_PEER_PID, _UID, _GID, as far as they are known, and, if it is text, FDKIT_MESSAGE. */
int env_delivery(struct env *env, const struct delivery *d);

/* PROTO, TCPREMOTEIP and the rest, from the connection FD itself; nothing if it is none. What others do with a
 * connection can hold this up. For the process that executes COMMAND next, after env_fds; it may share its parent's memory. */
void env_connection(struct env *env, int fd);

/* Forget all that was set since env_open. */
void env_reset(struct env *env);

/* ---- place.c: COMMAND, and where its descriptors go ---- */

/* COMMAND, and what the tool was started with, which COMMAND gets back. */
struct command {
	char **argv;
	bool in, out, err;      /* -i -o -e */
	bool blocking;          /* -B */
	char *path;             /* command_find: what to execute, */
	char **script;          /* and the words for a shell, should it be a script without #! */
	struct rlimit nofile;
	bool child_ignored;     /* SIGCHLD was ignored */
};

/* Raise our own limit of open descriptors as far as it goes, and tell what it was BEFORE. */
void raise_limit(struct rlimit *before);

/* Note what the tool was started with; raise its own limit of open descriptors. */
void command_prepare(struct command *c);

/* Look up COMMAND as execvp(3) does, from the directory that we are in, for the user that we are: an absolute path from here
 * on. Returns errno's value or 0. It may be called again. */
int command_find(struct command *c);

/* How many placements FDS descriptors make, and to which numbers: one goes to every one of -i -o -e; of more, each
 * takes the next, the rest go on from 3. There is room for three, and for FDS, in TO. */
size_t command_places(const struct command *c, size_t fds, int *to);

/* Has COMMAND, with FDS descriptors, numbers left below its soft limit, to open its libraries at? */
bool command_fits(const struct command *c, size_t fds);

/* The descriptor that goes to 0, or else to 1; -1 if none does. */
int connection_placed(const int *from, const int *to, size_t count);

/* Clear O_NONBLOCK on what came. */
void make_blocking(const struct fds *fds);

/* 127 for a command that is not there, 126 for one that cannot be run: as env(1). */
int exec_status(int error);

/* ---- launch.c: COMMAND begun, in place of the tool or as a new process ---- */

/* Make each FROM appear at TO, without close-on-exec, whatever the order; FROM is used up. Returns
 * errno's value or 0, and leaves errno alone; after a failure the table is half done: exit. */
int place(int *from, const int *to, size_t count);

/* All that a new process needs to become COMMAND, which shares our memory until it has. */
struct launch {
	const struct command *command;
	struct env env;
	int *fds;               /* the acknowledging socket's number, and the COUNT numbers of the set: */
	size_t count, room;     /* ours or, once it has received them, the process's */
	int *from, *to;         /* placements */
	size_t places;
	bool connection;        /* the environment says whose connection it is */
	sigset_t no_signals;
	char ack[64];           /* what the process says first: ACK_LEN 0 for nothing */
	ssize_t ack_len;
	int slot, feed;         /* a socketpair, through which the process gets the set; -1: it has a copy of our table */
	pid_t busy;             /* not 0: the process uses this */
	size_t closed;          /* so many of the set's numbers it has closed in the table that we share, */
	bool received;          /* and this is over */
	int *error;             /* where it says why it failed */
	char *stack;
};

/* Can a process leave our table (Linux 5.9)? For a tool that does not share it just now. */
bool launch_shares(void);

/* COMMAND's environment is ours, less what fdkit sets. SLOT and FEED, unless -1, are open descriptors, to be replaced by the
 * launch's sockets; at SLOT and below no stranger's descriptor may lie. On -1 (ENOMEM, EMFILE) nothing has changed. A launch
 * lasts as long as the tool. */
int launch_open(struct launch *l, const struct command *c, int slot, int feed);

/* Forget what was set before, and set the placements FROM to TO, of which the first is told to COMMAND. errno ENOMEM. */
int launch_set(struct launch *l, const int *from, const int *to, size_t count);

/* The same for a delivery, with its environment: at WHERE or, if that is NULL, where command_places puts it. errno ENOMEM. */
int launch_delivery(struct launch *l, const struct delivery *d, const int *where);

/* Have the process acknowledge the set ID on SOCK before anything else. */
void launch_acknowledge(struct launch *l, int sock, uint64_t id);

/* Start the process, which the caller reaps. With a slot the set's numbers are the process's from here on, which closes
 * them; without, the caller's, who may close them. *ERROR, in memory that a fork shares, holds after the process was
 * reaped why COMMAND was not begun, errno's value or 0; the process exits with exec_status. ECANCELED: it could not
 * acknowledge. On -1 (errno as clone(2) and rights_send) there is no process, and the set is the caller's. CLOSER gets what
 * cannot be closed without waiting. */
pid_t launch_start(struct launch *l, struct closer *closer, int *error);

/* Close what a process was given that was killed before it took it. */
void launch_recover(struct launch *l, struct closer *closer);

/* Become COMMAND. Returns only on failure, errno's value. */
int launch_become(struct launch *l);

/* ---- jobs.c: commands that run ---- */

struct job {
	pid_t pid;              /* 0: a free place */
	uid_t uid;              /* whom it was started for, */
	uint64_t connection;    /* and for what: the delivery's connection and id, or what the caller */
	uint64_t id;            /* put there */
	int error;              /* once reaped: why COMMAND could not be begun, errno's value, or 0 */
};

struct jobs {
	struct job *job;        /* LIMIT of them, in memory that a fork shares */
	size_t limit, running;
	size_t vacant;          /* no place before this one is free, */
	size_t used;            /* and none from this one on was ever used */
	uint64_t started;
	size_t failures;        /* starts that failed since one did not */
	struct closer *closer;
	struct launch **launch; /* one for each slot, made when it is needed; and one without */
	size_t slots;
	int slot;               /* the first one's number; after the last come as many for their other ends */
};

/* errno ENOMEM. The jobs last as long as the tool. */
int jobs_open(struct jobs *j, size_t limit);

/* Before strangers' descriptors come: keep low numbers for jobs_start, and fill whatever is free below them. Again where a
 * low number was closed since. What cannot be closed without waiting CLOSER gets. errno ENOMEM. */
int jobs_reserve(struct jobs *j, struct closer *closer);

/* There must be a free place. Returns it. */
struct job *jobs_add(struct jobs *j, const struct job *job);

/* How many run for UID. */
size_t jobs_of(const struct jobs *j, uid_t uid);

/* Run C with the descriptors of D in a new process: its places, its environment without NOTIFY_SOCKET, its place among
 * the jobs; after jobs_reserve. The descriptors are the process's from here on, and D has none; or the process has a copy,
 * and D has them still, to be closed. If D wants an answer, the process acknowledges by itself. On -1 there was no process or no memory, D is as it was, and it is worth another try.
 * Whether COMMAND was begun tells jobs_reap: ECANCELED, the peer does not want it any more, or has it still. */
int jobs_start(struct jobs *j, const struct command *c, struct delivery *d);

/* Reap a child that has ended, a job or not: what it was (a pid alone if no job) and its wait(2)
 * status. False when none has. */
bool jobs_reap(struct jobs *j, struct job *ended, int *status);

void jobs_kill(const struct jobs *j, int sig);

/* ---- copy.c: bytes at the kernel's speed ---- */

/* Copying returns 0 at end of file, or -1 with errno and in *SIDE the descriptor that failed. It widens the
 * pipes among its ends, waits where one is non-blocking, and leaves flags as they are. The caller ignores
 * SIGPIPE and keeps all descriptors. errno EDEADLK: IN and OUT are the same file, and it would never end. */

/* Can IN be read and OUT be written? If not, -1 with errno EBADF and *SIDE. */
int copy_possible(int in, int out, int *side);

/* Between BOTH, a connected socket or a pseudo-terminal's master, and the pair IN, OUT, until both
 * directions have ended or BOTH has hung up. End of file on IN is passed on by shutdown(2). */
int copy_both(int both, int in, int out, int *side);

/* As FD's kind says: a socket and a pseudo-terminal's master both ways, a terminal and a write-only
 * descriptor from IN, everything else to OUT. errno EISDIR, EINVAL (a listening socket), EBADF (O_PATH). */
int copy_by_kind(int fd, int in, int out, int *side);

/* ---- store.c: descriptors by name ---- */

struct entry {
	char *name;
	int fd;
	const char *kind;       /* what it was when it was put: tcp-listener, unix-connection, file, pipe... */
	char *address;          /* a socket's own address then, or NULL */
	bool connected;         /* a stream socket that was connected then */
	bool hung;              /* its peer has hung up: it is asked whether something is unread, */
	pid_t asked;            /* by this process, or 0 */
	struct peer who;        /* who put it there */
	int64_t since;          /* seconds since 1970 */
	int64_t expires;        /* deadline, or NEVER */
};

/* What a uid has put. */
struct owner {
	uid_t uid;
	size_t entries;
	size_t bytes;           /* of their names, and one for each */
};

struct store {
	struct entry **entry;   /* sorted by name */
	size_t count, room;
	struct owner *owner;
	size_t owners;
	size_t most, most_per_uid;
	size_t names_per_uid;   /* bytes of names, of a uid that is not trusted */
};

struct entry *store_find(const struct store *s, const char *name);

/* The first one whose name comes after NAME, or NULL. */
struct entry *store_after(const struct store *s, const char *name);

/* Keep FD, which is the store's from here on, under NAME. It is looked at in ways that never wait; of the address of a
 * stranger's Internet socket there is none. On failure returns the reason, and FD is still the caller's. */
const char *store_put(struct store *s, const char *name, int fd, const struct peer *who, int64_t expires);

/* Forget E. Returns its descriptor, which is the caller's to close. */
int store_drop(struct store *s, struct entry *e);

/* When the next entry expires. */
int64_t store_deadline(const struct store *s);

/* ---- ready.c: telling that we are ready ---- */

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
