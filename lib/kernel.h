/* SPDX-License-Identifier: ISC
 *
 * System calls that leave errno alone: for a process that shares its parent's memory, and so its errno. A call returns
 * its result, or minus errno's value. Where SHARES_MEMORY is 0 there are no words for that, and no such process. */
#ifndef KERNEL_H
#define KERNEL_H

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__ && !defined __ILP32__
enum { SHARES_MEMORY = 1 };
static inline long kernel(long n, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = 0;
	__asm__ volatile("syscall" : "+a"(n) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return n;
}
#elif defined __i386__
enum { SHARES_MEMORY = 1 };
static inline long kernel(long n, long a, long b, long c, long d, long e)
{
	__asm__ volatile("int $0x80" : "+a"(n) : "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory");
	return n;
}
#elif defined __aarch64__
enum { SHARES_MEMORY = 1 };
static inline long kernel(long n, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
	              x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
enum { SHARES_MEMORY = 0 };
static inline long kernel(long n, long a, long b, long c, long d, long e)
{
	long result = syscall(n, a, b, c, d, e, 0L);
	return result == -1 ? -errno : result;
}
#endif

#endif
