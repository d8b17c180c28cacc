#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdserve -L: the listening socket itself. What stands in '...' is for the shell that COMMAND is.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

variables='for v in LISTEN_FDS LISTEN_FDNAMES FDKIT_FDS; do eval "echo $v=\${$v-unset}"; done; echo pid=$((${LISTEN_PID-0} - $$))'

# ---- to a COMMAND ----

@test "COMMAND has the listening socket at 3, and LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES and FDKIT_FDS" {
	spawn fdserve -L -A addr 127.0.0.1:0 -- sh -c "$variables; exec \"\$@\"" - look.py serve >vars
	[ "$(talk "$(bound addr)" </dev/null)" = 3 ]
	printf '%s\n' LISTEN_FDS=1 LISTEN_FDNAMES=unknown FDKIT_FDS=3 pid=0 | diff - vars
}

@test "fdserve becomes COMMAND: its pid, its status, its signals" {
	exits 7 fdserve -L unix:s -- sh -c 'exit 7'
	spawn fdserve -L unix:s -- sh -c 'echo $$; exec sleep 60' >got
	eventually test -s got
	[ "$(cat got)" = "$pid" ]
	eventually asleep "$pid" sleep
	kill "$pid"
	ended "$pid" 143
	exits 137 fdserve -L unix:s -- sh -c 'kill -9 $$'
}

@test "several addresses lie at 3, 4, 5..., named where they have a name" {
	spawn fdserve -L -A addr web=127.0.0.1:0 unix:u api=./v -- sh -c "$variables; exec \"\$@\"" - look.py serve >vars
	bound addr
	i=3
	while read -r at; do
		[ "$(talk "${at#*=}" </dev/null)" = $i ]
		i=$((i + 1))
	done < <(cat addr)
	[ $i -eq 6 ]
	printf '%s\n' LISTEN_FDS=3 LISTEN_FDNAMES=web:unknown:api 'FDKIT_FDS=3 4 5' pid=0 | diff - vars
	sed 's/^web=127\.0\.0\.1:[1-9][0-9]*$/web/' addr | diff - <(printf '%s\n' web unix:u api=unix:./v) ||
		sed 's/^web=127\.0\.0\.1:[1-9][0-9]*$/web/' addr | diff - <(printf '%s\n' web unix:u api=unix:v)
}

@test "COMMAND starts with exactly those descriptors" {
	list='ls /proc/$$/fd'
	sh -c "$list" 3>&- >before
	fdserve -L -A addr -R 8 unix:s 127.0.0.1:0 -- sh -c "$list" 3>&- 8>/dev/null >after
	diff <({ cat before && printf '%s\n' 3 4; } | sort -u) <(sort after)
}

@test "--no-pid leaves LISTEN_PID out, for a COMMAND behind a wrapper" {
	LISTEN_PID=1 fdserve -L --no-pid web=unix:s -- sh -c 'env; true' >vars
	run ! grep '^LISTEN_PID=' vars
	grep -qx LISTEN_FDS=1 vars
	grep -qx LISTEN_FDNAMES=web vars
}

@test "the sockets are blocking as systemd's are, non-blocking with --nonblock" {
	flags='for n in 3 4; do while read -r k v; do [ $k != flags: ] || echo $((v & 04000)); done </proc/self/fdinfo/$n; done'
	[ "$(fdserve -L 127.0.0.1:0 unix:s -- sh -c "$flags" | paste -sd ' ')" = '0 0' ]
	[ "$(fdserve -L --nonblock 127.0.0.1:0 unix:s -- sh -c "$flags" | paste -sd ' ')" = '2048 2048' ]
}

@test "udp: is a bound datagram socket" {
	spawn fdserve -L -A addr dns=udp:127.0.0.1:0 -- look.py echo
	at=$(bound addr | sed 's/dns=udp://')
	exec {peer}<>"/dev/udp/${at/://}"
	echo hello >&"$peer"
	[ "$(timeout 10 head -n 1 <&"$peer")" = 'got hello' ]
	ended "$pid" 0
}

@test "a UDP port that is taken is not shared" {
	spawn fdserve -L -A addr udp:127.0.0.1:0 -- sleep 60
	at=$(bound addr)
	wrong "$at" fdserve -L "$at" -- true
}

@test "fd:N is an inherited listening socket, handed on as it is" {
	spawn fdserve -L --nonblock -A addr 127.0.0.1:0 -- fdserve -L -A again web=fd:3 unix:s -- \
		sh -c "$variables; exec \"\$@\"" - look.py serve >vars
	at=$(bound again | head -n 1)
	[ "$at" = "web=$(cat addr)" ]
	[ "$(talk "${at#web=}" </dev/null)" = 3 ]
	[ "$(talk unix:s </dev/null)" = 4 ]
	printf '%s\n' LISTEN_FDS=2 LISTEN_FDNAMES=web:unknown 'FDKIT_FDS=3 4' pid=0 | diff - vars
}

@test "what is inherited at 4 and 3 is placed in the order of the call" {
	spawn fdserve -L a=unix:a b=unix:b -- fdserve -L y=fd:4 x=fd:3 -- sh -c "$variables; exec \"\$@\"" - look.py serve >vars
	await_socket a; await_socket b
	eventually test -s vars
	[ "$(talk unix:b </dev/null)" = 3 ]
	[ "$(talk unix:a </dev/null)" = 4 ]
	grep -x LISTEN_FDNAMES=y:x vars
}

@test "fd:N that does not listen is refused in a line" {
	wrong fd:0 fdserve -L fd:0 -- true
	wrong fd:88 fdserve -L fd:88 -- true
}

@test "the unix: file stays when COMMAND ends; the next bind replaces it" {
	fdserve -L unix:s -- true
	[ -S s ]
	spawn fdserve -L -A addr unix:s -- look.py serve
	bound addr
	[ "$(talk unix:s </dev/null)" = 3 ]
}

@test "COMMAND not found: 127, cannot be run: 126, one line each, and the unix: file is gone" {
	exits 127 fdserve -L unix:s -- no-such-command 2>err
	one_line err 'fdserve: no-such-command: '
	[ ! -e s ]
	echo text >file
	exits 126 fdserve -L unix:s -- ./file 2>err
	one_line err 'fdserve: ./file: '
	[ ! -e s ]
}

@test "a hundred servers started at once on port 0: a hundred ports, the first request to each succeeds" {
	for i in $(seq 100); do
		spawn fdserve -L -A "addr$i" 127.0.0.1:0 -- look.py serve "server $i"
	done
	for i in $(seq 100); do
		at=$(bound "addr$i")
		# No pause and no second try: it listens, whether its server runs yet or not.
		answer=
		exec 8<>"/dev/tcp/127.0.0.1/${at#*:}"
		IFS= read -r -t 60 answer <&8
		exec 8>&-
		[ "$answer" = "server $i" ]
	done
	[ "$(cat addr* | sort -u | wc -l)" -eq 100 ]
}

# ---- to a SOCKET ----

@test "to a SOCKET: the receiver has the listening socket with its name, fdserve ends with 0" {
	spawn fdrecv r sh -c "$variables; exec \"\$@\"" - look.py serve >vars
	exits 0 fdserve -L -w 10 -A addr web=127.0.0.1:0 r
	[ "$(talk "$(sed s/web=// addr)" </dev/null)" = 3 ]
	printf '%s\n' LISTEN_FDS=1 LISTEN_FDNAMES=web FDKIT_FDS=3 pid=0 | diff - vars
}

@test "several, without names, go in one message that a plain receiver understands" {
	spawn meet.py listen r serve >message
	receiver=$pid
	exits 0 fdserve -L -w 10 -A addr 127.0.0.1:0 unix:s r
	[ "$(talk "$(head -n 1 addr)" </dev/null)" = 0 ]
	[ -S s ]
	[ "$(talk unix:s </dev/null)" = 1 ]
	ended "$receiver" 0
	[ "$(cat message)" = "2 b'\\x00'" ]
}

@test "to fdhold's SOCKET it puts the listening socket there" {
	spawn fdhold h
	exits 0 fdserve -L -w 10 -A addr web=127.0.0.1:0 h
	[ "$(fdhold --list h | cut -f 1,2)" = "web	tcp-listener $(sed s/web=// addr)" ]
	exits 125 fdserve -L web=127.0.0.1:0 h 2>err
	one_line err 'fdserve: h: ' taken
}

@test "SOCKET: nobody there is 125, -w waits and gives up with 124, -t as well" {
	wrong r fdserve -L 127.0.0.1:0 r
	exits 124 fdserve -L -w 0.1 127.0.0.1:0 r 2>err
	one_line err 'fdserve: r: '
	spawn meet.py listen r silent
	await_socket r
	exits 124 fdserve -L -t 0.2 web=127.0.0.1:0 r 2>err
	one_line err 'fdserve: r: '
}

@test "nobody at SOCKET: the unix: file of the listener that nobody has is gone" {
	wrong r fdserve -L unix:s r
}

@test "a receiver that refuses: 125 and its reason" {
	spawn fdrecv -N 2 r true 2>told
	exits 125 fdserve -L -w 10 -t 10 a=127.0.0.1:0 r 2>err
	one_line err 'fdserve: r: '
}

@test "-l: every peer that connects has it, until TERM" {
	spawn fdserve -L -l -A addr web=127.0.0.1:0 api=unix:u s 2>err
	bound addr
	await_socket s
	for _ in 1 2 3; do
		fdrecv -c -t 10 s sh -c 'echo "$LISTEN_FDNAMES $(readlink /proc/self/fd/3)"'
	done >got
	lines got 3
	[ "$(sort -u got | wc -l)" -eq 1 ]
	grep -q '^web:api socket:' got
	kill "$pid"
	ended "$pid" 0
	one_line err 'fdserve: s: ' SIGTERM 3
	[ ! -e s ]
	[ -S u ]
}

@test "-l: two servers at once share the socket" {
	spawn fdserve -L -l -A addr 127.0.0.1:0 s
	at=$(bound addr)
	for name in one two; do
		spawn fdrecv -c -w 10 s look.py serve $name
	done
	both() {
		talk "$at" </dev/null >>answers
		grep -q one answers && grep -q two answers
	}
	eventually both
}

@test "-l: a silent peer holds up nobody" {
	spawn fdserve -L -l -A addr web=127.0.0.1:0 s
	bound addr
	spawn meet.py connect s silent
	eventually asleep "$pid" meet.py
	exits 0 fdrecv -c -t 10 s true
}

# ---- wrong calls ----

@test "wrong calls: one line, 125, nothing created" {
	wrong missing fdserve -L -- true
	wrong SOCKET fdserve -L unix:s
	wrong COMMAND fdserve -L unix:s --
	wrong udp fdserve udp:127.0.0.1:0 -- true
	wrong "a: the same name twice" fdserve -L a=unix:s a=unix:t -- true
	wrong 'a b' fdserve -L 'a b=unix:s' -- true
	wrong '=unix:s' fdserve -L '=unix:s' -- true
	wrong 127.0.0.1 fdserve -L web=127.0.0.1 -- true
	wrong udp:127.0.0.1 fdserve -L udp:127.0.0.1 -- true
	wrong no-such-dir fdserve -L -A no-such-dir/addr unix:s -- true
	wrong no-such-dir fdserve -L unix:s unix:no-such-dir/t -- true
}

@test "a path with = in it is an address, not a name" {
	spawn fdserve -L -A addr unix:a=b ./c=d -- sleep 60
	bound addr
	[ -S a=b ]
	[ -S c=d ]
}

@test "one address of several that cannot be bound: 125, and nothing of the others is left" {
	spawn fdserve -L -A addr 127.0.0.1:0 -- sleep 60
	at=$(bound addr)
	wrong "$at" fdserve -L unix:s "$at" -- true
}
