#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The five programs that fdkit grew out of, told again from the shell, without their holes.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# ---- 1: a parent talks to a program it executed, over a socketpair ----

@test "story 1: a parent talks to a program it executed, over a socketpair" {
	cat >program <<-'END'
		exec <&"$1"
		n=0
		while read -r line; do
			n=$((n + 1))
			echo "line $n: $line" >&"$1"
		done
		echo "end of file after $n" >&"$1"
		exit 9
	END
	mkfifo in
	exec 6<>in
	spawn fdexec -S 7 sh program 7 <in >out 6>&-
	words=
	for n in 1 2 3; do        # each line is there as soon as it is written
		words="${words:+$words }byte"
		echo "$words" >&6
		eventually grep -qx "line $n: $words" out
	done
	exec 6>&-
	ended "$pid"
	[ "$status" -eq 9 ]
	[ "$(tail -n 1 out)" = 'end of file after 3' ]
}

@test "story 1: the parent learns pid and status of a program that is killed" {
	echo 'echo $$ >pid; kill -KILL $$' >program
	run -137 --separate-stderr fdexec -v -S 7 sh program 7 </dev/null
	[[ $stderr == *"$(cat pid)"*137* ]]
}

@test "story 1: exec: puts a program it executed where a SOCKET stands" {
	echo notes >notes
	[ "$(timeout 10 fdrecv 'exec:fdsend fd:1 3 3<notes')" = notes ]
	exits 0 fdsend 'exec:exec fdrecv -i fd:0 cat >copied' 0 <notes
	eventually cmp notes copied
	fdexec -i 'exec:fdsend fd:1 3 3<notes' sh -c 'cat >executed' 2>err
	cmp notes executed
	spawn fdserve -A addr unix:s 'exec:exec fdexec -io fd:0 cat notes'
	[ "$(talk "$(bound addr)" </dev/null)" = notes ]
}

# ---- 2: server and worker, two unrelated programs ----

# Reads the request to its end, as a program whose client may be a browser should.
page='while read -r line && [ "${#line}" -gt 1 ]; do :; done
printf "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<h1>It works</h1>\n"'

@test "story 2: date for nc and telnet, a page for curl" {
	spawn fdexec date.sock date
	spawn fdexec page.sock sh -c "$page"
	spawn fdserve -A date.addr 127.0.0.1:0 date.sock
	spawn fdserve -A page.addr 127.0.0.1:0 page.sock
	read -r host port < <(bound date.addr | tr : ' ')
	date -d "$(timeout 10 nc.openbsd -N "$host" "$port" </dev/null)"
	mkfifo keyboard
	timeout 10 telnet "$host" "$port" <>keyboard >screen 2>&1 || true        # status 1: closed by the other side
	grep "$(date +%Y)" screen
	[ "$(curl -m 10 -s "http://$(bound page.addr)/")" = '<h1>It works</h1>' ]
}

@test "story 2: an empty address and * are every address" {
	spawn fdexec w echo here
	for wildcard in '' '*'; do
		spawn fdserve -A addr "$wildcard:0" w
		port=$(bound addr | sed 's/.*://')
		[ "$(timeout 10 nc.openbsd -N 127.0.0.1 "$port" </dev/null)" = here ]
		if grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null; then
			[ "$(timeout 10 nc.openbsd -N ::1 "$port" </dev/null)" = here ]
		fi
		kill "$pid"
		ended "$pid"
		rm -f addr
	done
}

@test "story 2: the worker may start last, be killed, and start again; nobody is lost" {
	spawn fdserve -A addr 127.0.0.1:0 w 2>err
	at=$(bound addr)
	spawn curl -m 10 -s "http://$at/" >page1
	first=$pid
	eventually grep -q '^fdserve: w: ' err        # it said what it waits for
	spawn fdexec w sh -c "$page"
	worker=$pid
	ended "$first"
	grep -q 'It works' page1

	kill -9 "$worker"        # leaves a stale socket file
	ended "$worker"
	[ -S w ]
	spawn curl -m 10 -s "http://$at/" >page2
	second=$pid
	spawn fdexec w sh -c "$page"
	ended "$second"
	grep -q 'It works' page2
	[ "$(curl -m 10 -s "http://$at/")" = '<h1>It works</h1>' ]
}

@test "story 2: connections queued to a worker that dies are served by the next" {
	spawn meet.py listen w close-unread        # dies when the connection has come
	dying=$pid
	await_socket w
	spawn fdserve -A addr 127.0.0.1:0 w
	spawn curl -m 10 -s "http://$(bound addr)/" >page
	client=$pid
	ended "$dying"
	spawn fdexec w sh -c "$page"
	ended "$client"
	grep -q 'It works' page
}

# ---- 3: a parent gives a child its standard output ----

@test "story 3: a parent gives a child its standard output" {
	mkfifo gate
	spawn fdrecv -o s sh -c 'read -r _ <gate; echo "hello, world!"; echo "$FDKIT_MESSAGE" >payload'
	sh -c 'fdsend -w 5 -m "a payload" s 1; exec >&-; echo closed >gate' >out
	ended "$pid"
	[ "$status" -eq 0 ]
	[ "$(cat out)" = 'hello, world!' ]
	[ "$(cat payload)" = 'a payload' ]
}

@test "story 3: without a payload a byte goes along, and no payload at all is refused" {
	spawn fdrecv -o s echo 'hello, world!'
	exits 0 fdsend -w 5 s 1 >out
	ended "$pid"
	[ "$(cat out)" = 'hello, world!' ]
	run -125 fdsend -m '' s 1
}

# ---- 4: a master hands files to a worker, with commands ----

@test "story 4: a master hands a file to a worker, which writes to it" {
	spawn fdrecv s sh -c 'echo "the worker was here" >&3'
	sh -c 'exec 3>file; fdsend -w 5 s 3; exec 3>&-'
	ended "$pid"
	[ "$status" -eq 0 ]
	[ "$(cat file)" = 'the worker was here' ]
}

@test "story 4: commands go along, and the worker answers when it is done" {
	cat >worker <<-'END'
		case $FDKIT_MESSAGE in
		write) echo "the worker was here" >&3 && echo written ;;
		quit) kill "$1" && echo quit ;;
		*) echo "what is $FDKIT_MESSAGE" ;;
		esac
	END
	spawn sh -c 'exec fdserve -io -A addr unix:channel -- fdrecv fd:0 sh worker $$' 2>err
	bound addr
	[ "$(exits 0 fdsend -m write channel 5 5>file)" = written ]
	[ "$(cat file)" = 'the worker was here' ]
	[ "$(exits 0 fdsend -m what channel 0 </dev/null)" = 'what is what' ]
	[ "$(exits 0 fdsend -m quit channel 0 </dev/null)" = quit ]
	ended "$pid"
	[ "$status" -eq 0 ]
}

@test "story 4: the master hears when the worker did not take it" {
	spawn meet.py listen s close-unread
	await_socket s
	run -125 --separate-stderr fdsend s 0 </dev/null
	[[ $stderr == 'fdsend: s: '* ]]
}

# ---- 5: the textbook's account ----

@test "story 5: a child opens a file for its parent" {
	echo 'opened by the child' >notes
	[ "$(timeout 10 fdrecv 'exec:fdsend fd:1 3 3<notes')" = 'opened by the child' ]
	timeout 10 fdrecv 'exec:fdsend fd:1 3 3>>notes' sh -c 'echo "written by the parent" >&3'
	[ "$(tail -n 1 notes)" = 'written by the parent' ]
}

@test "story 5: an open server in ten lines" {
	mkdir served
	echo 'buy milk' >served/today
	echo secret >outside
	cat >open-one <<-'END'
		IFS= read -r name
		case $name in
		*/* | .* | '') exit 1 ;;
		esac
		exec 3<"served/$name" && exec fdsend fd:1 3
	END
	spawn fdserve -io -A addr unix:open.sock -- sh open-one 2>err
	bound addr
	[ "$(timeout 10 fdrecv -c -m $'today\n' open.sock)" = 'buy milk' ]
	[ "$(timeout 10 fdrecv -c -m $'today\n' -i open.sock tr a-z A-Z)" = 'BUY MILK' ]
	run -125 timeout 10 fdrecv -c -m $'../outside\n' open.sock
	run -125 timeout 10 fdrecv -c -m $'missing\n' open.sock
}

# Every kind of descriptor that can be read from, each saying what it is.
@test "story 5: any kind of descriptor to read, by stream, datagram and packets" {
	spawn fdserve -A addr 127.0.0.1:0 -- sh -c 'echo connected; read -r type; exec fdsend -w 5 -T "$type" s 0'
	port=$(bound addr | sed 's/.*://')
	echo file >file
	mkfifo fifo
	exec 8<>fifo
	for type in stream dgram seqpacket; do
		to_command() {
			spawn fdrecv -T "$type" s sh -c 'head -n 1 <&3' >got
			receiver=$pid
		}
		to_command
		exits 0 fdsend -w 5 -T "$type" s 5 5<file
		ended "$receiver"
		grep -qx file got
		to_command
		echo pipe | exits 0 fdsend -w 5 -T "$type" s 0
		ended "$receiver"
		grep -qx pipe got
		to_command
		echo fifo >&8
		exits 0 fdsend -w 5 -T "$type" s 8
		ended "$receiver"
		grep -qx fifo got
		to_command
		exec 9<>"/dev/tcp/127.0.0.1/$port"
		exits 0 fdsend -w 5 -T "$type" s 9        # a connected socket
		ended "$receiver"
		grep -qx connected got
		to_command
		echo "$type" >&9                # and the accepted one at its other end
		echo 'to the accepted' >&9
		ended "$receiver"
		grep -qx 'to the accepted' got
		exec 9>&-
	done
	exec 8>&-
}

@test "story 5: any kind of descriptor to write, by stream, datagram and packets" {
	mkfifo fifo
	exec 8<>fifo
	for type in stream dgram seqpacket; do
		to_command() {
			spawn fdrecv -T "$type" s sh -c 'echo written >&3'
			receiver=$pid
		}
		rm -f file pipe
		to_command
		exits 0 fdsend -w 5 -T "$type" s 5 5>file
		ended "$receiver"
		grep -qx written file
		to_command
		exits 0 fdsend -w 5 -T "$type" s 5 5> >(cat >pipe)
		ended "$receiver"
		eventually grep -qx written pipe
		to_command
		exits 0 fdsend -w 5 -T "$type" s 8
		ended "$receiver"
		read -r line <&8
		[ "$line" = written ]
		to_command
		spawn fdserve -A addr 127.0.0.1:0 -- fdsend -w 5 -T "$type" s 0
		[ "$(talk "$(bound addr)" </dev/null)" = written ]        # from the accepted socket
		kill "$pid"
		ended "$pid"
		rm -f addr
	done
	exec 8>&-
}

@test "story 5: a descriptor stays open in flight though its sender has closed it and ended" {
	echo 'still there' >notes
	with.py pair 5 6 sh -c 'fdsend -n fd:5 7 7<notes; rm notes; exec fdrecv fd:6 5>&-' >out
	[ "$(cat out)" = 'still there' ]
	[ ! -e notes ]
}

@test "story 5: it has another number there, and shares one file table entry" {
	echo 'apples pears' >fruit
	exec 9<fruit
	spawn fdrecv s sh -c 'echo "at $FDKIT_FDS"; dd bs=1 count=7 <&3 2>/dev/null' >out
	exits 0 fdsend -w 5 s 9
	ended "$pid"
	[ "$(cat out)" = $'at 3\napples ' ]
	[ "$(cat <&9)" = pears ]
	exec 9<&-
}
