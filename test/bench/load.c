/* SPDX-License-Identifier: ISC */
/* load: what is measured, from outside. Prints name=value, times in microseconds, memory in KiB.
 *
 *   load conn CLIENTS MS ADDRESS        CLIENTS connect again and again; each reads "ok" to end of file
 *   load once N FDS SOCKET RECEIVER... -- SENDER...
 *                                       N times: the receiver is started, and when it listens at SOCKET,
 *                                       the sender, with FDS descriptors from 3 on; until both have left.
 *                                       SOCKET -: first the sender, then the receiver, through a store
 *   load run N FDS COMMAND...           N times, one after the other, with as many descriptors
 *   load write MIB                      to standard output, in blocks of 128 KiB
 *   load read                           the same from standard input, to its end
 *   load trips MS FDS FD                messages of a byte from socket 0 to socket FD and back, with FDS (0, 1) descriptors */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WARM_MS = 60, SAMPLES = 1 << 16, CLIENTS_MOST = 256 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static size_t number(const char *text)
{
	return strtoul(text, NULL, 10);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, compare);
	return n ? v[n / 2] : 0;
}

/* ---- connections ---- */

struct client {
	size_t all, counted, failed;
	double us[SAMPLES];
};

/* Connect, read to end of file, close with a reset, so that nothing stays in TIME_WAIT. */
static bool talk(const struct sockaddr *to, socklen_t len)
{
	struct linger reset = {1, 0};
	struct timeval most = {5, 0};
	char data[64];
	int sock = socket(to->sa_family, SOCK_STREAM, 0);
	ssize_t n = 0, got = 0;
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
	if (connect(sock, to, len) == 0)
		while ((n = read(sock, data, sizeof data)) > 0)
			got += n;
	setsockopt(sock, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(sock);
	return n == 0 && got >= 2;
}

static void client(struct client *c, const struct sockaddr *to, socklen_t len, double begin, double end)
{
	for (double t = now(); t < end; c->all++) {
		bool good = talk(to, len);
		double done = now();
		c->failed += !good;
		if (good && t >= begin && c->counted < SAMPLES)
			c->us[c->counted++] = done - t;
		t = done;
	}
}

/* CPU time of the whole machine, in microseconds, at the kernel's resolution. */
static double busy(void)
{
	double v[8] = {0};
	FILE *f = fopen("/proc/stat", "re");
	if (!f || fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6) != 7)
		err(1, "/proc/stat");
	fclose(f);
	return (v[0] + v[1] + v[2] + v[5] + v[6]) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static void sleep_until(double us)
{
	struct timespec t = {(time_t)(us / 1e6), (long)((us - (double)(time_t)(us / 1e6) * 1e6) * 1e3)};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int connections(size_t clients, size_t ms, const char *at)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                         .sin_port = htons((in_port_t)number(at))};
	bool local = strchr(at, '/');
	memcpy(un.sun_path, at, strnlen(at, sizeof un.sun_path - 1));
	if (clients > CLIENTS_MOST)
		errx(2, "at most %d clients", CLIENTS_MOST);
	struct client *c = mmap(NULL, clients * sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double begin = now() + WARM_MS * 1e3, end = begin + (double)ms * 1e3, *us = calloc(clients, sizeof c->us);
	if (c == MAP_FAILED || !us)
		err(1, "memory");
	for (size_t i = 0; i < clients; i++)
		if (fork() == 0) {
			client(&c[i], local ? (const void *)&un : (const void *)&in, local ? sizeof un : sizeof in, begin, end);
			_exit(0);
		}
	sleep_until(begin);
	double before = busy();
	sleep_until(end);
	double used = busy() - before;
	while (wait(NULL) > 0)
		;
	struct rusage own;
	getrusage(RUSAGE_CHILDREN, &own);
	size_t all = 0, counted = 0, failed = 0;
	for (size_t i = 0; i < clients; i++) {
		memcpy(us + counted, c[i].us, c[i].counted * sizeof *us);
		counted += c[i].counted, all += c[i].all, failed += c[i].failed;
	}
	double load = ((double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) * 1e6 + (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec)) / (double)(all ? all : 1);
	printf("per_s=%.0f us=%.1f cpu=%.1f all=%zu failed=%zu\n", (double)counted * 1e3 / (double)ms, median(us, counted),
	       used / (double)(counted ? counted : 1) - load, all, failed);
	return counted ? 0 : 1;
}

/* ---- processes ---- */

/* Start a program whose standard input is IN, with FDS copies of that from 3 on; when it began is in *AT. */
static pid_t start(char **argv, int in, int fds, double *at)
{
	pid_t pid = vfork();
	if (pid == 0) {
		dup2(in, 0);
		for (int fd = 3; fd < 3 + fds; fd++)
			dup2(0, fd); /* not IN: that may be this number, and close-on-exec */
		*at = now();
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

/* Wait for PID to end well. Returns its greatest memory; -1 if it failed. */
static long finish(pid_t pid)
{
	struct rusage r;
	int status;
	return wait4(pid, &status, 0, &r) == pid && status == 0 ? r.ru_maxrss : -1;
}

static bool listening(const char *path)
{
	static char list[1 << 20];
	size_t len = 0;
	int fd = open("/proc/net/unix", O_RDONLY | O_CLOEXEC);
	for (ssize_t n; len < sizeof list - 1 && (n = read(fd, list + len, sizeof list - 1 - len)) > 0;)
		len += (size_t)n;
	close(fd);
	list[len] = '\0';
	for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n")) {
		const char *name = strrchr(line, ' ');
		if (name && strcmp(name + 1, path) == 0 && strstr(line, " 00010000 "))
			return true;
	}
	return false;
}

static int once(size_t n, int fds, const char *path, char **receiver, char **sender)
{
	double *total = calloc(n + 1, sizeof *total), *from = calloc(n + 1, sizeof *from), begin = 0, sent = 0;
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	long sender_kb = 0, receiver_kb = 0;
	bool store = strcmp(path, "-") == 0;
	prctl(PR_SET_TIMERSLACK, 1UL);
	dup2(null, 0);
	int out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	dup2(null, 1);
	for (size_t i = 0; i <= n; i++) { /* the first is not counted */
		pid_t r = -1, s;
		if (store) {
			s = start(sender, file, fds, &begin);
			sender_kb = finish(s);
			r = start(receiver, null, 0, &sent);
		} else {
			r = start(receiver, null, 0, &begin);
			while (!listening(path)) {
				if (now() - begin > 1e7)
					errx(1, "%s: never listened", receiver[0]);
				sleep_until(now() + 10); /* a loop would keep the receiver from this CPU */
			}
			s = start(sender, file, fds, &sent);
			sender_kb = finish(s);
		}
		receiver_kb = sender_kb == -1 ? -1 : finish(r);
		if (sender_kb == -1 && r != -1)
			kill(r, SIGTERM);
		if (sender_kb == -1 || receiver_kb == -1)
			errx(1, "%s failed", sender_kb == -1 ? sender[0] : receiver[0]);
		total[i ? i - 1 : 0] = now() - begin;
		from[i ? i - 1 : 0] = now() - sent;
	}
	dprintf(out, "total=%.1f us=%.1f sender=%ld receiver=%ld\n", median(total, n), median(from, n), sender_kb, receiver_kb);
	return 0;
}

static int run(size_t n, int fds, char **argv)
{
	double *us = calloc(n + 1, sizeof *us), begin = 0;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	long kb = 0;
	dup2(null, 1);
	for (size_t i = 0; i < n; i++) {
		if ((kb = finish(start(argv, null, fds, &begin))) == -1)
			errx(1, "%s failed", argv[0]);
		us[i] = now() - begin;
	}
	dprintf(out, "us=%.1f memory=%ld\n", median(us, n), kb);
	return 0;
}

static int blocks(bool writes, size_t mib)
{
	static char block[1 << 17];
	for (size_t i = 0; !writes || i < mib * 8; i++) {
		ssize_t n = writes ? write(1, block, sizeof block) : read(0, block, sizeof block);
		if (n <= 0)
			return n != 0;
	}
	return 0;
}

/* ---- messages ---- */

static void pass(int from, int to, bool fds)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	char byte = 0;
	int fd = 1;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = fds ? sizeof c.room : 0};
	memcpy(CMSG_DATA(&c.header), &fd, sizeof fd);
	if (sendmsg(from, &msg, 0) != 1 || recvmsg(to, &msg, 0) != 1 || !msg.msg_controllen != !fds)
		err(1, "lost");
	memcpy(&fd, CMSG_DATA(&c.header), sizeof fd);
	if (fds)
		close(fd);
}

static int trips(size_t ms, bool fds, int far)
{
	size_t n = 0;
	double begin = now(), end = begin + (double)ms * 1e3;
	for (; now() < end; n++) {
		pass(0, far, fds);
		pass(far, 0, fds);
	}
	printf("us=%.2f\n", (now() - begin) / (double)n);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc > 1 && (strcmp(argv[1], "write") == 0 || strcmp(argv[1], "read") == 0))
		return blocks(*argv[1] == 'w', argc > 2 ? number(argv[2]) : 0);
	if (argc > 4 && strcmp(argv[1], "conn") == 0)
		return connections(number(argv[2]), number(argv[3]), argv[4]);
	if (argc > 4 && strcmp(argv[1], "trips") == 0)
		return trips(number(argv[2]), number(argv[3]), (int)number(argv[4]));
	if (argc > 4 && strcmp(argv[1], "run") == 0)
		return run(number(argv[2]), (int)number(argv[3]), argv + 4);
	if (argc > 6 && strcmp(argv[1], "once") == 0)
		for (int i = 5; i < argc - 1; i++)
			if (strcmp(argv[i], "--") == 0) {
				argv[i] = NULL;
				return once(number(argv[2]), (int)number(argv[3]), argv[4], argv + 5, argv + i + 1);
			}
	errx(2, "see the top of load.c");
}
