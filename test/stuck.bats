#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Strangers that hold up whoever closes what they sent: sockets with SO_LINGER, pipes whose lock is held, files of a file
# system that does not answer (peers/stuck.py). Meanwhile honest clients are served, and TERM ends a service, within
# a second; here it is a few seconds, since a test must not depend on how busy the machine is.
# What stands in single quotes is for another shell; helper.bash sets pub and pid.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# Where the service listens, in $pub; its output and what is heard of that end have this in their names.
at=s

# stuck_file: a file system ($pub/mnt) whose file is never flushed.
stuck_file() {
	need_fuse
	public
	fuse "$pub/mnt" FLUSH
}

# attack HOW WHAT [COUNT [BYTES]]: another uid sends that to $pub/$at, before the service looks at it.
attack() {
	local how=$1 what=$2 sent=sent.$((++attacks))
	shift 2
	kill -STOP "$service"
	spawn as_other stuck.py "$how" "$what" "$pub/$at" "$@" >"$sent"
	eventually grep -q sent "$sent"
	kill -CONT "$service"
}

# output_ended: nobody has the output of the service at $at any more.
output_ended() { eventually grep -q 'end of output' "heard.$at"; }

# ends_soon PID [STATUS]: TERM ends it soon, and all that it has open. Somebody else can have the address at once.
ends_soon() {
	kill "$1"
	output_ended
	ended "$@"
	quick fdrecv -q -t 0.1 "$pub/$at" || [ $? -eq 124 ]
}

# service TOOL [ARG...]: it listens at $pub/$at, for everybody; its standard output is a FIFO.
service() {
	rm -f "output.$at" "heard.$at"
	mkfifo "output.$at"
	spawn sh -c 'cat "$1"; echo "end of output"' sh "output.$at" >"heard.$at"
	spawn "$@" >"output.$at" 2>err
	service=$pid
	await_socket "$pub/$at"
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

@test "fdexec: fdrun has its COMMAND begun and ended beside them; a client's own words and directory delay that client alone" {
	stuck_file
	service fdexec --args --cwd -a any -M 666 "$pub/s" env
	for what in "$pub/mnt/file" linger pipe; do
		attack send "$what" 2 'fdkit/1 set fds=2 more\n'
		attack drop "$what" 1 'fdkit/1 run fds=1 id=1\n'
		[ "$(quick fdrun "$pub/s" echo well)" = well ]
	done
	quick run_rude.py "$pub/s" "fuse:$stuck" >answer || true
	one_line answer 'refused id=1 why=words in a file without seals'
	(cd "$pub/mnt" && quick fdrun "$pub/s" pwd) || true
	[ "$(quick fdrun "$pub/s" echo well)" = well ]
	ends_soon "$service" 0
}

@test "fdexec: what came while its sender was alone holds up no COMMAND for the next" {
	stuck_file
	service fdexec -a any -M 666 "$pub/s" sh -c 'echo ran >>log'
	attack send "$pub/mnt/file" 2 'fdkit/1 set fds=2 more\n'
	quick fdsend "$pub/s" 0
	eventually lines log 1
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
		service fdsend -a $allow -M 666 -lk "$pub/s" 0
		for what in "$pub/mnt/file" linger pipe; do
			attack send "$what" 1
			attack drop "$what" 2
			quick fdrecv -c "$pub/s" true
		done
		kill "$service"
		ended "$service" 0
		[ ! -e "$pub/s" ]
	done
}

@test "fdrecv: -t ends it, and so does TERM" {
	stuck_file
	local services=()
	for what in "$pub/mnt/file" linger pipe; do
		for allow in root any; do
			at=${what##*/}.$allow
			service fdrecv -q -a $allow -M 666 -t 3 "$pub/$at" true
			attack send "$what" 2 'fdkit/1 set fds=2 more\n'
			services+=("$at $service")
			at=s
			service fdrecv -q -a $allow -M 666 "$pub/$at" true
			attack send "$what" 2 'fdkit/1 set fds=2 more\n'
			ends_soon "$service" 143
		done
	done
	for service in "${services[@]}"; do
		read -r at service <<<"$service"
		ended "$service" 124
		output_ended
	done
}

@test "fdrecv: more than was asked for cannot be closed, and COMMAND begins all the same" {
	public
	service fdrecv -q -a any -M 666 -N 1 "$pub/s" sh -c 'echo began; ls /proc/self/fd'
	attack send linger 2
	ended "$service" 0
	output_ended
	grep -q began "heard.$at"
}
