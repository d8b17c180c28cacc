/* SPDX-License-Identifier: ISC
 *
 * Processes that share our table of descriptors, and not our memory. */
#ifndef SPLIT_H
#define SPLIT_H

#include <sys/types.h>

/* As fork(2), but the process shares our table, and sends us SIG, or 0 for none, when it ends. errno EINVAL: the kernel
 * has no such processes (qemu's user emulation). */
pid_t split(unsigned long sig);

/* As fork(2), but the process has the numbers below END only: what lies above cannot hold it up, since it is neither
 * copied nor closed. We must not change what lies below before it is somewhere that only it gets to. Where the kernel
 * has no such processes, it is a fork's, with all numbers. */
pid_t split_below(int end);

#endif
