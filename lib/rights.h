/* SPDX-License-Identifier: ISC
 *
 * Descriptors as ancillary data. */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct set;
struct peer;

enum {
	FDS_PER_MESSAGE = 253,  /* Kernel: SCM_MAX_FD, include/net/scm.h; one more is EINVAL */
	MESSAGE_MAX = 32768,    /* bytes beside descriptors: Kernel: one skb, so it arrives whole
	                           (unix_stream_sendmsg splits above 48 KiB, measured on 6.18) */
};

/* Send COUNT (at most FDS_PER_MESSAGE) descriptors of the caller's, which stay the
 * caller's, with LEN > 0 bytes in one message, without waiting. Returns the number of
 * bytes sent: on a stream it can be less than LEN, and then the descriptors went with
 * the first part. errno as sendmsg(2): EAGAIN a full queue, ETOOMANYREFS too many
 * descriptors in flight (backpressure too), EPIPE the peer is gone; never EINTR, no SIGPIPE. */
ssize_t rights_send(int sock, const int *fd, size_t count, const void *data, size_t len);

/* The same, waiting until all is sent. errno ETIMEDOUT: not by DEADLINE. With AT_ONCE it does not wait: LEN must be below 48 KiB,
 * so that all is sent or nothing, and errno is as rights_send's. */
int rights_send_all(int sock, const int *fd, size_t count, const void *data, size_t len,
                    int64_t deadline);

/* Receive one message without waiting: up to LEN bytes into DATA, its descriptors appended
 * to SET, close-on-exec from the first instant. Returns the number of bytes, 0 at end of
 * file. FROM, where not NULL, is overwritten if the message carries credentials (SO_PASSCRED).
 * errno EAGAIN: nothing there. EMFILE: some descriptors did not fit this process (Kernel:
 * MSG_CTRUNC, net/core/scm.c; a security module's refusal looks the same); those that did are
 * in SET, and a NUL ends the bytes in DATA if they are fewer than LEN. Never EINTR, nor
 * ECONNRESET: what the peer sent comes first, and then end of file. */
ssize_t rights_receive(int sock, struct set *set, void *data, size_t len, struct peer *from);

/* The same, but with ECONNRESET, once, where the peer closed and left bytes of ours unread. Kernel: on a seqpacket
 * socket it comes before what is in the queue (unix_dgram_recvmsg). */
ssize_t rights_read(int sock, struct set *set, void *data, size_t len, struct peer *from);

/* For a process that shares its parent's memory: send FD[COUNT] and a byte, as many as one message takes. Returns how many, or
 * minus errno's value; errno stays. */
long rights_put(int sock, const int *fd, size_t count);

/* The same: receive what rights_put sent, MOST descriptors at most, into FD. After a failure some may be open. */
long rights_take(int sock, int *fd, size_t most);

/* Is there a message to receive, with bytes or with descriptors alone? Kernel: a peek without room for
 * control data installs no descriptor, and MSG_CTRUNC says that there is one. */
bool rights_waiting(int sock);

#endif
