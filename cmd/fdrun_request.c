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

/* Is it a name that a shell would take? */
static bool is_name(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	return len && !isdigit((unsigned char)*name);
}

/* Append VAR, NAME=VALUE, in place of an earlier one of that name. */
static const char *set(struct request *r, const char *var)
{
	size_t len = strcspn(var, "=") + 1, i = 0;
	while (i < r->vars && strncmp(r->var[i], var, len) != 0)
		i++;
	char **grown = realloc(r->var, (r->vars + 1) * sizeof *grown);
	if (!grown || !(grown[i] = strdup(var)))
		return "out of memory";
	r->var = grown;
	r->vars += i == r->vars;
	return NULL;
}

const char *request_variables(struct request *r, const char *arg)
{
	size_t len = strcspn(arg, "=");
	if (arg[len])
		return is_name(arg, len) ? set(r, arg) : "not NAME,... or one NAME=VALUE";
	for (const char *name = arg;; name += len + 1) {
		char *var;
		len = strcspn(name, ",");
		if (!is_name(name, len))
			return "not NAME,... or one NAME=VALUE";
		if (asprintf(&var, "%.*s", (int)len, name) == -1)
			return "out of memory";
		const char *value = getenv(var), *why = NULL;
		free(var);
		if (value && asprintf(&var, "%.*s=%s", (int)len, name, value) == -1)
			return "out of memory";
		if (value) {
			why = set(r, var);
			free(var);
		}
		if (why || !name[len])
			return why;
	}
}

/* Write COUNT strings with their NULs. */
static bool write_strings(FILE *f, char **string, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fwrite(string[i], 1, strlen(string[i]) + 1, f) == 0)
			return false;
	return true;
}

/* The words and variables, in a file that can change no more: so its reader never waits, and reads what it has checked. */
static int words_file(const struct request *r)
{
	int fd = memfd_create("fdrun", MFD_CLOEXEC | MFD_ALLOW_SEALING), copy = fd == -1 ? -1 : dup(fd);
	FILE *f = copy == -1 ? NULL : fdopen(copy, "w");
	bool written = f && write_strings(f, r->word, r->words) && write_strings(f, r->var, r->vars);
	if (f && fclose(f) == 0 && written &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0)
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

int request_send(const struct request *r, int sock, bool cwd, int64_t deadline)
{
	struct record record = {.word = RECORD_RUN, .fds = r->fds.count, .id = 1, .tty = r->tty, .words = r->words};
	int fd[FDS_PER_MESSAGE], dir = cwd ? open(".", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	int words = r->words || r->vars ? words_file(r) : -1, result = -1;
	memcpy(fd, r->fds.fd, r->fds.count * sizeof *fd);
	if ((record.cwd = dir != -1))
		fd[record.fds++] = dir;
	if ((record.args = words != -1))
		fd[record.fds++] = words;
	if (record.cwd == cwd && record.args == (r->words || r->vars))
		result = record_send(sock, &record, fd, deadline);
	int error = errno;
	while (record.fds > r->fds.count)
		close(fd[--record.fds]);
	errno = error;
	return result;
}
