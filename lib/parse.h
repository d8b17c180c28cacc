/* SPDX-License-Identifier: ISC
 *
 * The words in arguments, and text from peers. */
#ifndef PARSE_H
#define PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Each of these returns NULL, or the reason why ARG is invalid; then the result is unchanged. */
const char *parse_number(long *out, const char *arg, long min, long max); /* decimal, MIN to MAX, which are 0 or more */
const char *parse_time(int64_t *ms, const char *arg);   /* TIME, rounded up to milliseconds */
const char *parse_mode(mode_t *mode, const char *arg);  /* octal, 0 to 0777 */
const char *parse_type(int *type, const char *arg);     /* stream, dgram, seqpacket: SOCK_... */
const char *parse_name(const char *name);               /* 1 to 255 printable ASCII bytes other than : = , and space */

/* Write N in decimal, without a NUL, into TEXT, which has NUMBER_ROOM bytes. Returns the length. Unlike snprintf(3),
 * it may be called in a process that shares our memory. */
enum { NUMBER_ROOM = 20 };
size_t format_number(char *text, uint64_t n);

/* The length of the character at TEXT, which has LEFT > 0 bytes; 0 for a byte that must not reach a terminal: of a
 * control character (C0, DEL, C1), or not UTF-8. */
size_t printable_length(const char *text, size_t left);

/* Overwrite each such byte with a question mark, before text from a peer is shown. */
void printable(char *text, size_t len);

#endif
