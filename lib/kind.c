/* SPDX-License-Identifier: ISC */
/* The server of a FUSE file answers when it likes, and so does whoever holds the lock of an Internet socket, by
 * sending from memory that such a file backs. Kernel: statx(2) with AT_STATX_DONT_SYNC asks no server
 * (fuse_update_get_attr), readlink(2) of /proc/self/fd/N neither (d_path), getsockopt(2) of SOL_SOCKET and poll(2) take
 * no lock (sk_getsockopt, tcp_poll), getsockname(2) does (inet_getname), but for Unix sockets no lasting one. */
#include "kind.h"
#include "address.h"
#include "fd.h"
#include "parse.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char MEMFD[] = "/memfd:", DELETED[] = " (deleted)";

/* FD's type, in the bits of st_mode, and its size; 0 if that cannot be told. */
static mode_t type_of(int fd, uint64_t *size)
{
	/* linux/stat.h, which musl does not come with: struct statx, STATX_TYPE | STATX_SIZE, AT_STATX_DONT_SYNC */
	struct {
		uint32_t mask, block;
		uint64_t attributes;
		uint32_t links, uid, gid;
		uint16_t mode, spare;
		uint64_t inode, size;
		uint16_t rest[104];
	} st;
	_Static_assert(sizeof st == 256, "struct statx");
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | 0x4000, 0x201U, &st) == -1)
		return 0;
	*size = st.size;
	return st.mode & S_IFMT;
}

/* The name by which the kernel knows FD. */
static const char *name_of(int fd, char name[PATH_MAX])
{
	char link[40];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, name, PATH_MAX - 1);
	name[n > 0 ? n : 0] = '\0';
	return name;
}

/* Kernel: a stream socket that is not connected yet, and one whose both directions are closed, show a hang-up. */
static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};
	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static const char *kind_of_socket(int fd, int domain, bool *connected)
{
	static const char *const words[][3] = {{"unix-listener", "unix-connection", "unix-socket"},
	                                       {"tcp-listener", "tcp-connection", "tcp-socket"}};
	bool local = domain == AF_UNIX, inet = domain == AF_INET || domain == AF_INET6;
	int protocol = fd_option(fd, SO_PROTOCOL), type = fd_option(fd, SO_TYPE);
	if (!local && !(inet && protocol == IPPROTO_TCP))
		return inet && protocol == IPPROTO_UDP ? "udp-socket" : domain == AF_NETLINK ? "netlink-socket" : "socket";
	bool listens = fd_option(fd, SO_ACCEPTCONN) == 1;
	*connected = !listens && type != SOCK_DGRAM && !hung_up(fd);
	return words[!local][listens ? 0 : *connected ? 1 : 2];
}

const char *kind_of(int fd, bool *connected)
{
	char name[PATH_MAX];
	uint64_t size;
	int domain = fd_option(fd, SO_DOMAIN);
	*connected = false;
	if (domain != -1)
		return kind_of_socket(fd, domain, connected);
	mode_t type = type_of(fd, &size);
	if (S_ISREG(type))
		return strncmp(name_of(fd, name), MEMFD, strlen(MEMFD)) == 0 ? "memfd" : "file";
	return S_ISFIFO(type) ? "pipe" : S_ISDIR(type) ? "directory" :
	       !S_ISCHR(type) ? "other" : isatty(fd) ? "terminal" : "device";
}

int kind_address(int fd, bool trusted, char *text, size_t size)
{
	const struct listener l = {.at = {.fd = fd, .kind = END_FD, .type = SOCK_STREAM}};
	int domain = fd_option(fd, SO_DOMAIN);
	bool inet = domain == AF_INET || domain == AF_INET6;
	if (!(domain == AF_UNIX || (inet && trusted)) || listener_name(&l, text, size) == -1)
		return -1;
	printable(text, strlen(text));
	return 0;
}

void kind_describe(int fd, bool trusted, char *text, size_t size)
{
	char name[PATH_MAX], length[40] = "";
	bool connected;
	uint64_t bytes;
	const char *kind = kind_of(fd, &connected), *shown = name;
	if (fd_option(fd, SO_DOMAIN) != -1) {
		if (kind_address(fd, trusted, name, sizeof name) == -1)
			name[0] = '\0';
	} else {
		mode_t type = type_of(fd, &bytes);
		size_t len = strlen(name_of(fd, name)), end = strlen(DELETED);
		if (S_ISREG(type))
			snprintf(length, sizeof length, " %llu bytes", (unsigned long long)bytes);
		if (strcmp(kind, "memfd") == 0) {
			shown += strlen(MEMFD);
			if (len > strlen(MEMFD) + end && strcmp(name + len - end, DELETED) == 0)
				name[len - end] = '\0';
		}
		printable(name, strlen(name));
	}
	snprintf(text, size, "%s%s%s%s", kind, *shown ? " " : "", shown, length);
}
