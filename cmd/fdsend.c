/* SPDX-License-Identifier: ISC */
/* fdsend: send open descriptors to another process. */
#include "cli.h"
#include "command.h"
#include "inbox.h"
#include "parse.h"
#include "record.h"
#include "sending.h"
#include "set.h"
#include "socket.h"

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

struct options {
	struct cli cli;
	long pid;               /* -p, 0 for our own descriptors */
	struct set list;
	struct sending sending;
};

static void parse_options(struct options *o, int argc, char *argv[])
{
	struct sending *s = &o->sending;
	int option;
	*o = (struct options){.sending.cli = &o->cli};
	cli_start(&o->cli, argv, FDSEND, "usage: fdsend [options] SOCKET [FD...]\n\n"
	          "Send open descriptors to the process at SOCKET; wait until it has taken them.\n"
	          "Example: fdrecv s & fdsend -w 5 s 0 <notes.txt    # fdrecv prints notes.txt\n");
	while ((option = cli_option(&o->cli, argc, argv)) != -1)
		switch (option) {
		case 'f': check("-f", optarg, set_parse(&o->list, optarg, false)); break;
		case 'k': s->keep = true; break;
		case 'l': s->listen = true; break;
		case 'm':
		case OPT_MESSAGE_FILE: s->text = message_text(option); break;
		case 'n': s->no_wait = true; break;
		case 'p': check("-p", optarg, parse_number(&o->pid, optarg, 1, INT32_MAX)); break;
		case 'P': s->plain = true; break;
		case '1': s->one_each = true; break;
		default: break;
		}
	check_given(&o->cli, (int[]){'k', 'M', 'R', 0}, s->listen, "needs -l");
	check_given(&o->cli, (int[]){'w', 0}, !s->listen, "cannot be combined with -l");
	const char *arg = operand(argc, argv, "SOCKET");
	check("", arg, endpoint_parse(&s->at, arg));
	for (; optind < argc; optind++)
		check("", argv[optind], set_parse(&o->list, argv[optind], false));
	if (!o->list.count)
		check("", "0", set_parse(&o->list, "0", false));
	check_repeats(arg, &o->list, false);
}

/* Check the descriptors before sending or creating anything: borrow our own, copy those of another process. */
static void take_descriptors(struct options *o)
{
	struct set *set = &o->sending.set;
	int process = -1;
	/* No libc wrapper in musl for these two. */
	if (o->pid && (process = (int)syscall(SYS_pidfd_open, (pid_t)o->pid, 0)) == -1)
		err(FAILED, "process %ld", o->pid);
	for (size_t i = 0; i < o->list.count; i++) {
		int fd = o->list.fd[i];
		if (o->pid && (fd = (int)syscall(SYS_pidfd_getfd, process, fd, 0)) == -1)
			err(FAILED, "fd %d of process %ld", o->list.fd[i], o->pid);
		if (fcntl(fd, F_GETFD) == -1 || set_add(set, fd, o->list.name[i]) == -1)
			err(FAILED, "fd %d", fd);
	}
	if (process != -1)
		close(process);
}

int main(int argc, char *argv[])
{
	struct options o;
	parse_options(&o, argc, argv);
	struct rlimit nofile;
	/* Copies of another process's descriptors are ours, and must not land among the standard streams. */
	if (o.pid) {
		guard_standard();
		raise_limit(&nofile);
		o.sending.at.nofile = &nofile;
	}
	take_descriptors(&o);
	sending_check(&o.sending);
	guard_standard();
	return sending_run(&o.sending);
}
