/* SPDX-License-Identifier: ISC */
/* What the harnesses share. Each has LLVMFuzzerTestOneInput, which reads its input as a sequence of steps:
 * the same bytes are always the same steps. Time, waiting, warnings, failures of malloc(3) and sendmsg(2), and what
 * getaddrinfo(3) may look up are the harness's: the linker's --wrap puts fuzz.c in between. */
#ifndef FUZZ_H
#define FUZZ_H

#include "set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct input {
	const uint8_t *data;
	size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 0 where there is none left. */
unsigned take_byte(struct input *in);

/* The next LEN bytes, or what is left of them. They stay the input's. */
const char *take_bytes(struct input *in, size_t *len);

/* The same, NUL-terminated, in BUF, which holds SIZE. */
const char *take_text(struct input *in, size_t len, char *buf, size_t size);

/* Abort, and say WHAT, unless that is so. */
void must(bool so, const char *what);

/* Between these two, time stands still but for clock_forward and poll(2), and as many descriptors are open after as before. */
void fuzz_begin(void);
void fuzz_end(void);

void clock_forward(unsigned ms);

/* The Nth allocation from now on fails; 0: none. */
void fail_allocation(unsigned n);

/* The next sendmsg(2) fails with ERROR; 0: it does not. */
void fail_sending(int error);

/* The next sendmsg(2), and the next recvmsg(2) that is no peek, on a stream take so many bytes at most; 0: as before. */
void shorten(size_t sending, size_t receiving);

/* STEP(ARG) runs before each sendmsg(2), recvmsg(2) and poll(2); its own calls are the kernel's, and nothing fails in it.
 * It returns false when it has nothing more to do: then nobody may wait for ever. NULL: none. */
void meanwhile(bool (*step)(void *arg), void *arg);

/* Have room for SPARE descriptors more; -1: as many as before. */
void limit_descriptors(int spare);

/* A descriptor that nothing else shares, for its inode to be known by; the caller's. */
int token(ino_t *ino);
ino_t inode(int fd);

/* Append COUNT descriptors to SET, which owns them. */
void add_tokens(struct set *set, size_t count);

/* A connected pair of TYPE, non-blocking. */
void make_pair(int type, int pair[2]);

#endif
