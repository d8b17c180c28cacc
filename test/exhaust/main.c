/* SPDX-License-Identifier: ISC */
#include "exhaust.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void must_be(int so, const char *what, const char *input, size_t len)
{
	if (so)
		return;
	fprintf(stderr, "must be: %s, of \"", what);
	for (size_t i = 0; i < len; i++)
		fprintf(stderr, isprint((unsigned char)input[i]) ? "%c" : "\\x%02x", (unsigned char)input[i]);
	fprintf(stderr, "\"\n");
	abort();
}

/* A copy, so that a sanitizer sees a byte too far. */
static void exactly(const char *text, size_t len, void (*check)(const char *, size_t))
{
	char *copy = malloc(len + 1);
	if (!copy)
		exit(1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	check(copy, len);
	free(copy);
}

static unsigned long extend(char *text, size_t len, const char *const *parts, size_t most,
                            void (*check)(const char *, size_t))
{
	unsigned long count = 1;
	exactly(text, len, check);
	for (size_t i = 0; most && parts[i]; i++) {
		size_t more = strlen(parts[i]);
		memcpy(text + len, parts[i], more);
		count += extend(text, len + more, parts, most - 1, check);
	}
	return count;
}

unsigned long each_of(const char *const *parts, size_t most, void (*check)(const char *, size_t))
{
	char text[LENGTH_MOST * 24] = "";
	return extend(text, 0, parts, most, check);
}

static unsigned long extend_by_bytes(char *text, size_t len, int first, size_t most,
                                     void (*check)(const char *, size_t))
{
	unsigned long count = 1;
	exactly(text, len, check);
	for (int c = first; most && c < 256; c++) {
		text[len] = (char)c;
		count += extend_by_bytes(text, len + 1, first, most - 1, check);
	}
	return count;
}

unsigned long each_byte(int first, size_t most, void (*check)(const char *, size_t))
{
	char text[LENGTH_MOST] = "";
	return extend_by_bytes(text, 0, first, most, check);
}

int main(int argc, char *argv[])
{
	int full = argc > 1 && strcmp(argv[1], "full") == 0;
	words_exhausted(full);
	records_exhausted(full);
	return 0;
}
