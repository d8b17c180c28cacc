#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# ---- the words that stand for ADDRESS ----

@test "HOST:PORT in IPv4, port 0 is a free one" {
	spawn fdserve -A addr 127.0.0.1:0 -- echo hello
	bound addr | grep -xE '127\.0\.0\.1:[1-9][0-9]+'
	[ "$(talk "$(cat addr)" </dev/null)" = hello ]
}

@test "a host name is bound, and shown as a number" {
	spawn fdserve -A addr localhost:0 -- echo hello
	bound addr | grep -xE '(127\.0\.0\.1|\[::1\]):[1-9][0-9]+'
	[ "$(talk "$(cat addr)" </dev/null)" = hello ]
}

@test "[::1]:PORT is IPv6" {
	need_ipv6
	spawn fdserve -A addr '[::1]:0' -- echo hello
	bound addr | grep -xE '\[::1\]:[1-9][0-9]+'
	[ "$(talk "$(cat addr)" </dev/null)" = hello ]
}

@test ":PORT and *:PORT are every address, IPv4 and IPv6 both" {
	need_ipv6
	for wild in :0 '*:0'; do
		spawn fdserve -A addr "$wild" -- echo hello
		bound addr | grep -xE '\*:[1-9][0-9]+'
		port=$(sed 's/.*://' addr)
		[ "$(talk "127.0.0.1:$port" </dev/null)" = hello ]
		[ "$(talk "[::1]:$port" </dev/null)" = hello ]
		kill "$pid"
		ended "$pid"
		[ ! -e addr ]
	done
}

@test ":PORT serves IPv4, whether there is IPv6 or not" {
	spawn fdserve -A addr :0 -- echo hello
	[ "$(talk "127.0.0.1:$(bound addr | sed 's/.*://')" </dev/null)" = hello ]
}

@test "PORT can be the name of a service" {
	free_service() {
		local name port _
		while read -r name port _; do
			port=${port%/tcp}
			if ((port > 1024 && port < 32768)) && ! listening "$port"; then
				echo "$name $port"
				return
			fi
		done < <(getent services | grep /tcp)
	}
	read -r name port < <(free_service) || skip "no TCP services in /etc/services (Debian: netbase)"
	spawn fdserve -A addr "127.0.0.1:$name" -- echo hello
	[ "$(bound addr)" = "127.0.0.1:$port" ]
	[ "$(talk "127.0.0.1:$port" </dev/null)" = hello ]
}

@test "a fixed port can be bound again at once, though connections of the last server linger" {
	spawn fdserve -A addr 127.0.0.1:0 -- echo hello
	at=$(bound addr)
	exec 8<>"/dev/tcp/127.0.0.1/${at#*:}"
	[ "$(timeout 10 cat <&8)" = hello ]
	exec 8>&-        # the server closed first, so the connection lingers at its port
	kill "$pid"
	ended "$pid"
	rm -f addr
	spawn fdserve -A addr "$at" -- echo again
	[ "$(bound addr)" = "$at" ]
	[ "$(talk "$at" </dev/null)" = again ]
}

@test "unix:PATH, and anything with a slash, is a Unix socket" {
	mkdir dir
	spawn fdserve -A addr unix:s ./t dir/u "$PWD/v" -- echo hello
	bound addr
	printf 'unix:%s\n' s ./t dir/u "$PWD/v" | diff - addr
	for s in s t dir/u v; do
		[ "$(talk "unix:$s" </dev/null)" = hello ]
	done
	kill "$pid"
	ended "$pid"
	[ "$(find . -type s)" = '' ]
}

@test "unix:PATH may be longer than a socket address holds" {
	long=$(printf 'x%.0s' {1..120})
	mkdir "$long"
	spawn fdserve -A addr "unix:$long/s" -- env
	[ "$(bound addr)" = "unix:$long/s" ]
	(cd "$long" && talk unix:s </dev/null) >vars
	[ "$(value PROTO vars)" = UNIX ]
	run ! grep '^UNIXLOCALPATH=.*/proc/' vars
	kill "$pid"
	ended "$pid"
	[ ! -e "$long/s" ]
}

@test "unix:@NAME is an abstract socket" {
	spawn fdserve -A addr "unix:@fdkit-$$" -- echo hello
	[ "$(bound addr)" = "unix:@fdkit-$$" ]
	[ "$(talk "unix:@fdkit-$$" </dev/null)" = hello ]
	[ "$(ls)" = addr ]
}

@test "fd:N is an inherited listening socket, which COMMAND does not have" {
	list='ls /proc/$$/fd'
	spawn with.py -T tcp listener 5 127.0.0.1 fdserve -A addr fd:5 -- sh -c "$list"
	bound addr | grep -xE '127\.0\.0\.1:[1-9][0-9]+'
	talk "$(cat addr)" </dev/null >fds
	grep -qx 0 fds
	run ! grep -x 5 fds
}

@test "fd:N is an inherited Unix socket, whose file stays" {
	spawn with.py listener 5 s fdserve -A addr fd:5 -- echo hello
	[ "$(bound addr)" = unix:s ]
	[ "$(talk unix:s </dev/null)" = hello ]
	kill "$pid"
	ended "$pid"
	[ -S s ]
}

@test "several addresses are served, and listed in their order" {
	spawn fdserve -A addr 127.0.0.1:0 unix:s 127.0.0.1:0 -- sh -c 'echo "$PROTO $TCPLOCALPORT"'
	bound addr
	lines addr 3
	one=$(sed -n 1p addr)
	[ "$(sed -n 2p addr)" = unix:s ]
	three=$(sed -n 3p addr)
	[ "$(talk "$one" </dev/null)" = "TCP ${one#*:}" ]
	[ "$(talk unix:s </dev/null)" = 'UNIX ' ]
	[ "$(talk "$three" </dev/null)" = "TCP ${three#*:}" ]
	[ "$one" != "$three" ]
}

# ---- the other options ----

@test "-b is the backlog, SOMAXCONN unless given" {
	spawn fdserve -b 4 unix:few -- true
	spawn fdserve unix:many -- true
	await_socket few; await_socket many
	kill -STOP "${PIDS[@]}"
	[ "$(door.py fill few 20)" -eq 5 ]        # Kernel: one more than the backlog
	[ "$(door.py fill many 20)" -eq 20 ]
	kill -CONT "${PIDS[@]}"
}

@test "-j runs at most so many at once, and everything in the end" {
	local fd clients=()
	mkdir running
	spawn fdserve -j 2 -A addr 127.0.0.1:0 -- \
		sh -c ': >running/$$; ls running | wc -l >>log; read -r _; rm running/$$'
	port=$(bound addr | sed 's/.*://')
	for _ in {1..6}; do
		exec {fd}<>"/dev/tcp/127.0.0.1/$port"
		clients+=("$fd")
	done
	eventually lines log 2
	for fd in "${clients[@]}"; do
		exec {fd}>&-
	done
	eventually lines log 6
	eventually childless "$pid"
	[ "$(sort -n log | tail -n 1)" -eq 2 ]
}

@test "-B clears O_NONBLOCK on a connection; what fdserve accepts is blocking anyway" {
	for opt in -q -B; do
		spawn fdserve "$opt" unix:s -- sh -c 'grep flags: /proc/$$/fdinfo/0'
		await_socket s
		talk unix:s </dev/null >flags
		((!($(awk '{ print "0" $2 }' flags) & 04000)))
		kill "$pid"
		ended "$pid"
	done
}

@test "-io leaves standard error alone, without it the client has all three" {
	spawn fdserve -io unix:s -- sh -c 'echo out; echo err >&2' 2>err
	spawn fdserve unix:t -- sh -c 'echo out; echo err >&2' 2>err-t
	await_socket s; await_socket t
	[ "$(talk unix:s </dev/null)" = out ]
	[ "$(cat err)" = err ]
	[ "$(talk unix:t </dev/null)" = $'out\nerr' ]
	[ ! -s err-t ]
}

@test "-v reports events in a line each, -q reports errors only" {
	spawn fdserve -A a unix:s -- true 2>err
	spawn fdserve -q -A q unix:sq -- true 2>err-q
	spawn fdserve -v -A v unix:sv -- true 2>err-v
	for a in a q v; do talk "$(bound "$a")" </dev/null; done
	for p in "${PIDS[@]}"; do eventually childless "$p"; done
	[ ! -s err ]
	[ ! -s err-q ]
	eventually grep -q '^fdserve: true: ' err-v
	grep -q '^fdserve: unix:sv: ' err-v
	run ! grep -v '^fdserve: ' err-v
	kill "${PIDS[@]}"
	for p in "${PIDS[@]}"; do ended "$p"; done
	[ ! -s err-q ]
	one_line err SIGTERM
	grep -q SIGTERM err-v
}

# ---- to a command ----

@test "COMMAND has the connection, what fdserve inherited, and nothing else" {
	list='ls /proc/$$/fd; read -r _'
	spawn sh -c "$list" </dev/null >before 7<&0
	ended "$pid"
	spawn fdserve -A addr -R 8 unix:s 127.0.0.1:0 -- sh -c "$list" </dev/null 7<&0 8>/dev/null
	bound addr
	spawn meet.py connect s silent        # another connection beside ours
	started_one() { ! childless "${PIDS[1]}"; }
	eventually started_one
	for at in unix:s "$(tail -n 1 addr)"; do
		talk "$at" </dev/null >after
		diff before after
	done
}

@test "a COMMAND that disappears costs one line for each connection, fdserve goes on" {
	printf '#!/bin/sh\necho here\n' >later
	chmod +x later
	spawn fdserve -q -A addr 127.0.0.1:0 -- ./later 2>err
	at=$(bound addr)
	mv later gone
	talk "$at" </dev/null
	one_line err 'fdserve: ' './later' 'No such file'
	mv gone later
	[ "$(talk "$at" </dev/null)" = here ]
	lines err 1
}

@test "words after -- are COMMAND's own, whatever they look like" {
	spawn fdserve -A addr unix:s -- echo -v -- --help
	[ "$(talk "$(bound addr)" </dev/null)" = '-v -- --help' ]
}

@test "200 connections to a command leave no zombie and no descriptor open" {
	spawn fdserve -A addr 127.0.0.1:0 -- echo served
	port=$(bound addr | sed 's/.*://')
	before=$(open_fds "$pid")
	for _ in {1..200}; do
		exec 8<>"/dev/tcp/127.0.0.1/$port"
		read -r -t 10 answer <&8
		[ "$answer" = served ]
	done
	exec 8>&-
	eventually childless "$pid"
	[ "$(open_fds "$pid")" = "$before" ]
}

# ---- to a worker ----

@test "a connection that comes before the worker is served when the worker comes" {
	spawn fdserve -A addr 127.0.0.1:0 w 2>err
	at=$(bound addr)
	spawn talk "$at" </dev/null >out
	asked=$pid
	one_line err 'fdserve: w: '
	spawn fdexec w echo served
	ended "$asked"
	[ "$(cat out)" = served ]
	lines err 1
}

@test "fdserve survives its worker's end and goes on when one returns" {
	spawn fdserve -A addr 127.0.0.1:0 w 2>err
	at=$(bound addr)
	for signal in TERM KILL HUP; do
		spawn env --default-signal=HUP fdexec w echo "before $signal"
		worker=$pid
		[ "$(talk "$at" </dev/null)" = "before $signal" ]
		kill -"$signal" "$worker"
		ended "$worker"
		spawn talk "$at" </dev/null >out
		asked=$pid
		spawn fdexec w echo "after $signal"
		worker=$pid
		ended "$asked"
		[ "$(cat out)" = "after $signal" ]
		kill "$worker"
		ended "$worker"
	done
	run ! gone "${PIDS[0]}"
}

@test "a connection that a worker closed without taking it goes to the next one, once" {
	spawn meet.py listen w close-unread
	closing=$pid
	await_socket w
	spawn fdserve -A addr 127.0.0.1:0 w 2>err
	at=$(bound addr)
	spawn talk "$at" </dev/null >out
	asked=$pid
	ended "$closing"
	spawn fdexec w sh -c 'echo served; echo run >>log'
	ended "$asked"
	[ "$(cat out)" = served ]
	lines log 1
}

@test "the worker gets the connection as it was accepted: blocking" {
	spawn fdexec w sh -c 'grep flags: /proc/$$/fdinfo/0'
	spawn fdserve -A addr unix:s w
	talk "$(bound addr)" </dev/null >flags
	grep -q flags: flags
	((!($(awk '{ print "0" $2 }' flags) & 04000)))
}

@test "-w gives up with 124 when no worker is there in time, and leaves nothing" {
	run -124 --separate-stderr timeout 5 fdserve -w 0.1 -A addr unix:s w
	[[ $stderr == 'fdserve: w: '*timed\ out* ]]
	[ ! -e s ]
}

@test "-w is only for the start" {
	spawn fdexec w echo served
	await_socket w
	worker=$pid
	spawn fdserve -w 0.1 -A addr unix:s w
	bound addr
	[ "$(talk unix:s </dev/null)" = served ]
	kill "$worker"
	ended "$worker"
	spawn talk unix:s </dev/null >out
	asked=$pid
	sleep 0.2        # that a limit does not strike shows only when it is past
	spawn fdexec w echo back
	ended "$asked"
	[ "$(cat out)" = back ]
}

@test "SOCKET can be abstract, fd:N, or exec:" {
	spawn fdexec "@fdkit-$$" echo abstract
	spawn fdserve -A 1 unix:a "@fdkit-$$"
	bound 1
	[ "$(talk unix:a </dev/null)" = abstract ]
	spawn fdserve -A 2 unix:b 'exec:fdexec -io fd:0 echo executed'
	bound 2
	[ "$(talk unix:b </dev/null)" = executed ]
	spawn with.py pair 5 6 sh -c 'fdexec fd:6 echo inherited 5>&- & exec fdserve -A 3 unix:c fd:5 6>&-'
	bound 3
	[ "$(talk unix:c </dev/null)" = inherited ]
}

@test "a worker of another uid is refused, with one line that names it and -a" {
	need_root
	public
	spawn as_other fdexec -M 666 -a any "$pub/w" echo foreign
	await_socket "$pub/w"
	spawn fdserve -A addr 127.0.0.1:0 "$pub/w" 2>err
	at=$(bound addr)
	spawn talk "$at" </dev/null >out
	asked=$pid
	one_line err "fdserve: $pub/w: " 65534 -a
	rm "$pub/w"
	spawn fdexec "$pub/w" echo ours
	ended "$asked"
	[ "$(cat out)" = ours ]
	lines err 1
}

@test "-a lets a worker of another uid work" {
	need_root
	public
	spawn as_other fdexec -M 666 -a 0 "$pub/w" id -u
	await_socket "$pub/w"
	spawn fdserve -a nobody -A addr 127.0.0.1:0 "$pub/w"
	[ "$(talk "$(bound addr)" </dev/null)" = 65534 ]
}

@test "a worker that refuses our uid gets the connection when it comes back and allows it" {
	need_root
	public
	spawn fdexec -M 666 "$pub/w" echo strict
	strict=$pid
	await_socket "$pub/w"
	spawn as_other fdserve -A "$pub/addr" 127.0.0.1:0 "$pub/w" 2>err
	at=$(bound "$pub/addr")
	spawn talk "$at" </dev/null >out
	asked=$pid
	eventually grep -q -e 'uid 0.*-a' err
	kill "$strict"
	ended "$strict"
	spawn fdexec -M 666 -a nobody "$pub/w" echo tolerant
	ended "$asked"
	[ "$(cat out)" = tolerant ]
	[ "$(wc -l <err)" -le 5 ]        # once for each change, not for each try
}

# ---- its end ----

# ---- wrong calls ----

@test "an address in use: the line names it, 125, nothing left behind" {
	spawn fdserve -A first 127.0.0.1:0 unix:live -- echo first
	bound first
	at=$(head -n 1 first)
	wrong "$at: Address" fdserve "$at" -- true
	grep 'in use' err  # glibc: already in use
	wrong "$at: Address" fdserve unix:other "$at" w
	grep 'in use' err
	wrong 'live: ' fdserve unix:live -- true
	[ "$(talk unix:live </dev/null)" = first ]
}

@test "a wrong call: one line that names what is wrong, 125, nothing created" {
	wrong fdserve fdserve unix:s
	wrong fdserve fdserve unix:s --
	wrong fdserve fdserve -- true
	wrong 0 fdserve -j 0 unix:s -- true
}

@test "words in the wrong place: a port alone, a -- that is missing or comes first" {
	echo true >h.sh
	wrong './h.sh: not a socket (COMMAND follows --)' fdserve unix:s ./h.sh
	wrong './h.sh: not a socket (COMMAND follows --)' fdserve -l unix:s ./h.sh
	wrong './h.sh: not a socket (COMMAND follows --)' fdserve -L -w 1 unix:s ./h.sh
	wrong '7777: a port alone' fdserve 7777 w
	wrong 'ADDRESS is missing' fdserve -- cat
}

@test "a wrong ADDRESS: one line that names it, 125, nothing created" {
	local long
	long=$(printf 'x%.0s' {1..70})
	for address in 127.0.0.1 s '' : 127.0.0.1: 127.0.0.1:65536 127.0.0.1:-1 127.0.0.1:0x50 \
		127.0.0.1:no-such-service "$long:0" '[::1]' '[::1' '[::1:0' '[::g]:0' '[]:0' '[*]:0' unix: unix:@ \
		203.0.113.1:0 fd: fd:x fd:-1 fd:88 fd:0 no-such-dir/s "unix:$(printf 'x%.0s' {1..300})"; do
		wrong "$address" fdserve unix:good "$address" -- true
	done
	for address in exec:true @name; do
		wrong "$address" fdserve unix:good "$address" -- true
	done
}

@test "a wrong SOCKET: one line that names it, 125, nothing created" {
	: >file
	wrong fd:88 fdserve unix:s fd:88
	wrong fd:0 fdserve unix:s fd:0
	wrong fd:x fdserve unix:s fd:x
	wrong @ fdserve unix:s @
}
