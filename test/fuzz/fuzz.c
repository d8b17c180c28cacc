/* SPDX-License-Identifier: ISC */
#include "fuzz.h"
#include "closer.h"
#include "fd.h"
#include "set.h"
#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool running;
static int64_t clock_ms;
static size_t open_before;
static unsigned allocations_left;
static int send_error;
static size_t send_most, receive_most;
static bool (*step)(void *arg);
static void *step_arg;
static struct rlimit nofile, limited;

/* ---- input ---- */

unsigned take_byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

const char *take_bytes(struct input *in, size_t *len)
{
	const char *bytes = (const char *)in->data;
	if (*len > in->left)
		*len = in->left;
	in->data += *len;
	in->left -= *len;
	return bytes;
}

const char *take_text(struct input *in, size_t len, char *buf, size_t size)
{
	len = len < size ? len : size - 1;
	const char *bytes = take_bytes(in, &len);
	if (len)
		memcpy(buf, bytes, len);
	buf[len] = '\0';
	return buf;
}

void must(bool so, const char *what)
{
	if (so)
		return;
	fprintf(stderr, "must be: %s\n", what);
	abort();
}

/* ---- descriptors ---- */

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;
	must(dir, "a readable /proc");
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

ino_t inode(int fd)
{
	struct stat st;
	must(fstat(fd, &st) == 0, "an open descriptor");
	return st.st_ino;
}

int token(ino_t *ino)
{
	int fd = memfd_create("token", MFD_CLOEXEC);
	must(fd != -1, "a token");
	*ino = inode(fd);
	return fd;
}

void add_tokens(struct set *set, size_t count)
{
	ino_t any;
	while (count--)
		must(set_add(set, token(&any), NULL) == 0, "memory");
}

void make_pair(int type, int pair[2])
{
	must(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0, "a pair");
}

void limit_descriptors(int spare)
{
	limited = nofile;
	if (spare >= 0) {
		int next = dup(0);
		close(next);
		limited.rlim_cur = (rlim_t)next + (rlim_t)spare;
	}
	must(setrlimit(RLIMIT_NOFILE, &limited) == 0, "a limit");
}

/* ---- begin and end ---- */

void fuzz_begin(void)
{
	getrlimit(RLIMIT_NOFILE, &nofile);
	limited = nofile;
	open_before = open_descriptors();
	clock_ms = 1000;
	running = true;
}

void fuzz_end(void)
{
	fail_allocation(0);
	fail_sending(0);
	meanwhile(NULL, NULL);
	limit_descriptors(-1);
	running = false;
	must(open_descriptors() == open_before, "no descriptor left open");
}

void clock_forward(unsigned ms)
{
	clock_ms += ms;
}

void fail_allocation(unsigned n)
{
	allocations_left = n;
}

void fail_sending(int error)
{
	send_error = error;
}

void shorten(size_t sending, size_t receiving)
{
	send_most = sending ? sending : send_most;
	receive_most = receiving ? receiving : receive_most;
}

void meanwhile(bool (*next)(void *arg), void *arg)
{
	step = next;
	step_arg = arg;
	send_most = receive_most = 0;
}

/* One step of the harness, whose own calls are not in between. Returns whether there may be more. */
static bool take_step(void)
{
	bool (*next)(void *arg) = step;
	if (!next)
		return false;
	step = NULL;
	running = false;
	bool more = next(step_arg);
	running = true;
	step = next;
	return more;
}

/* ---- what the linker puts in between ---- */

int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __real_poll(struct pollfd *p, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *p, nfds_t count, int timeout);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
ssize_t __real_sendmsg(int sock, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int sock, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int sock, struct msghdr *msg, int flags);
void __real_vwarnx(const char *format, va_list ap);
void __wrap_vwarnx(const char *format, va_list ap);
void __wrap_warnx(const char *format, ...);
int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	if (!running)
		return __real_clock_gettime(id, t);
	*t = (struct timespec){.tv_sec = clock_ms / 1000, .tv_nsec = clock_ms % 1000 * 1000000};
	return 0;
}

/* Who waits has waited at once, unless the harness makes something happen. */
int __wrap_poll(struct pollfd *p, nfds_t count, int timeout)
{
	if (!running)
		return __real_poll(p, count, timeout);
	/* Kernel: no more than the limit of descriptors may be polled, however high their numbers (poll(2)). */
	setrlimit(RLIMIT_NOFILE, &nofile);
	bool more;
	int ready;
	do {
		more = take_step();
		ready = __real_poll(p, count, 0);
	} while ((ready == -1 && errno == EINTR) || (!ready && timeout < 0 && more)); /* libFuzzer's alarm */
	setrlimit(RLIMIT_NOFILE, &limited);
	must(ready >= 0, "a poll that works");
	must(ready || timeout >= 0, "that nobody waits for ever");
	if (!ready)
		clock_ms += timeout;
	return ready;
}

static bool fails(void)
{
	if (!running || !allocations_left || --allocations_left)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	void *p = fails() ? NULL : __real_malloc(size);
	/* So that what reads beyond what was written finds no end there. */
	if (running && p)
		memset(p, 0xbe, size);
	return p;
}

void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

/* MSG, of one buffer, with no more than *MOST bytes of a stream, once. */
static struct msghdr shortened(int sock, const struct msghdr *msg, struct iovec *part, size_t *most)
{
	struct msghdr less = *msg;
	if (running && *most && msg->msg_iovlen == 1 && msg->msg_iov->iov_len > *most && fd_option(sock, SO_TYPE) == SOCK_STREAM) {
		*part = (struct iovec){.iov_base = msg->msg_iov->iov_base, .iov_len = *most};
		less.msg_iov = part;
		*most = 0;
	}
	return less;
}

ssize_t __wrap_sendmsg(int sock, const struct msghdr *msg, int flags)
{
	struct iovec part;
	if (running)
		take_step();
	if (!running || !send_error) {
		const struct msghdr less = shortened(sock, msg, &part, &send_most);
		return __real_sendmsg(sock, &less, flags);
	}
	errno = send_error;
	send_error = 0;
	return -1;
}

ssize_t __wrap_recvmsg(int sock, struct msghdr *msg, int flags)
{
	struct iovec part;
	if (running)
		take_step();
	if (flags & MSG_PEEK)
		return __real_recvmsg(sock, msg, flags);
	struct msghdr less = shortened(sock, msg, &part, &receive_most);
	ssize_t n = __real_recvmsg(sock, &less, flags);
	less.msg_iov = msg->msg_iov;
	*msg = less;
	return n;
}

void __wrap_vwarnx(const char *format, va_list ap)
{
	if (!running)
		__real_vwarnx(format, ap);
}

void __wrap_warnx(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	__wrap_vwarnx(format, ap);
	va_end(ap);
}

/* No helpers: whoever asks whether something is closed asks at once. */
void __wrap_closer_close(struct closer *c, int fd, uid_t from);
void __wrap_closer_trim(struct closer *c, struct set *set, size_t keep, uid_t from);
void __wrap_closer_hang_up(struct closer *c, int sock, uid_t from);

void __wrap_closer_hang_up(struct closer *c, int sock, uid_t from)
{
	__wrap_closer_close(c, sock, from);
}

void __wrap_closer_close(struct closer *c, int fd, uid_t from)
{
	(void)c;
	(void)from;
	close(fd);
}

void __wrap_closer_trim(struct closer *c, struct set *set, size_t keep, uid_t from)
{
	(void)c;
	(void)from;
	while (set->count > keep) {
		free(set->name[--set->count]);
		if (set->fd[set->count] != -1)
			close(set->fd[set->count]);
	}
}

/* Nothing that an input names is to be asked of a name server. */
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	struct addrinfo numeric = *hints;
	numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
	return __real_getaddrinfo(host, port, &numeric, found);
}
