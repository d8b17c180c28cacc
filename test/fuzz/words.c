/* SPDX-License-Identifier: ISC */
/* Words that a user or a service manager writes, and a message's text on its way into an environment. */
#include "fuzz.h"
#include "address.h"
#include "dial.h"
#include "env.h"
#include "inbox.h"
#include "parse.h"
#include "peer.h"
#include "ready.h"
#include "record.h"
#include "socket.h"
#include "set.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void numbers(const char *word)
{
	long n = -1;
	int64_t ms = -1;
	mode_t mode = 0;
	int type = -1;
	if (!parse_number(&n, word, 3, 65535))
		must(n >= 3 && n <= 65535 && strspn(word, "0123456789") == strlen(word), "a number in its range");
	if (!parse_time(&ms, word))
		must(ms >= 0 && ms <= 100003600000000 && isdigit((unsigned char)word[*word == '.']), "a time");
	if (!parse_mode(&mode, word))
		must(mode <= 0777 && strspn(word, "01234567") == strlen(word), "a mode");
	if (!parse_type(&type, word))
		must(type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET, "a type");
	if (!parse_name(word))
		must(*word && strlen(word) <= 255 && !strpbrk(word, ":=, \t\n"), "a name");
}

/* Ranges as wide as they may be take a second each under a sanitizer. */
static bool wide(const char *word)
{
	size_t digits = 0;
	for (; *word; word++) {
		digits = isdigit((unsigned char)*word) ? digits + 1 : 0;
		if (digits > 3)
			return true;
	}
	return false;
}

static void list(const char *word, bool bare)
{
	struct set set = {0};
	const char *why = set_parse(&set, word, bare), *name;
	bool named = true, numbered = true;
	must(why || set.count, "something in a list");
	for (size_t i = 0; i < set.count; i++) {
		must(set.name[i] ? !parse_name(set.name[i]) : set.fd[i] >= 0, "a name or a number");
		must(bare || set.fd[i] >= 0, "a number");
		for (size_t j = 0; set.count < 300 && j < i; j++) {
			named = named && (!set.name[i] || !set.name[j] || strcmp(set.name[i], set.name[j]) != 0);
			numbered = numbered && (set.fd[i] == -1 || set.fd[i] != set.fd[j]);
		}
	}
	must(set.count >= 300 || !set_repeats(&set, false, &name) == named, "each name once");
	must(named || name, "the name that is there twice");
	must(set.count >= 300 || !set_repeats(&set, true, &name) == (named && numbered), "each number once");
	set_forget(&set);
}

static void sockets(const char *word)
{
	struct endpoint at;
	struct listener l;
	if (!endpoint_parse(&at, word))
		must(*at.text && at.arg == word && (at.kind == END_FD) == (at.fd >= 0), "a SOCKET");
	if (strchr(word, ':') && !dial_parse(&at, word))
		must(at.arg == word && *at.text && at.fd == -1, "an ADDRESS to connect to");
	if (!listener_parse(&l, word))
		must(l.at.kind == END_FD || l.local || l.found, "an ADDRESS");
	l.at.kind = END_FD; /* parsed only: nothing to close */
	l.at.fd = -1;
	listener_close(&l);
}

/* Names would be asked of the system's data base. */
static void allow(const char *word)
{
	struct allow a = {0};
	for (const char *c = word; *c; c++)
		if (!isdigit((unsigned char)*c) && !strchr(":,", *c) && strcmp(word, "any") != 0)
			return;
	if (!allow_parse(&a, word)) {
		must(a.any || a.count, "somebody is allowed");
		for (size_t i = 0; i < a.count; i++)
			must(peer_allowed(&a, &(struct peer){.uid = a.rule[i].group ? NOBODY : a.rule[i].id, .gid = a.rule[i].id}, -1),
			     "who is listed is allowed");
	}
	free(a.rule);
}

/* WORD is a path, which nothing but a test's own socket may be. */
static void notify(const char *word)
{
	if (*word != '@' && strchr(word, '/'))
		return;
	setenv("NOTIFY_SOCKET", word, 1);
	ready_notify("READY=1");
	unsetenv("NOTIFY_SOCKET");
}

/* What the environment holds is what the message said, as far as it is text. */
static void message(const char *data, size_t len, bool trouble)
{
	struct env env;
	struct delivery d = {.peer = {.pid = 1, .uid = 2, .gid = 3}, .text = len ? malloc(len) : NULL, .len = len};
	if (len)
		memcpy(d.text, data, len);
	must(env_open(&env) == 0, "an environment");
	if (trouble)
		fail_allocation(1);
	int result = env_begin(&env, 0, len);
	fail_allocation(0);
	must(result == 0 || trouble, "room");
	if (result == 0)
		env_delivery(&env, &d);
	size_t count = env.count - env.base;
	must(result == -1 || count == 3 || count == 4, "three variables, or four");
	if (count == 4) {
		const char *var = env.var[env.base + 3];
		must(strlen(var) == 14 + len && memcmp(var, "FDKIT_MESSAGE=", 14) == 0, "its variable");
		must(memcmp(var + 14, data, len) == 0, "its text");
	}
	for (size_t i = 0; result == 0 && i < len; i++)
		must(count == 3 || (unsigned char)data[i] >= ' ' || data[i] == '\t' || data[i] == '\n', "text");
	free(d.text);
	free(env.grown);
	free(env.var);
}

static void listening(const int *to, size_t count, const char *names)
{
	struct env env;
	struct set set = {0};
	must(env_open(&env) == 0, "an environment");
	while (set.count < count)
		must(set_add(&set, -1, NULL) == 0, "memory");
	if (set_name(&set, 0, names) == 0) {
		must(env_begin(&env, count, strlen(names)) == 0 && env_listen(&env, to, set.name, count, true) == 0, "an environment");
		env_fds(&env, to, count);
	}
	set_forget(&set);
	free(env.grown);
	free(env.var);
}

static void word(struct input *input)
{
	char text[256];
	int to[4] = {3, 4, 5, 6};
	unsigned kind = take_byte(input);
	size_t len = take_byte(input);
	struct input here = *input;
	const char *bytes = take_bytes(input, &len);
	take_text(&here, len, text, sizeof text);
	switch (kind % 8) {
	case 0: message(bytes, len, kind & 8); break;
	case 1: numbers(text); break;
	case 2: case 3:
		if (!wide(text))
			list(text, kind & 1);
		break;
	case 4: sockets(text); break;
	case 5: allow(text); break;
	case 6: notify(text); break;
	default:
		to[kind >> 6] += (int)(kind >> 4) % 4;
		listening(to, 1 + (kind >> 3) % 4, text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {.data = data, .left = size};
	fuzz_begin();
	while (input.left)
		word(&input);
	fuzz_end();
	return 0;
}
