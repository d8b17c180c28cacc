/* SPDX-License-Identifier: ISC */
/* Processes that share our table of descriptors, and not our memory: clone(2) with CLONE_FILES alone. */
#include "split.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernel: include/uapi/linux/close_range.h; not every libc knows it. */
enum { UNSHARE = 1 << 1 };

#ifndef SYS_close_range
#define SYS_close_range 436 /* Kernel: the same for every machine */
#endif

/* Libc's wrapper wants another stack. */
pid_t split(unsigned long sig)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, 0, CLONE_FILES | sig, 0, 0, 0);
#else
	return (pid_t)syscall(SYS_clone, CLONE_FILES | sig, 0, 0, 0, 0);
#endif
}

pid_t split_below(int end)
{
	pid_t pid = split(SIGCHLD);
	if (pid == -1)
		return fork();
	/* Kernel: a table that is left so is copied up to END (__range_close, fs/file.c), since 5.9. */
	if (pid == 0 && syscall(SYS_close_range, end, ~0U, UNSHARE) == -1)
		unshare(CLONE_FILES);
	return pid;
}
