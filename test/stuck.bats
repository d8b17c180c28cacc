#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Strangers that hold up whoever closes what they sent: sockets with SO_LINGER, pipes whose lock is held, files of a file
# system that does not answer (peers/stuck.py). Meanwhile honest clients are served, and TERM ends a service, within
# a second; here it is a few seconds, since a test must not depend on how busy the machine is.
# shellcheck disable=SC2154  # helper.bash sets pub and pid
load helper


# stuck_file: a file system ($pub/mnt) whose file is never flushed.
stuck_file() {
	need_fuse
	public
	fuse "$pub/mnt" FLUSH
}

# attack HOW WHAT [COUNT [BYTES]]: another uid sends that to $pub/s, before the service looks at it.
attack() {
	local how=$1 what=$2 sent=sent.$((++attacks))
	shift 2
	kill -STOP "$service"
	spawn as_other stuck.py "$how" "$what" "$pub/s" "$@" >"$sent"
	eventually grep -q sent "$sent"
	kill -CONT "$service"
}

# ends_soon PID [STATUS]: TERM ends it soon, and all that it has open: its standard output is the FIFO `output`. Somebody else can have the address at once.
ends_soon() {
	kill "$1"
	eventually grep -q 'end of output' heard
	ended "$@"
	quick fdrecv -q -t 0.1 "$pub/s" || [ $? -eq 124 ]
}

# service TOOL [ARG...]: it listens at $pub/s, for everybody.
service() {
	mkfifo output
	spawn sh -c 'cat output; echo "end of output"' >heard
	spawn "$@" >output 2>err
	service=$pid
	await_socket "$pub/s"
}


@test "fdexec: sets that cannot be closed, whole and unfinished" {
	stuck_file
	service fdexec -a any -M 666 "$pub/s" true
	attack send linger 2
	attack send linger 2 'fdkit/1 set fds=2\n'
	for what in "$pub/mnt/file" linger pipe; do
		attack send "$what" 2 'fdkit/1 set fds=2 more\n'
		attack drop "$what" 2 'fdkit/1 set fds=2 more\n'
	done
	ends_soon "$service" 0
}

@test "fdexec: refused peers with what cannot be closed in their queue" {
	stuck_file
	service fdexec -M 666 "$pub/s" true
	for what in "$pub/mnt/file" linger pipe; do
		attack send "$what" 1
		attack drop "$what" 3
		quick fdsend "$pub/s" 0
	done
	ends_soon "$service" 0
}

@test "fdserve -l: workers and refused peers" {
	stuck_file
	for allow in root any; do
		rm -f output heard
		service fdserve -a $allow -M 666 -l -A addr 127.0.0.1:0 "$pub/s"
		for what in "$pub/mnt/file" linger pipe; do
			attack send "$what" 1
			attack drop "$what" 2
		done
		spawn fdexec -c "$pub/s" echo served
		worker=$pid
		[ "$(talk "$(bound addr)" </dev/null)" = served ]
		ends_soon "$service"
		kill "$worker"
	done
}

@test "fdserve unix: clients, allowed and refused" {
	stuck_file
	for allow in root any; do
		rm -f output heard
		service fdserve -a $allow -M 666 "unix:$pub/s" -- echo served
		for what in "$pub/mnt/file" linger pipe; do
			attack send "$what" 1
			attack drop "$what" 2
			[ "$(talk "unix:$pub/s" </dev/null)" = served ]
		done
		# A COMMAND whose own connection blocks is waited for until a second signal.
		if [ $allow = any ]; then
			kill "$service"
			eventually grep -q 'waiting for' err
		fi
		ends_soon "$service" 0
	done
}

@test "fdsend -l -k: receivers, allowed and refused" {
	stuck_file
	for allow in root any; do
		rm -f output heard
		service fdsend -a $allow -M 666 -lk "$pub/s" 0
		for what in "$pub/mnt/file" linger pipe; do
			attack send "$what" 1
			attack drop "$what" 2
			quick fdrecv -c "$pub/s" true
		done
		rm heard output         # processes that serve silent peers go on
		kill "$service"
		ended "$service" 0
		[ ! -e "$pub/s" ]
	done
}

@test "fdrecv: -t ends it, and so does TERM" {
	stuck_file
	for what in "$pub/mnt/file" linger pipe; do
		for allow in root any; do
			rm -f output heard
			service fdrecv -q -a $allow -M 666 -t 3 "$pub/s" true
			attack send "$what" 2 'fdkit/1 set fds=2 more\n'
			ended "$service" 124
			eventually grep -q 'end of output' heard
			rm -f output heard
			service fdrecv -q -a $allow -M 666 "$pub/s" true
			attack send "$what" 2 'fdkit/1 set fds=2 more\n'
			ends_soon "$service" 143
		done
	done
}

@test "fdrecv: more than was asked for cannot be closed, and COMMAND begins all the same" {
	public
	service fdrecv -q -a any -M 666 -N 1 "$pub/s" sh -c 'echo began; ls /proc/self/fd'
	attack send linger 2
	ended "$service" 0
	eventually grep -q 'end of output' heard
	grep -q began heard
}
