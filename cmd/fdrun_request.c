/* SPDX-License-Identifier: ISC */
/* The request of fdrun: descriptors, and with them a directory, and words and variables in a sealed file. */
#include "fdrun.h"
#include "record.h"
#include "rights.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *request_variables(struct request *r, char *arg)
{
	bool one = strchr(arg, '=');
	for (char *end = arg;; arg = end + 1) {
		for (end = arg; isalnum((unsigned char)*end) || *end == '_'; end++)
			;
		if (end == arg || isdigit((unsigned char)*arg) || *end != (one ? '=' : *end == ',' ? ',' : '\0'))
			return "not NAME,... or one NAME=VALUE";
		char **grown = realloc(r->name, (r->names + 1) * sizeof *grown);
		r->name = grown ? grown : r->name;
		if (!grown || !(grown[r->names++] = strndup(arg, (size_t)(end - arg))) || (one && putenv(arg)))
			return "out of memory";
		if (one || !*end)
			return NULL;
	}
}

/* The words and variables, each ended by a NUL, in a file that can change no more: its reader never waits, and reads
 * what it has checked. -1 and errno if that fails. */
static int words_file(const struct request *r)
{
	int fd = memfd_create("fdrun", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	FILE *f = fd == -1 ? NULL : fdopen(fd, "w");
	for (size_t i = 0; f && i < r->words; i++)
		fprintf(f, "%s%c", r->word[i], '\0');
	for (size_t i = 0; f && i < r->names; i++)
		if (getenv(r->name[i]))
			fprintf(f, "%s=%s%c", r->name[i], getenv(r->name[i]), '\0');
	if (f && !ferror(f) && fflush(f) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

int request_send(const struct request *r, int sock, bool cwd, int64_t deadline)
{
	struct record record = {.word = RECORD_RUN, .fds = r->fds.count, .id = 1, .tty = r->tty, .words = r->words,
	                        .cwd = cwd, .args = r->words || r->names};
	int fd[FDS_PER_MESSAGE];
	memcpy(fd, r->fds.fd, r->fds.count * sizeof *fd);
	if (cwd && (fd[record.fds++] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) == -1)
		return -1;
	if (record.args && (fd[record.fds++] = words_file(r)) == -1)
		return -1;
	int result = record_send(sock, &record, fd, deadline), error = errno;
	while (record.fds > r->fds.count)
		close(fd[--record.fds]);
	errno = error;
	return result;
}
