#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdhold SOCKET NAME=ADDRESS... -- COMMAND. What stands in '...' is for the shell that COMMAND is.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# A COMMAND that reports each of these signals, and ends at TERM with 3.
traps='for s in HUP INT QUIT USR1 USR2 WINCH; do trap "echo $s" $s; done; trap "echo TERM; exit 3" TERM; echo ready; while :; do sleep 0.01; done'

@test "COMMAND finds the addresses in NAME_HOST, NAME_PORT and NAME_PATH, and the store in FDKIT_SOCKET" {
	list='env | grep -E "^((all|d|web_1|a|u|v)_)?(HOST|PORT|PATH|FDKIT_SOCKET)="'
	HOST=mine PORT=mine d_PATH=mine fdhold s web-1=127.0.0.1:0 d=udp:127.0.0.1:0 all=:0 u=unix:u.sock v="$PWD/v" a="unix:@$PWD" -- sh -c "$list" >vars
	grep -v '^PATH=' vars | sed 's/PORT=[1-9][0-9]*$/PORT=N/' | sort |
		diff - <(printf '%s\n' FDKIT_SOCKET="$PWD/s" {HOST,PORT,d_PATH}=mine {all,d,web_1}_HOST=127.0.0.1 {all,d,web_1}_PORT=N a_PATH="@$PWD" u_PATH="$PWD/u.sock" v_PATH="$PWD/v" | sort)
	[ "$(fdhold "@$PWD" -- sh -c 'echo $FDKIT_SOCKET')" = "@$PWD" ]
	[ "$(FDKIT_SOCKET=old fdhold exec:cat -- sh -c 'echo ${FDKIT_SOCKET-unset}')" = unset ]
	# An inherited socket has an address, too.
	fdserve -L 127.0.0.1:0 -- fdhold s here=fd:3 -- sh -c 'echo $here_HOST $here_PORT' >got
	grep -E '^127\.0\.0\.1 [1-9][0-9]*$' got
}

@test "a test run in one line: a server from the store, a request to it, and all of it ends" {
	cat >server.py <<-'END'
	import socket
	client, _ = socket.socket(fileno=3).accept()
	client.sendall(b"served\n")
	END
	mkdir elsewhere
	got=$(fdhold s web=127.0.0.1:0 -- sh -c 'server=$PWD/server.py; cd elsewhere; fdrecv -c -f web "$FDKIT_SOCKET" "$0" "$server" & fdhold --list "$FDKIT_SOCKET" | cut -f 1; curl -s telnet://$web_HOST:$web_PORT; wait' \
		"$PYTHON" 2>err)
	[ "$got" = "web"$'\n'"served" ]
	[ ! -s err ]
	[ ! -e s ]
}

@test "fdhold ends as COMMAND ends, and leaves nothing" {
	for status in 0 7 137; do
		exits $status fdhold -A addr s a=127.0.0.1:0 -- sh -c "test -S s && grep -q ^a= addr || exit 9; [ $status -lt 128 ] || kill -9 \$\$; exit $status"
		[ ! -e s ]
		[ ! -e addr ]
	done
	# What COMMAND has left running does not keep it.
	exits 0 fdhold s -- sh -c 'sleep 60 >&- 2>&- & echo $! >left'
	kill "$(cat left)"
	exits 127 fdhold -A addr s -- ./none
	[ ! -e s ]
}

@test "a COMMAND that cannot be run ends fdhold before anything is opened" {
	: >empty
	chmod +x empty
	echo old >addr
	exits 127 fdhold -A addr s a=127.0.0.1:0 -- ./none
	[ "$(cat addr)" = old ]
	exits 126 fdhold s -- "$PWD"
	: >file
	exits 126 fdhold s -- ./file
	# Found only when it is executed: the kernel does not take an empty program as a script either.
	exits 0 fdhold s -- ./empty
}

@test "COMMAND gets the signals that fdhold gets, but USR1, which prints figures" {
	spawn env --default-signal fdhold s a=127.0.0.1:0 -- sh -c "$traps" >got 2>err
	eventually grep -q ready got
	for sig in HUP INT QUIT USR2 WINCH; do
		kill -s $sig "$pid"
		eventually grep -q "^$sig\$" got
	done
	kill -s USR1 "$pid"
	one_line err 'fdhold: s: holds 1, connections 0'
	kill "$pid"
	ended "$pid" 3
	printf '%s\n' ready HUP INT QUIT USR2 WINCH TERM | diff - got
}

@test "what the terminal has sent to COMMAND, fdhold does not send again" {
	run timeout 20 interrupt.py fdhold s -- interrupt.py
	[ "$status" -eq 5 ]
	[[ $output == *"interrupts 1" ]]
}

@test "a terminal that hangs up tells fdhold, the leader of its session, alone: COMMAND gets HUP from fdhold" {
	run timeout -k 1 20 interrupt.py --hang-up fdhold s -- sh -c 'trap "exit 6" HUP; echo ready; while :; do sleep 0.01; done' 3>&-
	[ "$status" -eq 6 ]
}

@test "the store serves until COMMAND has ended, also after TERM" {
	spawn fdhold s a=127.0.0.1:0 -- sh -c 'trap "echo TERM; fdrecv -c --all s sh -c \"echo \\\$LISTEN_FDNAMES\"; exit 4" TERM; echo ready; while :; do sleep 0.01; done' >got
	eventually grep -q ready got
	fdsend s more=0
	kill "$pid"
	ended "$pid" 4
	printf '%s\n' ready TERM a:more | diff - got
}

@test "--drain ends a COMMAND that does not end at TERM" {
	spawn fdhold --drain 0.05 s -- sh -c 'trap "" TERM; echo ready; while :; do sleep 0.01; done' >got
	eventually test -s got
	kill "$pid"
	ended "$pid" 137
	[ ! -e s ]
	spawn fdhold --drain 60 s -- sh -c 'trap "exit 6" TERM; echo ready; while :; do sleep 0.01; done' >got
	eventually grep -q ready got
	kill "$pid"
	ended "$pid" 6
}

@test "connections that hang up and helpers that end are not COMMAND's end" {
	spawn fdhold s a=127.0.0.1:0 -- sh -c "echo \$a_PORT; $traps" >got 2>err
	eventually grep -q ready got
	port=$(head -n 1 got)
	cat >hang.py <<-'END'
	import socket, subprocess, sys
	l = socket.socket(fileno=3)
	c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
	s, _ = l.accept()
	subprocess.run(["fdsend", "s", f"tcp={s.fileno()}"], pass_fds=[s.fileno()], check=True)
	s.shutdown(socket.SHUT_WR)
	c.close()
	END
	fdrecv -c -f a s "$PYTHON" hang.py "$port"
	one_line err 'tcp hung up, dropped'
	kill "$pid"
	ended "$pid" 3
}

@test "a SOCKET that accepts no more does not end COMMAND" {
	exits 3 door.py shut unix fdhold fd:3 -- sh -c 'until [ -s err ]; do sleep 0.01; done; exit 3' 2>err
	one_line err 'fd:3: accepts no more connections'
}

@test "COMMAND starts with the descriptors, the mask and the NOTIFY_SOCKET that fdhold had" {
	look='ls /proc/self/fd; grep -E "Sig(Blk|Ign|Cgt)" /proc/self/status; echo $NOTIFY_SOCKET ${FDKIT_FDS-none} ${LISTEN_FDS-none} $(($(ulimit -n)))'
	NOTIFY_SOCKET=@mine sh -c "$look" >before
	FDKIT_FDS=3 NOTIFY_SOCKET=@mine LISTEN_FDS=0 fdhold s a=127.0.0.1:0 u=unix:u -- sh -c "$look" >after
	diff before after
}

@test "-u: COMMAND is USER" {
	need_root
	public
	cd "$pub"
	[ "$(fdhold -M 666 -u 65534:65534 s a=127.0.0.1:0 -- sh -c 'id -u; fdhold --list s | cut -f 1')" = 65534$'\n'a ]
}

@test "wrong calls with COMMAND" {
	wrong 'COMMAND is missing after --' fdhold s --
	wrong 'COMMAND is missing after --' fdhold s a=127.0.0.1:0 --
	wrong 'one operand too many' fdhold --list s -- true
	wrong 'fdhold: 1: ' fdhold s 1=127.0.0.1:0 -- true
	wrong 'fdhold: a.b: ' fdhold s a-b=127.0.0.1:0 a.b=127.0.0.1:0 -- true
	# They are no matter without COMMAND.
	spawn fdhold s 1=127.0.0.1:0 a-b=127.0.0.1:0 a.b=127.0.0.1:0
	await_socket s
}
