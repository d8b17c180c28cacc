/* SPDX-License-Identifier: ISC */
/* Parsers on every input up to some length, beside a second reading of the same rules. */
#ifndef EXHAUST_H
#define EXHAUST_H

#include <stddef.h>

enum { LENGTH_MOST = 16 };

/* Ends us with WHAT and the input, unless SO. */
void must_be(int so, const char *what, const char *input, size_t len);

/* Call CHECK with every string of up to MOST parts, each one of PARTS (NULL-terminated). Returns how many. The string is
 * exactly as long as the memory that holds it, with its NUL. */
unsigned long each_of(const char *const *parts, size_t most, void (*check)(const char *text, size_t len));

/* The same with every string of bytes from FIRST to 255, NUL left out where FIRST is 1, up to MOST of them. */
unsigned long each_byte(int first, size_t most, void (*check)(const char *text, size_t len));

void words_exhausted(int full);
void records_exhausted(int full);

#endif
