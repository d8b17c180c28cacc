/* SPDX-License-Identifier: ISC */
/* closer [-kw] [-e COMMAND] PATH COUNT: opens PATH COUNT times and has the library's closer close that, together with one end of
 * a pair of sockets; says "end of file" when the other end sees that, and how many numbers are free within 2 s. Then it ends as
 * a tool does, or, with -e, becomes COMMAND. -k: it keeps what it opened, and ends. -w: it stays. */
#include "closer.h"
#include "command.h"
#include "set.h"
#include "wait.h"

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int free_numbers(const struct set *set)
{
	int count = 0;
	for (size_t i = 0; i < set->count; i++)
		count += fcntl(set->fd[i], F_GETFD) == -1;
	return count;
}

int main(int argc, char *argv[])
{
	const char *command = NULL;
	bool keep = false, stay = false;
	for (int letter; (letter = getopt(argc, argv, "kwe:")) != -1;)
		if (letter == 'e')
			command = optarg;
		else if (letter == 'k')
			keep = true;
		else
			stay = true;
	if (argc - optind != 2)
		errx(2, "usage: closer [-kw] [-e COMMAND] PATH COUNT");
	struct closer c = {0};
	struct set set = {0}, given = {0};
	int count = atoi(argv[optind + 1]), pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
		err(1, "socketpair");
	for (int i = 0; i < count; i++) {
		int fd = open(argv[optind], O_RDONLY | O_CLOEXEC);
		if (fd == -1 || set_add(&set, fd, NULL) == -1 || set_add(&given, fd, NULL) == -1)
			err(1, "%s", argv[optind]);
	}
	printf("opened %zu\n", set.count);
	fflush(stdout);
	if (!keep) {
		closer_trim(&c, &set, 0, 0);
		closer_close(&c, pair[1], 1);
		if (await(pair[0], POLLIN, deadline_in(5000)) == -1)
			err(1, "the other end");
		for (int64_t end = deadline_in(2000); free_numbers(&given) < count && time_left(end);)
			nap(1, end);
		printf("end of file, %d free\n", free_numbers(&given));
		fflush(stdout);
	}
	if (stay)
		pause();
	if (command) {
		closer_wait(&c, 100);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		err(1, "sh");
	}
	closer_end(&c, keep);
	return 0;
}
