#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdrun: what COMMAND gets, how it ends, signals, options and messages.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# warm: a Python server at s, in $server.
warm() {
	spawn run_server.py s json
	server=$pid
	await_socket s
}

# says LINE...: a server at s that answers with these, and prints what it is asked into asked.
says() {
	rm -f s
	spawn run_says.py s "$@" >asked
	await_socket s
}

# offer [OPTION...]: a fdexec at s that runs a client's words in his directory; in $server.
offer() {
	spawn fdexec -q --args --cwd "$@" s env 2>server.err
	server=$pid
	await_socket s
}

# state PID: its process's state is one of the letters STATES.
state() { [[ $(cat "/proc/$1/stat") == *") "[$2]" "* ]]; }

# ---- what COMMAND gets, and its end ----

@test "words, the directory, variables and descriptors get to COMMAND, and its status comes back" {
	offer --accept-env 'FOO,LC_*'
	mkdir here
	cd here
	echo in >in
	FOO=1 LC_ALL=C exits 7 fdrun -E FOO,LC_ALL,LC_unset -E LC_X='a=b,c' ../s sh -c \
		'pwd -P; echo "$FOO $LC_ALL ${LC_unset-unset} $LC_X"; printf "<%s>" "$@"; cat; echo err >&2; exit 7' - 'a  b' '' -v -- <in >out 2>err
	diff out <(printf '%s\n' "$(pwd -P)" '1 C unset a=b,c' '<a  b><><-v><-->in')
	[ "$(cat err)" = err ]
}

@test "without being told to, fdexec takes neither words nor variables, and no directory" {
	spawn fdexec -q s pwd
	await_socket s
	mkdir here
	cd here
	[ "$(fdrun ../s)" = "${PWD%/here}" ]
	wrong '../s: refused: takes no words (without --args)' fdrun ../s word
	A=1 wrong '../s: refused: takes no variable A (without --accept-env)' fdrun -E A ../s
}

@test "variables that say where programs are, or what fdkit says, are for no client" {
	for name in PATH IFS ENV BASH_ENV LD_PRELOAD 'LD_*' FDKIT_X 'FDKIT_*' LISTEN_FDS LISTEN_X NOTIFY_SOCKET PROTO TCPREMOTEIP REMOTE_PORT \
		'UNIXLOCAL*' 'GOOD,PATH'; do
		wrong "--accept-env $name: " fdexec --accept-env "$name" s true
	done
	for name in '*' 'A,*' 'A-B' '' 'A,,B' 'A*B' '*A'; do
		wrong "--accept-env $name: not names" fdexec --accept-env "$name" s true
	done
	offer --accept-env 'P*,L*,I*,E*,BASH*,R*,T*,U*,N*,F*'
	for name in PATH IFS ENV BASH_ENV LD_PRELOAD FDKIT_X LISTEN_X NOTIFY_SOCKET PROTO TCPREMOTEIP REMOTE_PORT; do
		wrong "takes no variable $name (" fdrun -E "$name=x" s true
	done
	[ "$(fdrun -E PATHS=x s sh -c 'echo $PATHS')" = x ]
	[ "$(fdrun -E PATH_THAT_IS_NOT_SET s | grep -c PATH_THAT)" -eq 0 ]
}

@test "COMMAND's environment is fdexec's, with what it knows of the client" {
	export NOTIFY_SOCKET=/nowhere FDKIT_X=1 KEPT=2 # for fdexec
	offer
	unset KEPT
	fdrun s >seen
	grep -qx KEPT=2 seen
	grep -qx "FDKIT_PEER_UID=$(id -u)" seen
	grep -qx 'FDKIT_FDS=0 1 2' seen
	[ "$(grep -cE '^(NOTIFY_SOCKET|FDKIT_X|FDKIT_MESSAGE|LISTEN)' seen)" -eq 0 ]
}

@test "COMMAND's statuses and ends by signal are fdrun's" {
	offer
	for n in 0 1 126 127 255; do
		exits $n fdrun s sh -c "exit $n"
	done
	exits 127 fdrun s nowhere 2>/dev/null
	: >file
	exits 126 fdrun s ./file 2>/dev/null
	for sig in KILL TERM SEGV USR1 PIPE; do
		exits $((128 + $(kill -l $sig))) fdrun s sh -c "kill -$sig \$\$"
	done
}

@test "COMMAND that disappears costs a line, and is status 127" {
	cp "$(type -P true)" gone
	spawn fdexec -q s ./gone 2>err
	await_socket s
	rm gone
	exits 127 fdrun s
	one_line err 'fdexec: ./gone: No such file or directory'
}

@test "-f sends other descriptors, and a closed one of 0 to 2 is /dev/null" {
	offer
	exec 5>five 6>six
	fdrun -f 0,1,5,6 s sh -c 'readlink /proc/$$/fd/2 /proc/$$/fd/3' >out
	diff out <(printf '%s\n' "$PWD/five" "$PWD/six")
	fdrun -f 5 s sh -c 'echo to five; echo err >&2'
	diff five <(printf 'to five\nerr\n')
	fdrun s sh -c 'readlink /proc/$$/fd/0 >&2; echo lost' 2>err <&- >&-
	[ "$(cat err)" = /dev/null ]
}

@test "COMMAND has the descriptors that it was sent, and no others" {
	offer
	fdrun s sh -c 'ls /proc/$$/fd' >found
	sh -c 'ls /proc/$$/fd' >expected 3>&-
	diff expected found
}

@test "fdexec with few descriptors runs COMMAND all the same" {
	spawn sh -c 'ulimit -n 40; exec fdexec -q --args --cwd s env'
	await_socket s
	for n in 1 2 3; do
		exits $n fdrun s sh -c "exit $n"
	done
}

@test "COMMAND runs in the network namespace of fdexec" {
	need_root
	unshare -n true 2>/dev/null || skip "may not unshare"
	spawn unshare -n fdexec -q --args s env
	eventually test -S s
	[ "$(fdrun -w 5 s readlink /proc/self/ns/net)" != "$(readlink /proc/self/ns/net)" ]
}

@test "COMMAND leads its group, in a session of its own, whose leader is its parent" {
	offer
	fdrun s sh -c 'read -r pid _ _ ppid pgrp session _ </proc/$$/stat; echo "$((pid == pgrp)) $((ppid == session))"; kill -TSTP $$; echo on' >out &
	pid=$!
	eventually state "$pid" T # no orphan drops TSTP
	kill -CONT "$pid"
	ended "$pid" 0
	diff out <(printf '1 1\non\n')
}

@test "what a shell's & had fdexec ignore, COMMAND does not ignore" {
	sh -c 'trap "" INT QUIT HUP; exec fdexec -q --args s env' 3>&- &
	PIDS+=("$!")
	await_socket s
	for sig in INT QUIT HUP; do
		exits $((128 + $(kill -l $sig))) fdrun s sh -c "kill -$sig \$\$; echo ignored"
	done
}

@test "a pipe breaks for fdrun's neighbour when COMMAND has read enough" {
	offer
	timeout 10 sh -c 'yes | fdrun s head -n 1' >out
	[ "$(cat out)" = y ]
	mkfifo fifo pipe
	spawn cat pipe
	cat=$pid
	spawn fdrun s sh -c 'exec >&- 2>&-; read -r line <fifo' >pipe 2>&1
	ended "$cat" 0
	kill -0 "$pid"
	echo on >fifo
	ended "$pid" 0
}

@test "more than a megabyte of words arrives" {
	offer
	head -c 100000 /dev/zero | tr '\0' x >long
	words=()
	for _ in {1..15}; do
		words+=("$(cat long)")
	done
	fdrun s sh -c 'cat; for w; do echo ${#w}; done' - "${words[@]}" </dev/null | sort | uniq -c >out
	[ "$(xargs <out)" = '15 100000' ]
}

# ---- signals ----

# running: COMMAND says pids, of itself and a child, in the file pids; then it waits. Its fdrun is $pid.
running() {
	spawn env --default-signal fdrun s sh -c 'env --default-signal sleep 100 & echo $$ $! >pids.new; mv pids.new pids; wait; wait'
	eventually test -s pids
	read -r leader child <pids
	rm pids
}

@test "a signal gets to every process of COMMAND's group, and ends fdrun as it ended COMMAND" {
	offer
	for sig in INT TERM HUP QUIT USR1 USR2; do
		running
		kill "-$sig" "$pid"
		ended "$pid" $((128 + $(kill -l $sig)))
		eventually gone "$leader"
		eventually gone "$child"
	done
}

@test "TSTP stops COMMAND's group and fdrun, and CONT continues them" {
	offer
	running
	for _ in 1 2 3; do
		kill -TSTP "$pid"
		eventually state "$pid" T
		state "$leader" T
		state "$child" T
		kill -CONT "$pid"
		eventually state "$leader" S
		eventually state "$child" S
		state "$pid" S
	done
	kill -TERM "$pid"
	ended "$pid" 143
}

@test "fdrun killed is a terminal gone: COMMAND's group gets HUP and CONT, and its place is free" {
	offer -j 1
	running
	kill -KILL "$pid"
	eventually gone "$leader"
	eventually gone "$child"
	running
	kill -TSTP "$pid"
	eventually state "$leader" T
	kill -KILL "$pid"
	eventually gone "$leader" # though it was stopped
	exits 0 fdrun s true
	eventually childless "$server"
}

@test "fdexec killed is a terminal gone too, and fdrun says that nobody told it COMMAND's end" {
	offer
	running 2>err
	kill -KILL "$server"
	ended "$pid" 125
	one_line err 's: closed without saying how COMMAND ended'
	eventually gone "$leader"
	eventually gone "$child"
}

@test "a COMMAND that ignores HUP lives on, and keeps its place" {
	offer -j 1
	mkfifo fifo
	spawn fdrun s sh -c 'trap "" HUP; echo $$ >leader; read -r line <fifo; echo "$line" >read'
	eventually test -s leader
	kill -KILL "$pid"
	exits 124 fdrun -t 0.3 s true 2>/dev/null
	echo line >fifo
	exits 0 fdrun -t 10 s true
	[ "$(cat read)" = line ]
}

@test "a second signal to fdexec ends COMMAND, the first one lets it end" {
	offer
	running
	kill "$server"
	eventually test ! -e s
	kill -0 "$leader"
	kill "$server"
	ended "$server" 0
	eventually gone "$leader"
	ended "$pid"
}

# nothing_runs: COMMAND is gone, and so is its keeper; others are served.
nothing_runs() {
	no_command() { ! pgrep -f 'sleep 1.5555e3'; }
	eventually no_command
}

@test "fdrun killed at any step leaves nothing running" {
	need_strace
	offer
	for call in connect:1 sendmsg:1 recvmsg:1 rt_sigprocmask:2 sendmsg:2 poll:2 recvmsg:2 close:6 poll:4; do
		exits 137 strace -qq -o /dev/null -e "inject=${call%:*}:signal=KILL:when=${call#*:}" fdrun s sleep 1.5555e3
		nothing_runs
		exits 0 fdrun s true
		eventually childless "$server"
	done
}

@test "fdexec, the keeper or COMMAND killed at any step ends fdrun, and leaves nothing running" {
	need_strace
	for call in accept4:1 recvmsg:1 sendmsg:1 clone:1 close_range:1 setsid:1 pread64:1 clone:2 setpgid:1 fchdir:1 sendto:1 execve:1 poll:3; do
		rm -f s
		offer
		spawn strace -qq -f -p "$server" -o trace -e "inject=${call%:*}:signal=KILL:when=${call#*:}"
		eventually grep -q "^TracerPid:.[1-9]" "/proc/$server/status"
		spawn timeout 3 fdrun s sleep 1.5555e3 2>err # no call but the first of a process may come
		ended "$pid"
		[ "$status" -ne 0 ]
		kill -KILL "$server" || true
		nothing_runs
	done
}

# ---- places ----

@test "who comes when all places are taken waits, says so with -v, and never begins after -t" {
	offer -j 1
	running
	exits 124 fdrun -t 0.3 s sh -c ': >began' 2>err
	one_line err 's: timed out: COMMAND has not begun in time'
	spawn fdrun -v s sh -c 'exit 9' 2>err
	waiter=$pid
	eventually grep -q 's: waiting for a place' err
	kill -TERM "$leader" "$child"
	ended "$waiter" 9
	[ ! -e began ]
}

@test "fdexec that is stopped begins nothing after fdrun has given up" {
	offer
	kill -STOP "$server"
	exits 124 fdrun -t 0.3 s sh -c ': >began' 2>err
	kill -CONT "$server"
	exits 0 fdrun s true
	[ ! -e began ]
}

@test "fifty at once and hundreds after another leave nothing behind" {
	offer -j 20
	exits 0 fdrun s true
	eventually childless "$server"
	before=$(open_fds "$server")
	seq 300 | xargs -P 50 -I N fdrun s sh -c 'echo N' >out
	sort -n out | diff - <(seq 300)
	eventually childless "$server"
	[ "$(open_fds "$server")" = "$before" ]
}

# ---- clients that do what fdrun does not ----

# rude HOW ANSWER: such a client, which gets that answer at the end; nothing is left of it, and others are served.
rude() {
	timeout 30 run_rude.py s "$1" >answer || true
	[[ $(tail -n 1 answer) == *"$2"* ]] || { echo "$1 got:" && cat answer && false; } >&2
	exits 0 fdrun s true
	eventually childless "$server"
}

@test "a request that cannot be, or that lies, is refused with the reason" {
	offer --accept-env 'V*'
	rude unsealed 'refused id=1 why=words in a file without seals'
	rude pipe 'refused id=1 why=words in a file without seals'
	rude few 'refused id=1 why=Protocol error'
	rude endless 'refused id=1 why=words without an end'
	rude huge 'refused id=1 why=too many words'
	rude vars 'refused id=1 why=too many variables'
	rude file 'refused id=1 why=Not a directory'
	rude tty 'refused id=1 why=no terminal that could control COMMAND'
	rude missing 'refused id=1 why=Protocol error'
	rude none 'refused id=1 why=Protocol error'
	rude early 'refused why=Protocol error'
	rude name:LD_PRELOAD 'refused id=1 why=takes no variable LD_PRELOAD ('
	rude name:VA-B 'refused id=1 why=takes no variable VA ('
	rude name: 'refused id=1 why=takes no variable  ('
	rude name:VAR ended
}

@test "a client passes on nothing but the signals that a user could send" {
	offer
	rude numbers 'ended id=1 signal=15'
	rude flood 'ended id=1 signal=15'
}

@test "a client that breaks the rules while COMMAND runs has hung up" {
	offer
	rude twice 'taken id=1'
	rude gifts 'taken id=1'
}

@test "a client that asks and requests nothing has a place for ten seconds" {
	offer -j 1
	spawn run_rude.py s silent >answer
	silent=$pid
	busy() { [ -n "$(children "$server")" ]; }
	eventually busy
	exits 0 fdrun -t 30 s true
	ended "$silent"
	[ "$(cat answer)" = 'fdkit/1 refused id=1 why=no request came in time' ]
}

# ---- every kind of SOCKET, other users ----

@test "fdrun takes every kind of SOCKET" {
	for socket in @"$PWD/abstract" "$(printf 'x%.0s' {1..80})"; do
		spawn fdexec -q --args "$socket" env
		await_socket "$socket"
		exits 3 fdrun "$socket" sh -c 'exit 3'
	done
	exits 3 fdrun 'exec:fdexec -q --args fd:0 env' sh -c 'exit 3'
}

@test "both ends look who is there" {
	second_uid
	spawn fdexec -q -M 0666 --args s env
	await_socket s
	exits 125 "${as_other[@]}" fdrun s true 2>err
	one_line err 's: closed without an answer (uid 0 there; its -a may refuse uid 65534)'
	spawn as_other fdexec -q --args o id
	await_socket o
	wrong 'o: refused uid 65534 (-a 65534 ' fdrun o -u
	[ "$(fdrun -a 65534 o -u)" = 65534 ]
	spawn fdexec -q -a 65534 --args a id
	await_socket a
	[ "$(as_other fdrun a -u)" = 0 ]
}

# ---- other programs at the other end, from the text of fdkit-protocol(7) ----

@test "a Python server that is always warm runs scripts with words, directory, variables and status" {
	warm
	mkdir here
	cat >here/script.py <<-'PY'
		import os, sys
		print(sys.argv[1:], os.path.basename(os.getcwd()), os.environ["A"], os.environ["B"], sys.stdin.read(), sep="|")
		sys.exit(7)
	PY
	cd here
	echo in >in
	A=1 exits 7 fdrun -E A,unset -E B=2,3=4 ../s script.py 'a b' '' -- --pty <in >out 2>err
	[ "$(cat out)" = "['a b', '', '--', '--pty']|here|1|2,3=4|in" ]
	[ ! -s err ]
}

@test "a Python server passes signals on, and fdrun dies of the one that ends COMMAND" {
	warm
	cat >script.py <<-'PY'
		import time
		print("there", flush=True)
		time.sleep(100)
	PY
	spawn fdrun s script.py >out
	eventually test -s out
	kill -TERM "$pid"
	ended "$pid" 143
}

@test "a client in Perl runs COMMAND by the record form" {
	[ "$(uname -m)" = x86_64 ] || skip "it knows the calls of x86_64 alone"
	says 'takes' 'taken id=1 / ended id=1 status=5'
	exits 5 run_client.pl s
	diff asked <(printf 'fdkit/1 run\nfdkit/1 run fds=3 id=1\n')
}

# ---- what a server may say ----

@test "fdrun asks first, and sends the directory only to a server that takes it" {
	says 'takes' 'taken id=1 / ended id=1 status=0'
	exits 0 fdrun s
	says 'takes cwd' 'taken id=1 / ended id=1 status=0'
	exits 0 fdrun -w 5 s
	diff asked <(printf 'fdkit/1 run\nfdkit/1 run fds=4 id=1 cwd\n')
}

# told LINE... -- REASON: from a server that says LINE... fdrun fails with REASON.
told() {
	local lines=()
	while [ "$1" != -- ]; do
		lines+=("$1")
		shift
	done
	says "${lines[@]}"
	wrong "$2" fdrun s
}

@test "a refusal, an end and a foreign answer are one line and status 125" {
	told 'refused why=no words' -- 's: refused: no words'
	told takes 'refused id=1 why=not now' -- 's: refused: not now'
	told 'slots n=1' -- 's: does not run commands for fdrun'
	told takes 'taken id=1 / ended id=1' -- 's: does not run commands for fdrun'
	told - -- 's: closed without an answer'
	told takes - -- 's: closed without beginning COMMAND'
	told takes 'taken id=1' -- 's: closed without saying how COMMAND ended'
}

@test "-t and -w end with 124 as long as COMMAND has not begun" {
	exits 124 fdrun -w 0.1 s 2>err
	one_line err "s: timed out (nobody listens there)"
	for answers in '-' 'takes|-'; do
		IFS='|' read -ra answers <<<"$answers"
		says "${answers[@]}" -
		exits 124 fdrun -t 0.2 s 2>err
		one_line err "s: timed out: COMMAND has not begun in time"
	done
	says takes 'taken id=1' 'ended id=1 status=3'
	spawn fdrun -t 0.2 s
	eventually lines asked 2
	sleep 0.3 # longer than -t
	kill -USR1 "$pid"
	ended "$pid" 3
}

@test "fdrun dies of the signal that ended COMMAND, and leaves no core" {
	ulimit -c unlimited
	for sig in INT QUIT KILL SEGV ABRT HUP; do
		says takes "taken id=1 / ended id=1 signal=$(kill -l $sig)"
		spawn env --default-signal "$PYTHON" -c '
import subprocess, sys
print(subprocess.run(["fdrun", "s"]).returncode)' >how
		ended "$pid" 0
		[ "$(cat how)" -eq "-$(kill -l $sig)" ]
	done
	[ -z "$(find . -name 'core*')" ]
}

@test "fdrun passes on the signals that it gets, and not those that its caller had it ignore" {
	for sig in INT QUIT TERM HUP USR1 USR2 WINCH CONT TSTP; do
		says takes 'taken id=1' 'ended id=1 status=0'
		spawn env --default-signal fdrun s
		eventually lines asked 2
		eventually asleep "$pid" fdrun
		kill "-$sig" "$pid"
		ended "$pid" 0
		[ "$(tail -n 1 asked)" = "fdkit/1 signal id=1 n=$(kill -l "$sig")" ]
	done
	says takes 'taken id=1' 'ended id=1 status=0'
	spawn env --ignore-signal=HUP fdrun s
	eventually lines asked 2
	kill -HUP "$pid"
	kill -USR1 "$pid"
	ended "$pid" 0
	[ "$(tail -n 1 asked)" = "fdkit/1 signal id=1 n=10" ]
}

@test "when COMMAND stops fdrun stops, and what continues it continues COMMAND" {
	says takes 'taken id=1 / stopped id=1 n=19' 'ended id=1 status=4'
	spawn fdrun s
	eventually state "$pid" T
	kill -CONT "$pid"
	ended "$pid" 4
	[ "$(tail -n 1 asked)" = "fdkit/1 signal id=1 n=18" ]
}

@test "of what it has sent fdrun keeps nothing: pipes end and break as COMMAND has them" {
	says takes 'taken id=1' 'ended id=1 status=0'
	mkfifo out err log
	for pipe in out err log; do
		spawn timeout 10 cat $pipe
		cats+=("$pid")
	done
	spawn fdrun -f 0,1,2,7 s >out 2>err 7>log
	for cat in "${cats[@]}"; do # to their ends, though fdrun still runs
		ended "$cat" 0
	done
	kill -USR1 "$pid"
	ended "$pid" 0
}

@test "wrong calls" {
	: >file
	wrong 'SOCKET is missing' fdrun
	wrong 'file: not a socket' fdrun -w 5 file
	wrong 's: No such file' fdrun s
	wrong 'names' fdrun -f log=1 s
	wrong 'fd 77: Bad file descriptor' fdrun -f 0,77 s
	wrong 'more than 251 descriptors' fdrun -f "$(copies 252)" s
	wrong '-E A,B=1: ' fdrun -E A,B=1 s
	wrong '-E A,,B: ' fdrun -E A,,B s
	wrong '-E 1A: ' fdrun -E 1A s
	wrong '--pty: none of 0, 1 and 2 is a terminal' fdrun --pty s
	fdrun --help | grep -q -- '-E, --env'
}
