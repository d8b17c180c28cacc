/* SPDX-License-Identifier: ISC
 *
 * The words in arguments. */
#ifndef PARSE_H
#define PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

const char *parse_number(long *out, const char *arg, long min, long max);

/* The other way round, without a NUL, into NUMBER_ROOM bytes. Returns the length. */
enum { NUMBER_ROOM = 20 };
size_t format_number(char *text, uint64_t n);

/* Length of the character at TEXT, which has LEFT > 0 bytes: 0 for one that must not reach a terminal, a control
 * character (C0, DEL, C1) or no UTF-8. */
size_t printable_length(const char *text, size_t left);

/* Overwrite each such byte with a question mark: before text that a peer sent is shown. */
void printable(char *text, size_t len);

const char *parse_time(int64_t *ms, const char *arg);   /* TIME, rounded up to milliseconds */
const char *parse_mode(mode_t *mode, const char *arg);  /* octal, 0 to 0777 */
const char *parse_name(const char *name);
const char *parse_type(int *type, const char *arg);     /* stream, dgram, seqpacket: SOCK_... */

#endif
