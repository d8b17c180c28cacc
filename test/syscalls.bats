#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# System calls for one unit of work, by name and in order: one more of them and a test fails. Each line
# below is all that is to be changed when the code gets better. Left out are what libc does before main and
# for memory. The peers are held still in turn, so that every run takes the same path.
# shellcheck disable=SC2154  # spawn sets $pid
load helper

# fdsend SOCKET 0, to a receiver that listens, until it has taken the descriptor
SEND='fcntl fcntl fcntl fcntl stat socket connect getsockopt sendmsg shutdown poll recvmsg close exit_group'
# fdrecv -i SOCKET COMMAND, until COMMAND is executed
RECEIVE='fcntl fcntl fcntl rt_sigaction rt_sigaction prlimit64 stat faccessat2 rt_sigaction rt_sigaction rt_sigaction rt_sigprocmask signalfd4 socket umask fchmod bind umask stat listen epoll_create1 poll accept4 getsockopt epoll_ctl poll epoll_wait recvmsg epoll_ctl getsockopt shutdown ioctl close close poll stat unlink close rt_sigprocmask close getsockname dup3 rt_sigprocmask execve'
# a connection: fdserve with a worker, from where it hands one over to where it hands over the next
SERVE='sendmsg accept4 poll recvmsg getsockopt getsockopt close poll recvmsg poll accept4'
# a connection: fdexec, from starting a process to starting the next, and the process that becomes COMMAND
WORK='clone poll read wait4 sendmsg wait4 poll epoll_wait recvmsg sendmsg'
WORK_CHILD='close close_range recvmsg sendto getsockname getpeername dup3 dup3 rt_sigprocmask execve'
# a connection: fdserve -- COMMAND, from starting a process to starting the next, and the process that becomes COMMAND
INETD='clone accept4 poll read wait4 wait4 poll accept4 sendmsg'
INETD_CHILD='close close_range recvmsg getsockname getpeername dup3 dup3 rt_sigprocmask execve'

setup() {
	exec </dev/null
	cd "$BATS_TEST_TMPDIR" || return
	unset NOTIFY_SOCKET
	need_strace
	! grep -qa __asan_init "$(type -P fdsend)" || skip "built with a sanitizer, which makes calls of its own"
	ulimit -n "$(ulimit -Sn)" # or the tools raise the soft limit, and put it back
}

# traced TRACE TOOL [ARG...]: spawn TOOL; each of its processes is traced into TRACE.PID. The pid of the
# one that traces is in $tracer.
traced() {
	spawn strace -D -ff -o "$@"
	eventually asleep "$pid" "$2"
	tracer=$(awk '$1 == "TracerPid:" { print $2 }' "/proc/$pid/status")
}

# traced_out TRACE: all of it is there.
traced_out() { eventually grep -q '^+++ ' "$1"; }

# calls TRACE: the names of the calls, one a line, without those for memory, those of a clock (where it is
# not the vDSO's), and musl's before its first signal handler. What differs between libcs, or between
# machines, by name alone gets one name.
calls() {
	awk -F '(' '
		/^(---|\+\+\+)/ { next }
		/^geteuid\(/ { next } # of a peer that is root nobody asks
		/^(brk|mmap|munmap|mremap|madvise|getrandom|clock_gettime)\(/ { next }
		/^rt_sigprocmask\(SIG_UNBLOCK, \[RT_1 RT_2\]/ { next }
		{ sub(/^(newfstatat|lstat|fstat)$/, "stat", $1); sub(/^ppoll$/, "poll", $1); print $1 }
	' "$1"
}

# own_calls TOOL TRACE: the same from the first call of main on, which is where it differs from TOOL -V.
own_calls() {
	strace -o startup "$1" -V >/dev/null
	calls startup >startup.calls
	calls "$2" | awk 'NR == FNR { start[NR] = $0; next } !own && $0 != start[FNR] { own = 1 } own' startup.calls -
}

# executed: of the calls, those until COMMAND is executed.
executed() { awk '{ print } $0 == "execve" { exit }'; }

# same EXPECTED: standard input has those words, one a line.
same() { diff -u <(tr ' ' '\n' <<<"$1") - >&2; }

stopped() { [[ $(cat "/proc/$1/stat") == *') T '* ]]; }
reaped() { [ ! -e "/proc/$1" ]; }

@test "fdsend: one descriptor" {
	spawn fdrecv -i s /bin/true
	receiver=$pid
	await_socket s
	eventually asleep "$receiver" fdrecv
	kill -STOP "$receiver"
	eventually stopped "$receiver"
	traced send fdsend s 0 # it sleeps: it waits until the descriptor is taken
	kill -CONT "$receiver"
	ended "$pid" 0
	traced_out "send.$pid"
	own_calls fdsend "send.$pid" | same "$SEND"
}

@test "fdrecv: one descriptor, and COMMAND" {
	traced receive fdrecv -i s /bin/true
	receiver=$pid
	PIDS+=("$tracer")
	await_socket s
	eventually asleep "$receiver" fdrecv
	kill -STOP "$tracer" # so the receiver wakes, and goes no further, before all has been sent
	eventually stopped "$tracer"
	spawn fdsend s 0
	eventually asleep "$pid" fdsend
	kill -CONT "$tracer"
	ended "$receiver" 0
	traced_out "receive.$receiver"
	own_calls fdrecv "receive.$receiver" | executed | same "$RECEIVE"
}

# visit PID:NAME...: a client comes, and goes; before each of these, and after, all the tools sleep.
visit() {
	exec {client}<>"/dev/tcp/${address%:*}/${address#*:}"
	read -r -u "$client" command
	settled "$@"
	exec {client}>&-
	eventually reaped "$command"
	settled "$@"
}
settled() {
	local tool
	for tool; do eventually asleep "${tool%:*}" "${tool#*:}"; done
}

# What each client gets: its process's pid; it stays until the client goes.
COMMAND=(/bin/sh -c 'echo $$; read -r line')

# cycle NAME: of the calls, those from the third NAME to the fourth.
cycle() { awk -v name="$1" '$0 == name { n++ } n == 3'; }

@test "fdserve and fdexec: a connection" {
	traced work fdexec -q -io w "${COMMAND[@]}"
	worker=$pid
	await_socket w
	traced serve fdserve -q -A addr 127.0.0.1:0 w
	server=$pid
	address=$(bound addr)
	for _ in 1 2 3 4; do visit "$worker:fdexec" "$server:fdserve"; done
	kill "$server" "$worker"
	traced_out "serve.$server"
	traced_out "work.$worker"
	calls "serve.$server" | cycle sendmsg | same "$SERVE"
	calls "work.$worker" | cycle clone | same "$WORK"
	calls "work.$command" | executed | same "$WORK_CHILD"
}

@test "fdserve -- COMMAND: a connection" {
	traced serve fdserve -q -io -A addr 127.0.0.1:0 -- "${COMMAND[@]}"
	server=$pid
	address=$(bound addr)
	for _ in 1 2 3 4; do visit "$server:fdserve"; done
	kill "$server"
	traced_out "serve.$server"
	calls "serve.$server" | cycle clone | same "$INETD"
	calls "serve.$command" | executed | same "$INETD_CHILD"
}
