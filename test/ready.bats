#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# How every command that listens tells that it is ready: -R, NOTIFY_SOCKET, and -A with the addresses.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2086  # calls are words on purpose
load helper

# What listens at s, and a client that has COMMAND begin where it has one: with LOOK for COMMAND, which writes its
# environment and its descriptors to the file seen.
CALLS=('fdrecv s LOOK|fdsend s'
	'fdrecv -T dgram s LOOK|fdsend -T dgram s'
	'fdsend -l s|fdrecv -c s LOOK'
	'fdsend -lk s|fdrecv -c s LOOK'
	'fdexec s LOOK|fdsend s'
	'fdserve unix:s -- LOOK|socat -u /dev/null UNIX-CONNECT:s'
	'fdserve unix:s w|'
	'fdserve -l unix:x s|'
	'fdserve -L unix:s -- LOOK|true'
	'fdserve -L -l unix:x s|fdrecv -c s LOOK'
	'fdhold s web=unix:x|fdrecv -c -f web s LOOK')

# look: the program that LOOK is.
look() {
	printf '#!/bin/sh\n{ env; ls /proc/$$/fd; } >seen.new\nmv seen.new seen\n' >look
	chmod +x look
}

# ---- -R ----

@test "-R writes a newline when it listens, and closes the descriptor, which COMMAND does not have" {
	look
	mkfifo told
	for call in "${CALLS[@]//LOOK/./look}"; do
		client=${call#*|} call=${call%|*}
		spawn od -An -c told >got
		reader=$pid
		spawn ${call%% *} -R 7 ${call#* } 7>told
		ended "$reader" 0               # end of file
		[ "$(tr -d ' ' <got)" = '\n' ]
		[[ $call == *dgram* || $call == *'-L unix'* ]] || listening s
		[ -z "$client" ] || exits 0 $client
		if [[ "$call $client" == *LOOK* ]]; then
			eventually test -e seen
			run ! grep -x 7 seen
		fi
		kill "$pid" || true
		ended "$pid"
		rm -f s x seen
	done
}

# ---- NOTIFY_SOCKET ----

@test "READY=1 and STOPPING=1 go to NOTIFY_SOCKET from what goes on, and COMMAND does not have that" {
	look
	for call in "${CALLS[@]//LOOK/./look}"; do
		client=${call#*|} call=${call%|*}
		[[ $call != fdrecv* && $call != 'fdsend -l '* && $call != 'fdserve -L unix:'* ]] || continue      # done once
		for notify in "$PWD/notify" "@fdkit-notify-$$"; do
			[[ $notify == /* || $call == fdexec* ]] || continue
			rm -f notify state
			spawn socat -u "$(if [[ $notify == @* ]]; then echo "ABSTRACT-RECV:${notify#@}"; else echo UNIX-RECV:notify; fi)" CREATE:state
			listener=$pid
			eventually grep -q "${notify##*/}\$" /proc/net/unix
			NOTIFY_SOCKET=$notify spawn $call
			eventually grep -q READY=1 state
			listening s
			[ -z "$client" ] || exits 0 $client
			if [[ $call == *look* ]]; then
				eventually test -e seen
				run ! grep NOTIFY_SOCKET seen
			fi
			run ! grep STOPPING state
			kill "$pid"
			eventually grep -q STOPPING=1 state
			ended "$pid" 0
			kill "$listener" || true
			ended "$listener"
			rm -f s x seen
		done
	done
}

@test "NOTIFY_SOCKET is left for COMMAND, and only COMMAND reports" {
	for call in 'fdserve -L unix:s' 'fdserve --lease 127.0.0.1:0' 'fdhold s web=unix:x'; do
		spawn socat -u UNIX-RECV:notify CREATE:state
		eventually test -S notify
		NOTIFY_SOCKET=$PWD/notify $call -- sh -c \
			'echo "$NOTIFY_SOCKET" >var; printf FROM_COMMAND=1 | socat -u - "UNIX-SENDTO:$NOTIFY_SOCKET"'
		eventually grep -q FROM_COMMAND=1 state
		[ "$(cat var)" = "$PWD/notify" ]
		[ "$(cat state)" = FROM_COMMAND=1 ]
		kill "$pid"
		ended "$pid"
		rm -f notify state s x
	done
}

# ---- -A ----

@test "-A: every address as it is bound, with its NAME=, in order; all accept by then, and SOCKET is there" {
	need_ipv6
	words=(web=127.0.0.1:0 api=unix:u any=:0 dns=udp:127.0.0.1:0 six='[::1]:0' seven='udp:[::1]:0' "abs=unix:@fdkit-$$")
	p='[1-9][0-9]+'
	for call in "fdhold -A addr s ${words[*]}" "fdserve -L -A addr ${words[*]} -- sleep 60" "fdserve -L -l -A addr ${words[*]} s"; do
		echo old >addr
		spawn $call
		eventually lines addr 7
		[[ $call == *-- ]] || [[ $call == *sleep* ]] || listening s
		listening u
		listening "$(sed -n 's/^any=.*://p' addr)"
		paste -sd ' ' addr | grep -xE "web=127\.0\.0\.1:$p api=unix:u any=\*:$p dns=udp:127\.0\.0\.1:$p six=\[::1\]:$p seven=udp:\[::1\]:$p abs=unix:@fdkit-$$"
		kill "$pid"
		ended "$pid"
		rm -f addr u
	done
}

@test "-A is written before any worker is there" {
	spawn fdserve -A addr unix:s w
	[ "$(bound addr)" = unix:s ]
	listening s
}

@test "-A writes into a FIFO, which stays one" {
	mkfifo addr
	for call in 'fdserve --address-file=addr unix:s unix:t -- true' 'fdserve -L -A addr unix:s unix:t -- true' 'fdhold -A addr h s=unix:s t=unix:t'; do
		spawn cat addr >got
		spawn $call
		eventually lines got 2
		sed 's/.*=//' got | diff - <(printf 'unix:%s\n' s t)
		[ -p addr ]
		kill "$pid" || true
		ended "$pid"
		rm -f s t
	done
}

@test "-A that cannot be written: a line that names it, 125, nothing bound" {
	wrong no/addr fdserve -A no/addr unix:s -- true
	wrong no/addr fdserve -L -A no/addr unix:s -- true
	wrong no/addr fdhold -A no/addr s web=unix:u
}

@test "-A writes a regular file aside and renames it, so that nobody reads half of it" {
	echo old >addr
	ln addr old-addr
	spawn fdserve -A addr 127.0.0.1:0 -- cat addr
	address_there() { grep -q 127.0.0.1: addr; }
	eventually address_there
	[ "$(cat old-addr)" = old ]
	[ "$(ls)" = $'addr\nold-addr' ]
	[ "$(talk "$(cat addr)" </dev/null)" = "$(cat addr)" ]
}

@test "an old -A file is removed before anything is bound, so that nobody reads a stale address" {
	spawn fdserve -A first 127.0.0.1:0 -- true
	echo 127.0.0.1:1 >addr
	run -125 fdserve -A addr "$(bound first)" -- true
	[ ! -e addr ]
}

@test "-A -, /dev/stdout, /dev/stderr, /dev/fd/N: what the caller has there, never truncated" {
	for word in - /dev/stdout /dev/stderr /dev/fd/7; do
		echo kept >to-file
		spawn fdserve -q -A "$word" 127.0.0.1:0 -- echo hello >>to-file 2>&1 7>&1
		eventually lines to-file 2
		[ "$(head -n 1 to-file)" = kept ]
		[ "$(talk "$(tail -n 1 to-file)" </dev/null)" = hello ]
		[ "$(ls)" = to-file ]
	done
	spawn fdserve -A - 127.0.0.1:0 -- echo hello > >(cat >to-pipe)
	[ "$(talk "$(bound to-pipe)" </dev/null)" = hello ]
	wrong '-A /dev/fd/55: ' fdserve -A /dev/fd/55 unix:s -- true
	wrong '-A /dev/fd/0: not open for writing' fdserve -A /dev/fd/0 unix:s -- true
	# shellcheck disable=SC2016
	exits 125 sh -c 'exec "$@" >&-' - fdserve -A - unix:s -- true 2>err
	one_line err 'fdserve: -A -: '
}

@test "a free port in a line: its address is there as soon as connections are accepted" {
	# shellcheck disable=SC2016
	idiom='addr=$(fdserve -q -A - -R 1 127.0.0.1:0 -- sh -c "ls -l /proc/\$\$/fd; cat" & echo $! >pid); echo "$addr"'
	for shell in dash bash busybox\ sh; do
		address=$($shell -c "$idiom")
		PIDS+=("$(cat pid)")
		[[ $address == 127.0.0.1:+([0-9]) ]]
		[ "$(echo hello | talk "$address" | tail -n 1)" = hello ]
		# What was standard output is no descriptor of a client's.
		[ "$(readlink "/proc/$(cat pid)/fd/1")" = /dev/null ]
	done
	address=$(fdserve -L -q -A - -R 1 127.0.0.1:0 -- look.py serve 3>&- & echo $! >pid)
	[ "$(talk "$address" </dev/null)" = 3 ]
	eventually gone "$(cat pid)"
}

@test "-A: a symbolic link, a directory, another uid's file or FIFO is refused, and left as it is" {
	echo kept >file
	ln -s file link
	ln -s missing dangling
	mkdir directory
	for what in link dangling directory; do
		wrong "-A $what: " fdserve -A $what unix:s -- true
		wrong "-A $what: " fdserve -L -A $what unix:s -- true
		wrong "-A $what: " fdhold -A $what s web=unix:w
	done
	[ "$(cat file)" = kept ]
	[ ! -e missing ]
	need_root
	echo kept >other
	mkfifo fifo
	chown 65534 other fifo
	for what in other fifo; do
		wrong "-A $what: belongs to another user" fdserve -A $what unix:s -- true
	done
	[ "$(cat other)" = kept ]
}

@test "-A into a FIFO waits for its reader, and TERM or -t ends that" {
	mkfifo addr
	spawn fdserve -A addr unix:s unix:t -- echo hello
	await_socket t
	kill "$pid"
	ended "$pid" 143
	[ ! -e s ]
	[ ! -e t ]
	spawn fdhold -A addr h web=unix:w
	await_socket h
	kill "$pid"
	ended "$pid" 143
	[ ! -e h ]
	exits 124 fdserve -L -t 0.2 -A addr unix:s h 2>err
	one_line err 'fdserve: -A addr: timed out'
	[ ! -e s ]
	[ -p addr ]
}

@test "-A to a reader that goes away: a line, 125, nothing is left" {
	exec 8> >(true)
	wait $!
	exits 125 fdserve -A - unix:s -- true >&8 2>err
	one_line err 'fdserve: -A -: Broken pipe'
	[ ! -e s ]
}

@test "the address file goes with its server, unless another has taken its place" {
	mkdir store
	for start in 'fdserve -q -A addr unix:s -- true' 'fdserve -q -A addr unix:s w' 'fdhold -q -A addr s web=unix:w'; do
		spawn $start
		bound addr
		kill "$pid"
		ended "$pid" 0
		[ ! -e addr ]
		spawn $start
		bound addr
		echo mine >new
		mv new addr
		kill "$pid"
		ended "$pid" 0
		[ "$(cat addr)" = mine ]
		rm -f w addr
	done
	exits 127 fdserve -L -A addr unix:s -- no-such-command 2>err
	[ ! -e addr ]
	exits 125 fdserve -L -A addr unix:s nobody 2>err
	[ ! -e addr ]
	exits 0 fdserve -L -A addr unix:s -- true
	[ "$(cat addr)" = unix:s ]
}

@test "-A is complete before COMMAND starts, and a connection succeeds at once" {
	echo old >addr
	fdserve -L -A addr web=127.0.0.1:0 unix:s -- sh -c 'cat addr; read -r at <addr
		socat -u /dev/null "TCP:${at#web=}" && socat -u /dev/null UNIX-CONNECT:s && echo good' >out
	sed 's/^web=127\.0\.0\.1:[1-9][0-9]*$/web/' out | diff - <(printf '%s\n' web unix:s good)
}
