#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# How every command ends by a signal: what goes on ends in order, what is done once dies of it; what was begun is finished.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2086  # calls are words on purpose
load helper

GOES_ON=('fdsend -lk s'
	'fdexec s true'
	'fdserve unix:s -- true'
	'fdserve unix:s w'
	'fdserve -l unix:x s'
	'fdserve -L -l unix:x s'
	'fdhold s web=unix:x')
ONCE=('fdrecv s true'
	'fdrecv -T dgram s true'
	'fdsend -l s')

# started HUP CALL...: CALL listens at s, and HUP is default or ignored; with -q if QUIET is set.
started() {
	rm -f x
	spawn env "--$1-signal=HUP" --default-signal=INT "$2" ${quiet:-} "${@:3}" 2>err
	eventually test -S s
	[[ $* == *dgram* ]] || await_socket s
}

@test "HUP, INT and TERM end what goes on: status 0, one line that says why, nothing with -q, the socket file gone" {
	for call in "${GOES_ON[@]}"; do
		for signal in HUP INT TERM; do
			started default $call
			kill -$signal "$pid"
			ended "$pid" 0
			[ "$(grep -c "^${call%% *}: .*ended by SIG$signal" err)" -eq 1 ]
			[ "$(grep -vc '^fdserve: w: ' err)" -eq 1 ]
			[ ! -e s ]
		done
		quiet=-q started default $call
		kill "$pid"
		ended "$pid" 0
		[ ! -s err ]
	done
}

@test "what is done once dies of HUP, INT and TERM, and says nothing; its socket file goes" {
	for call in "${ONCE[@]}"; do
		for signal in HUP INT TERM; do
			started default $call
			kill -$signal "$pid"
			ended "$pid" $((128 + $(kill -l $signal)))
			[ ! -s err ]
			[ ! -e s ]
		done
	done
}

@test "a HUP that was ignored at the start stays ignored" {
	for call in "${ONCE[@]}" "${GOES_ON[@]}"; do
		started ignore $call
		kill -HUP "$pid"
		kill -TERM "$pid"               # comes after it
		ended "$pid"
		[ ! -e s ]
		if [[ " ${ONCE[*]} " == *" $call "* ]]; then [ "$status" -eq 143 ]; else grep 'ended by SIGTERM' err; fi
	done
}

@test "fdserve and its fdexec end so when they are connected, whichever ends first" {
	for first in 0 1; do
		PIDS=()
		spawn fdexec -q w echo served
		spawn fdserve -q unix:s w
		await_socket s
		[ "$(talk unix:s </dev/null)" = served ]
		eventually childless "${PIDS[0]}"
		kill "${PIDS[first]}"
		ended "${PIDS[first]}" 0
		kill "${PIDS[1 - first]}"
		ended "${PIDS[1 - first]}" 0
		[ ! -e w ]
		[ ! -e s ]
	done
}

# ---- while a command runs ----

# runs COMMAND [ARG...]: a service runs COMMAND, whose standard input is the other end of 6 and which writes to the file log.
runs() {
	mkfifo gate
	exec 6<>gate
	if [ "$tool" = fdexec ]; then
		spawn fdexec -i s "$@" 2>err
		service=$pid
		exits 0 fdsend -w 5 s 6
	else
		spawn fdserve unix:s -- "$@" 2>err
		service=$pid
		await_socket s
		spawn socat -t 10 - UNIX-CONNECT:s,shut-none <gate >out 6>&-
	fi
	eventually test -s log
}

@test "when it is to end, a service says STOPPING=1, takes nothing more, and lets running commands finish" {
	spawn socat -u UNIX-RECV:notify CREATE:state
	eventually test -S notify
	export NOTIFY_SOCKET=$PWD/notify
	for tool in fdexec fdserve; do
		runs sh -c 'echo begun >log; read -r _; echo finished >>log'
		kill "$service"
		eventually test ! -e s
		eventually grep -aq STOPPING=1 state
		one_line err "$tool: " 's: waiting for 1 command (a second signal ends it)'
		wrong s: fdrecv -c s
		run ! gone "$service"
		[ "$(cat log)" = begun ]
		echo go >&6
		ended "$service" 0
		grep -q finished log
		[ "$tool" = fdserve ] || grep -q SIGTERM err
		: >state
		rm -f log gate
		exec 6>&-
	done
}

@test "a second signal ends the running commands with SIGTERM" {
	for tool in fdexec fdserve; do
		runs sh -c 'trap "echo terminated >>log; exit" TERM; echo begun >log; while read -r _; do :; done'
		kill -INT "$service"
		eventually test ! -e s
		kill -TERM "$service"
		ended "$service" 0
		eventually grep -q terminated log
		rm -f log gate
		exec 6>&-
	done
}

# A COMMAND that ignores TERM, as a line, and its pid in the file running.
DEAF='trap "" TERM; echo $$ >running; exec sleep 60'

@test "--drain: TERM to what still runs after TIME, KILL after TIME again" {
	for call in 'fdserve --drain 100ms unix:s -- COMMAND|socat -u /dev/null UNIX-CONNECT:s' 'fdexec --drain 100ms s COMMAND|fdsend -n s 0'; do
		for command in "$DEAF" 'echo $$ >running; exec sleep 60'; do
			rm -f running
			tool=${call%|*}
			spawn ${tool%COMMAND} sh -c "$command" 2>err
			service=$pid
			await_socket s
			${call#*|}
			eventually test -s running
			kill "$service"
			ended "$service" 0
			eventually gone "$(cat running)"
			grep -q 'waiting for 1 command' err
			grep -q 'sent TERM to 1 command$' err
			[ "$(grep -c 'sent KILL to 1 command$' err)" -eq "$([ "$command" = "$DEAF" ] && echo 1 || echo 0)" ]
		done
	done
}

@test "--drain: a COMMAND of fdrun gets TERM and KILL as well, and fdrun ends as it ended" {
	spawn fdexec --drain 100ms s sh -c "$DEAF"
	service=$pid
	await_socket s
	spawn fdrun s
	client=$pid
	eventually test -s running
	kill "$service"
	ended "$client" 137
	ended "$service" 0
	eventually gone "$(cat running)"
}

@test "--drain: what ends in time is left alone, and the wait is over" {
	spawn fdserve --drain 1h unix:s -- sh -c 'echo >running; until [ -e go ]; do sleep 0.02; done' 2>err
	service=$pid
	await_socket s
	socat -u /dev/null UNIX-CONNECT:s
	eventually test -s running
	kill "$service"
	eventually grep -q 'waiting for' err
	touch go
	ended "$service" 0
	run ! grep -e 'sent' err
}

parent() { [ -n "$(children "$1")" ]; }

@test "--drain: connections that no worker took are closed, and counted" {
	spawn fdexec -j 1 w sleep 60
	worker=$pid
	await_socket w
	spawn fdserve --drain 100ms -A addr 127.0.0.1:0 w 2>err
	service=$pid
	at=$(bound addr)
	exec {first}<>"/dev/tcp/${at/:/\/}"
	eventually parent "$worker"
	kill -STOP "$worker"
	exec {second}<>"/dev/tcp/${at/:/\/}"
	kill "$service"
	ended "$service" 0
	kill -CONT "$worker"
	grep -q 'closed 1 connection that no worker took' err
	[ -z "$(timeout 5 cat <&"$second")" ]
}
