/* SPDX-License-Identifier: ISC */
/* The listening sockets of fdserve and fdhold: all of them or none, and where they are. */
#include "listening.h"
#include "address.h"
#include "lease.h"
#include "messages.h"
#include "parse.h"
#include "record.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void listening_parse(struct listening *l, char *argv[], size_t count, bool named)
{
	l->count = count;
	l->listener = calloc(count + 1, sizeof *l->listener);
	if (!l->listener)
		err(FAILED, "%s", count ? argv[0] : "ADDRESS");
	for (size_t i = 0; i < count; i++) {
		char *equals = named ? strchr(argv[i], '=') : NULL, *name = NULL;
		/* unix:a=b is a path. */
		if (equals && strcspn(argv[i], ":/@") > (size_t)(equals - argv[i]) &&
		    !(name = strndup(argv[i], (size_t)(equals - argv[i]))))
			err(FAILED, "%s", argv[i]);
		check("", argv[i], name ? parse_name(name) : NULL);
		check("", argv[i], listener_parse(&l->listener[i], name ? equals + 1 : argv[i]));
		check("", argv[i], set_add(&l->set, -1, name) == -1 ? "out of memory" : NULL);
		free(name);
	}
	check_repeats(argv[0], &l->set, false);
}

void listening_close(struct listening *l)
{
	for (size_t i = 0; i < l->count; i++)
		listener_close(&l->listener[i]);
	address_file_remove(&l->file);
}

void listening_open(struct listening *l, const struct cli *c, bool checked)
{
	if (l->file.path)
		check("-A", l->file.path, address_file_prepare(&l->file));
	for (size_t i = 0; i < l->count; i++) {
		const char *why = l->lease ? lease_open(&l->listener[i])
		                           : listener_open(&l->listener[i], socket_mode(c, checked), c->backlog);
		l->set.fd[i] = l->listener[i].at.fd;
		if (!why)
			continue;
		listening_close(l);
		errx(FAILED, "%s: %s", l->listener[i].arg, why);
	}
}

char *listening_text(const struct listening *l, const struct cli *c)
{
	char *text = NULL;
	size_t len = 0;
	int unknown = 0;
	FILE *out = open_memstream(&text, &len);
	for (size_t i = 0; out && i < l->count; i++) {
		char name[4200];
		if (listener_name(&l->listener[i], name, sizeof name) == -1) {
			unknown = errno;
			snprintf(name, sizeof name, "%s", l->listener[i].arg);
		}
		fprintf(out, "%s%s%s\n", l->set.name[i] ? l->set.name[i] : "", l->set.name[i] ? "=" : "", name);
		note(c, "%s: listening", name);
	}
	if (!out || fclose(out) == EOF)
		return NULL;
	if (!unknown || !l->file.path)
		return text;
	free(text);
	errno = unknown;
	return NULL;
}

int listening_announce(struct listening *l, const struct cli *c, int sigfd, int64_t deadline)
{
	if (!l->file.path && c->loud < 1)
		return 0;
	char *text = listening_text(l, c);
	int result = !text ? -1 : l->file.path ? address_file_finish(&l->file, text, strlen(text), sigfd, deadline) : 0;
	int status = result > 0 ? 128 + result : result == 0 ? 0 : errno == ETIMEDOUT ? TIMED_OUT : FAILED;
	if (result == -1)
		warnx("%s%s: %s", l->file.path ? "-A " : "", l->file.path ? l->file.path : l->listener[0].arg, reason(errno));
	if (status)
		listening_close(l);
	free(text);
	return status;
}
