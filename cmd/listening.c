/* SPDX-License-Identifier: ISC */
/* The listening sockets of fdserve and fdhold: all of them or none, and where they are. */
#include "cli.h"

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void listening_parse(struct listening *l, char *argv[], size_t count, bool named)
{
	l->count = count;
	l->listener = calloc(count + 1, sizeof *l->listener);
	l->name = calloc(count + 1, sizeof *l->name);
	if (!l->listener || !l->name)
		err(FAILED, "%s", count ? argv[0] : "ADDRESS");
	for (size_t i = 0; i < count; i++) {
		const char *address = argv[i], *equals = named ? strchr(argv[i], '=') : NULL;
		/* unix:a=b is a path. */
		if (equals && strcspn(argv[i], ":/@") > (size_t)(equals - argv[i])) {
			l->name[i] = strndup(argv[i], (size_t)(equals - argv[i]));
			address = equals + 1;
			check("", argv[i], l->name[i] ? parse_name(l->name[i]) : "out of memory");
		}
		check("", argv[i], listener_parse(&l->listener[i], address));
	}
	const char *twice;
	const char *why = names_repeat(l->name, count, &twice);
	if (why)
		errx(FAILED, "%s: %s", twice ? twice : argv[0], why);
}

void listening_close(struct listening *l)
{
	for (size_t i = 0; i < l->count; i++)
		listener_close(&l->listener[i]);
}

void listening_open(struct listening *l, const struct cli *c)
{
	if (l->address_file && address_file_remove(l->address_file) == -1)
		err(FAILED, "-A %s", l->address_file);
	for (size_t i = 0; i < l->count; i++) {
		const char *why = listener_open(&l->listener[i], c->mode, c->backlog);
		if (!why)
			continue;
		listening_close(l);
		errx(FAILED, "%s: %s", l->listener[i].arg, why);
	}
}

int listening_announce(struct listening *l, const struct cli *c)
{
	char *text = NULL;
	size_t len = 0;
	int unknown = 0;
	if (!l->address_file && c->loud < 1)
		return 0;
	FILE *out = open_memstream(&text, &len);
	for (size_t i = 0; out && i < l->count; i++) {
		char name[4200];
		if (listener_name(&l->listener[i], name, sizeof name) == -1) {
			unknown = errno;
			snprintf(name, sizeof name, "%s", l->listener[i].arg);
		}
		if (l->name[i])
			fprintf(out, "%s=", l->name[i]);
		fprintf(out, "%s\n", name);
		note(c, "%s: listening", name);
	}
	int result = out && fclose(out) != EOF ? 0 : -1;
	if (result == 0 && l->address_file) {
		errno = unknown;
		result = unknown ? -1 : address_file_write(l->address_file, text);
	}
	if (result == -1) {
		warn("%s%s", l->address_file ? "-A " : "", l->address_file ? l->address_file : l->listener[0].arg);
		listening_close(l);
	}
	free(text);
	return result;
}
