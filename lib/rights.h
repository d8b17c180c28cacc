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

/* Send FD[COUNT], at most FDS_PER_MESSAGE, with LEN > 0 bytes in one message, without waiting. The descriptors stay
 * the caller's. Returns how many bytes were sent: on a stream maybe fewer than LEN, and the descriptors with them.
 * errno as sendmsg(2), without SIGPIPE, but never EINTR; EAGAIN: the queue is full; ETOOMANYREFS: too many
 * descriptors are in flight, so try later. */
ssize_t rights_send(int sock, const int *fd, size_t count, const void *data, size_t len);

/* The same, until all is sent. Returns 0. errno ETIMEDOUT: not all by DEADLINE. With AT_ONCE it does not wait, and
 * errno is as rights_send's; LEN must be below 48 KiB, so that all is sent or nothing. */
int rights_send_all(int sock, const int *fd, size_t count, const void *data, size_t len,
                    int64_t deadline);

/* Receive one message without waiting: up to LEN bytes into DATA; its descriptors, close-on-exec from the first
 * instant, are appended to SET. Returns the number of bytes, 0 at end of file. FROM, unless NULL, is overwritten by
 * credentials that the message carries (SO_PASSCRED). Never EINTR. errno EAGAIN: nothing is there. ENOMEM, EMFILE:
 * some descriptors were lost, those in SET were not, and a NUL ends the bytes in DATA if they are fewer than LEN.
 * Kernel: MSG_CTRUNC means that they did not fit our limit, or that a security module refused them
 * (net/core/scm.c). */
ssize_t rights_receive(int sock, struct set *set, void *data, size_t len, struct peer *from);

/* The same, but with ECONNRESET, once, where the peer closed and left bytes of ours unread; rights_receive goes on to
 * what the peer sent, and end of file. Kernel: on a seqpacket socket it comes before what is in the queue
 * (unix_dgram_recvmsg). */
ssize_t rights_read(int sock, struct set *set, void *data, size_t len, struct peer *from);

/* For a process that shares its parent's memory: send FD[COUNT] and a byte, as many as one message takes. Returns how
 * many, or minus errno's value; errno stays. */
long rights_put(int sock, const int *fd, size_t count);

/* The same: receive what rights_put sent, MOST descriptors at most, into FD. After a failure some may be open. */
long rights_take(int sock, int *fd, size_t most);

/* Is a message there, with bytes or with descriptors alone? Kernel: a peek without room for control data installs no
 * descriptor; MSG_CTRUNC tells that there is one. */
bool rights_waiting(int sock);

#endif
