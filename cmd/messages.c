/* SPDX-License-Identifier: ISC */
#include "messages.h"
#include "kind.h"
#include "options.h"
#include "peer.h"
#include "set.h"
#include "socket.h"
#include "wait.h"

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *reason(int error)
{
	switch (error) {
	case EADDRINUSE: return "Address already in use (somebody listens there)";
	case EDEADLK: return "input and output are the same file";
	case ENOLCK: return "stale, but another user's file stands where its lock would be (the name with .fdkit-lock)";
	case ENOTSOCK: return "not a socket";
	case EPROTOTYPE: return "a socket of another type (-T)";
	case EAFNOSUPPORT: return "not a Unix socket";
	case ESHUTDOWN: return "accepts no more connections (somebody who shares the socket has shut it down)";
	case ETIMEDOUT: return "timed out";
	default: return strerror(error);
	}
}

const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

void say(const struct cli *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	if (c->loud >= 0)
		vwarnx(format, ap);
	va_end(ap);
}

void note(const struct cli *c, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	if (c->loud > 0)
		vwarnx(format, ap);
	va_end(ap);
}

const char *show_set(const struct cli *c, const struct set *set, uid_t from, char text[SHOWN_MOST])
{
	char kind[PATH_MAX + 100], one[sizeof kind + 256];
	size_t used = 0;
	text[0] = '\0';
	for (size_t i = 0; c->loud > 0 && i < set->count; i++) {
		const char *name = set->name[i];
		kind_describe(set->fd[i], uid_trusted(from), kind, sizeof kind);
		snprintf(one, sizeof one, "%s%s%s", name ? name : "", name ? " " : "", kind);
		if (!i)
			used = (size_t)sprintf(text, "%zu descriptor%s: ", set->count, plural(set->count));
		bool fits = used + strlen(one) + sizeof ", ..." <= SHOWN_MOST;
		used += (size_t)sprintf(text + used, "%s%s", i ? ", " : "", fits ? one : "...");
		if (!fits)
			break;
	}
	return text;
}

void note_sent(const struct cli *c, const char *object, const struct set *set, int sock)
{
	char text[SHOWN_MOST];
	struct peer to;
	show_set(c, set, geteuid(), text);
	if (peer_of(sock, &to) == 0 && to.uid != NOBODY)
		note(c, "%s: sent to pid %ld, uid %lu: %s", object, (long)to.pid, (unsigned long)to.uid, text);
	else
		note(c, "%s: sent %s", object, text);
}

/* Report OBJECT, the reason from errno, and HINT. */
static int say_why(const char *object, const char *hint)
{
	int status = errno == ETIMEDOUT ? TIMED_OUT : FAILED;
	warnx("%s: %s%s", object, reason(errno), hint);
	return status;
}

int say_failed(const char *object)
{
	return say_why(object, "");
}

void fail(const char *object)
{
	exit(say_failed(object));
}

int say_unconnected(const char *object)
{
	switch (errno) {
	case ECONNREFUSED: return say_why(object, " (nobody listens there; -w TIME waits)");
	case ENOENT: return say_why(object, " (-w TIME waits)");
	case ETIMEDOUT: return say_why(object, " (nobody listens there)");
	case EINVAL: return say_why(object, " (it is a listening socket)");
	default: return say_why(object, "");
	}
}

int say_not_listening(const char *object, const char *hint)
{
	if (errno != EADDRINUSE)
		return say_failed(object);
	warnx("%s: Address already in use (somebody listens there; %s)", object, hint);
	return FAILED;
}

void fail_copy(int side, const char *object)
{
	if (side == 1 && errno == EPIPE)
		die_of(SIGPIPE);
	if (side > 1 && (errno == EINVAL || errno == EBADF))
		errx(FAILED, "%s: its descriptor cannot be copied: no file, pipe, terminal or connection (a COMMAND may use it)",
		     object);
	errx(FAILED, "%s: %s", side == 0 ? "standard input" : side == 1 ? "standard output" : object, reason(errno));
}

int say_closed(const struct endpoint *at, const char *without)
{
	struct peer peer;
	char hint[120] = "";
	if (at->fd != -1 && at->kind != END_EXEC && peer_of(at->fd, &peer) == 0 && peer.pid && peer.uid != geteuid())
		snprintf(hint, sizeof hint, " (uid %lu there; its -a may refuse uid %lu)", (unsigned long)peer.uid,
		         (unsigned long)geteuid());
	warnx("%s: closed %s%s", at->arg, without, hint);
	return FAILED;
}

/* Write into WHY that PEER is refused, and the argument of -a that allows it. */
static void refusal(const struct peer *peer, char *why, size_t size)
{
	unsigned long uid = peer->uid;
	if (uid_unmapped(peer->uid))
		snprintf(why, size, "refused uid %lu (-a any allows it)", uid);
	else
		snprintf(why, size, "refused uid %lu (-a %lu allows it)", uid, uid);
}

void say_refused(const struct cli *c, const char *object, const struct peer *peer)
{
	char why[120];
	refusal(peer, why, sizeof why);
	say(c, "%s: %s", object, why);
}

void say_not_accepted(const struct cli *c, const char *object, const struct peer *peer)
{
	if (errno == EACCES)
		say_refused(c, object, peer);
	else if (errno == ESHUTDOWN)
		warnx("%s: %s", object, reason(errno));
}

void say_excess(const struct cli *c, const char *object, uid_t uid)
{
	say(c, "%s: uid %lu is over its quota; closing further connections", object, (unsigned long)uid);
}

void say_waiting(const struct cli *c, const char *object, size_t commands)
{
	if (commands)
		say(c, "%s: waiting for %zu command%s (a second signal ends %s)", object, commands, plural(commands),
		    commands == 1 ? "it" : "them");
}

void say_ended(const struct cli *c, const char *object, size_t commands, const char *signal)
{
	if (commands)
		say(c, "%s: sent %s to %zu command%s", object, signal, commands, plural(commands));
}

bool peer_fits(const struct cli *c, const struct endpoint *at, char *why, size_t size)
{
	struct peer peer;
	if (endpoint_given(at) || at->type == SOCK_DGRAM)
		return true;
	if (peer_of(at->fd, &peer) == 0) {
		refusal(&peer, why, size);
		return peer_allowed(&c->allow, &peer, at->fd);
	}
	snprintf(why, size, "%s", strerror(errno));
	return false;
}

void check_peer(const struct cli *c, const struct endpoint *at)
{
	char why[120];
	if (!peer_fits(c, at, why, sizeof why))
		errx(FAILED, "%s: %s", at->arg, why);
}

const char *signal_name(int sig)
{
	return sig == SIGHUP ? "SIGHUP" : sig == SIGINT ? "SIGINT" : "SIGTERM";
}

void die_of(int sig)
{
	signal(sig, SIG_DFL);
	raise(sig);
	signals_close(-1);
	exit(128 + sig); /* not reached */
}
