/* SPDX-License-Identifier: ISC */
#include "fdexec.h"
#include "copy.h"
#include "jobs.h"
#include "launch.h"
#include "messages.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int run_on_pair(const struct options *o)
{
	struct launch l;
	struct jobs jobs;
	int pair[2], side, status;
	if (copy_possible(0, 1, &side) == -1)
		fail_copy(side, NULL);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null == -1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
		err(FAILED, "-S %ld", o->pair);
	/* We copy standard input; COMMAND must not read from it too. */
	const int from[] = {pair[1], null}, to[] = {(int)o->pair, 0};
	if (launch_open(&l, &o->command, -1, -1) == -1 || launch_set(&l, from, to, o->pair ? 2 : 1) == -1 || jobs_open(&jobs, 1) == -1)
		err(FAILED, "-S %ld", o->pair);
	pid_t pid = launch_start(&l, &jobs.job->error);
	if (pid == -1)
		err(FAILED, "%s", o->command.argv[0]);
	close(null);
	close(pair[1]);
	signal(SIGPIPE, SIG_IGN);
	int copied = copy_both(pair[0], 0, 1, &side), error = errno;
	if (copied == -1 && !jobs.job->error) {
		errno = error;
		fail_copy(side, o->command.argv[0]);
	}
	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR)
			err(FAILED, "%s", o->command.argv[0]);
	if (jobs.job->error)
		warnx("%s: %s", o->command.argv[0], strerror(jobs.job->error));
	note(&o->cli, "%s: pid %ld ended with status %d", o->command.argv[0], (long)pid, exit_status(status));
	return exit_status(status);
}
