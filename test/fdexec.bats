#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# COMMAND writes to the file "where" to what its descriptors N... lead, one a line.
where='list=$(for n; do readlink /proc/$$/fd/$n; done); echo "$list" >where.new; mv where.new where'

# ---- where the descriptors go ----

@test "one descriptor goes to 0, 1 and 2" {
	spawn fdexec w sh -c "$where" - 0 1 2
	exits 0 fdsend -w 5 w 1 >file
	printf '%s\n' "$PWD"/file "$PWD"/file "$PWD"/file >expected
	eventually cmp expected where
}

@test "two go to 0 and 1, standard error stays fdexec's" {
	echo pears >in
	spawn fdexec w sh -c 'read -r what; echo "read $what"; echo diagnosis >&2' 2>err
	exits 0 fdsend -w 5 w 0 1 <in >out
	eventually test -s err
	[ "$(cat out)" = 'read pears' ]
	[ "$(cat err)" = diagnosis ]
}

@test "three go to 0, 1 and 2" {
	spawn fdexec w sh -c "$where" - 0 1 2
	exits 0 fdsend -w 5 w 5 6 7 5>a 6>b 7>c
	printf '%s\n' "$PWD"/a "$PWD"/b "$PWD"/c >expected
	eventually cmp expected where
}

@test "five go to 0, 1, 2, 3 and 4, in the order in which they were named" {
	spawn fdexec w sh -c 'echo "$FDKIT_FDS" >fds; '"$where" - 0 1 2 3 4
	exits 0 fdsend -w 5 w 9 7 5 6 8 9>a 7>b 5>c 6>d 8>e
	printf '%s\n' "$PWD"/a "$PWD"/b "$PWD"/c "$PWD"/d "$PWD"/e >expected
	eventually cmp expected where
	[ "$(cat fds)" = '0 1 2 3 4' ]
}

@test "COMMAND has what was received, what fdexec inherited, and nothing else" {
	list='ls /proc/$$/fd'
	spawn sh -c "$list" >before 7<&0
	ended "$pid"
	[ "$status" -eq 0 ]
	spawn fdexec w sh -c "$list" 7<&0
	await_socket w
	spawn meet.py connect w silent        # fdexec has a connection open besides
	for _ in 1 2; do
		rm -f after
		exits 0 fdsend -w 5 w 1 >after
		eventually test -s after
		diff before after
	done
}

@test "-i, -o and -e choose where one descriptor goes, the rest stays fdexec's" {
	local opt expected
	: >std0
	while read -r opt expected; do
		rm -f where
		spawn fdexec "$opt" w sh -c "$where" - 0 1 2 <std0 >std1 2>std2
		exits 0 fdsend -w 5 w 1 >sent
		eventually test -s where
		# shellcheck disable=SC2086
		printf "$PWD/%s\n" $expected | diff - where
		kill "$pid"
		ended "$pid"
	done <<-'END'
		-i sent std1 std2
		-o std0 sent std2
		-e std0 std1 sent
		-io sent sent std2
		-ie sent std1 sent
		-oe std0 sent sent
		-ioe sent sent sent
	END
}

@test "of several, each goes to the next number chosen, and what is left on from 3" {
	spawn fdexec -eo w sh -c 'echo "$FDKIT_FDS" >fds; '"$where" - 1 2 3 4
	exits 0 fdsend -w 5 w 5 6 7 8 5>a 6>b 7>c 8>d
	printf '%s\n' "$PWD"/a "$PWD"/b "$PWD"/c "$PWD"/d >expected
	eventually cmp expected where
	[ "$(cat fds)" = '1 2 3 4' ]
}

@test "every message of one sender runs COMMAND once" {
	spawn fdexec w sh -c 'echo run >>log'
	exits 0 fdsend -1 -w 5 w 5 5 5 5 5 5</dev/null
	eventually lines log 5
	kill "$pid"
	ended "$pid"
	lines log 5
}

@test "-B clears O_NONBLOCK, without it the flag stays" {
	mkfifo p
	exec 5<>p
	for opt in -v -B; do
		spawn fdexec "$opt" w sh -c 'grep flags: /proc/$$/fdinfo/0 >flags.new; mv flags.new flags'
		with.py nonblock 5 fdsend -w 5 w 5
		eventually test -e flags
		mv flags "flags$opt"
		kill "$pid"
		ended "$pid"
	done
	(($(awk '{ print "0" $2 }' flags-v) & 04000))
	((!($(awk '{ print "0" $2 }' flags-B) & 04000)))
}

# ---- what else COMMAND starts with ----

@test "the message and its sender are in FDKIT_MESSAGE and FDKIT_PEER_" {
	spawn fdexec w env
	spawn fdsend -w 5 -m $'grüße\tand\nmore' w 1 >vars
	eventually grep -q ^FDKIT_PEER_GID= vars
	[ "$(grep -A 1 ^FDKIT_MESSAGE= vars)" = $'FDKIT_MESSAGE=grüße\tand\nmore' ]
	[ "$(value FDKIT_PEER_PID vars)" = "$pid" ]
	[ "$(value FDKIT_PEER_UID vars)" = "$(id -u)" ]
	[ "$(value FDKIT_PEER_GID vars)" = "$(id -g)" ]
	[ "$(value FDKIT_FDS vars)" = '0 1 2' ]
}

# ---- how many at once ----

@test "-j runs at most so many at once, and everything in the end" {
	mkdir running
	mkfifo gate
	exec 6<>gate
	spawn fdexec -j 3 -i w sh -c ': >running/$$; ls running | wc -l >>log; read -r _; rm running/$$'
	exits 0 fdsend -w 5 -n -1 w 6 6 6 6 6 6 6 6 6 6
	eventually lines log 3
	for _ in {1..10}; do echo go >&6; done
	eventually lines log 10
	eventually childless "$pid"
	cat log
	[ "$(sort -n log | tail -n 1)" -eq 3 ]
	exec 6>&-
}

@test "without -j at most 64 run at once" {
	mkfifo gate
	exec 6<>gate
	spawn with.py queued 5 70 fdexec fd:5 sh -c 'echo run >>log; read -r _' <gate 2>err
	eventually lines log 64
	for _ in {1..70}; do echo go >&6; done
	ended "$pid"
	[ "$status" -eq 0 ]
	lines log 70
	exec 6>&-
}

# ---- a long-running process ----

@test "200 messages leave no zombie and no descriptor open" {
	spawn fdexec w sh -c 'echo run >>log'
	exits 0 fdsend -w 5 w 0 </dev/null
	eventually childless "$pid"
	before=$(open_fds "$pid")
	for _ in {1..200}; do
		exits 0 fdsend w 0 </dev/null
	done
	eventually lines log 201
	eventually childless "$pid"
	eventually has_open "$pid" "$before"
}

@test "peers that misbehave leave no descriptor open, and do not stop the others" {
	spawn fdexec w true 2>err
	exits 0 fdsend -w 5 w 0 </dev/null # from then on numbers are kept for slots
	before=$(open_fds "$pid")
	spawn meet.py connect w silent
	worker=${PIDS[0]}
	connected() { [ "$(open_fds "$worker")" != "$before" ]; }
	eventually connected
	meet.py connect w nothing
	meet.py connect w words
	meet.py connect w give 253 3 </dev/null
	exits 0 fdsend w 0 </dev/null
	kill "$pid"
	eventually has_open "$worker" "$before"
	eventually childless "$worker"
}

@test "a COMMAND that disappears costs one line for each message, fdexec goes on" {
	printf '#!/bin/sh\necho here\n' >later
	chmod +x later
	spawn fdexec -q w ./later 2>err
	await_socket w
	mv later gone
	exits 0 fdsend -w 5 w 0 </dev/null
	one_line err 'fdexec: ' './later' 'No such file'
	mv gone later
	chmod -x later
	exits 0 fdsend w 0 </dev/null
	eventually lines err 2
	grep -q 'Permission denied' err
	chmod +x later
	exits 0 fdsend w 1 >out
	eventually grep -q here out
	lines err 2
}

@test "-c: a dispatcher that turns it away at once is asked less and less often" {
	spawn fdexec -q -c s true
	# Between seven connections at least 10, 20, 40, 80, 160 and 250 ms go by.
	accepts=(accept accept accept accept accept accept)
	exits 0 speak.py listen s time "${accepts[@]}" time >took
	awk 'NR == 1 { first = $1 } END { exit $1 - first < 500 }' took
}

# ---- options of everybody ----

@test "-v reports events in a line each, -q reports errors only" {
	spawn fdexec w true 2>err
	spawn fdexec -q wq true 2>err-q
	spawn fdexec -v wv true 2>err-v
	for w in w wq wv; do exits 0 fdsend -w 5 "$w" 0 </dev/null; done
	for p in "${PIDS[@]}"; do eventually childless "$p"; done
	[ ! -s err ]
	[ ! -s err-q ]
	eventually grep -q '^fdexec: true: ' err-v
	grep -q '^fdexec: wv: ' err-v
	run ! grep -v '^fdexec: ' err-v
	kill "${PIDS[@]}"
	for p in "${PIDS[@]}"; do ended "$p"; done
	[ ! -s err-q ]
	one_line err SIGTERM
	grep -q SIGTERM err-v
}

@test "a wrong call: one line that names what is wrong, 125, nothing created" {
	: >file
	wrong fdexec fdexec w
	wrong 0 fdexec -j 0 w true
	wrong no-such-dir/w fdexec no-such-dir/w true
	wrong fd:88 fdexec fd:88 true
	wrong fd:x fdexec fd:x true
	wrong fd:0 fdexec fd:0 true
	wrong file fdexec file true
	wrong S fdexec -S
	wrong fdexec fdexec -S 7
}

@test "one command is one command" {
	spawn fdexec w true 2>err
	exits 0 fdsend -w 5 w
	eventually childless "$pid"
	kill "$pid"
	ended "$pid" 0
	one_line err 'ended by SIGTERM, 1 command run'
}

@test "a SOCKET that is a file and no socket is an error, not waited for" {
	: >file
	wrong 'file: not a socket' fdexec -c file true
	wrong 'file: not a socket' fdexec -c -w 1 file true
}

# ---- the words that stand for SOCKET ----

@test "@NAME is an abstract socket, that leaves no file" {
	spawn fdexec "@fdkit-$$" echo abstract
	exits 0 fdsend -w 5 "@fdkit-$$" 1 >out
	eventually grep -q abstract out
	[ "$(ls)" = out ]
}

@test "fd:N takes from a connected socket, which COMMAND does not have, and ends with 0 at end of file" {
	spawn with.py queued 5 4 fdexec fd:5 sh -c 'ls /proc/$$/fd >fds; echo run >>log' </dev/null 2>err
	ended "$pid"
	[ "$status" -eq 0 ]
	lines log 4
	run ! grep -x 5 fds
}

@test "fd:N accepts from a listening socket, whose file stays" {
	spawn with.py listener 5 w fdexec fd:5 sh -c 'echo "from $FDKIT_PEER_PID"'
	exits 0 fdsend -w 5 w 1 >out1
	exits 0 fdsend w 1 >out2
	eventually grep -q 'from [0-9]' out1
	eventually grep -q 'from [0-9]' out2
	kill "$pid"
	ended "$pid"
	[ "$status" -eq 0 ]
	[ -S w ]
}

@test "exec: takes what a program sends on its standard output; who it is stays unsaid" {
	echo pears >in
	spawn fdexec -i 'exec:fdsend -1 fd:1 5 5 5<in' sh -c 'env >vars; cat >>log'
	ended "$pid"
	[ "$status" -eq 0 ]
	[ "$(cat log)" = pears ]        # they share one offset
	run ! grep ^FDKIT_PEER_ vars
}

@test "the program of exec: is ended when fdexec ends" {
	spawn fdexec 'exec:echo $$ >child; exec sleep 600' true
	eventually test -s child
	PIDS+=("$(cat child)")
	kill "$pid"
	ended "$pid"
	[ "$status" -eq 0 ]
	eventually gone "$(cat child)"
}

# ---- -S ----

@test "-S copies both ways and exits as COMMAND does" {
	run -5 timeout 10 fdexec -S 7 sh -c 'tr a-z A-Z <&7 >&7; exit 5' <<<hello
	[ "$output" = HELLO ]
	run -143 timeout 10 fdexec -S 7 sh -c 'kill -TERM $$' </dev/null
	run -0 timeout 10 fdexec --socketpair=0 sh -c 'read -r x; echo "got $x" >&0' <<<zero
	[ "$output" = 'got zero' ]
}

@test "-S: what COMMAND writes on its own standard output and error goes there" {
	timeout 10 fdexec -S 7 sh -c 'echo out; echo err >&2; echo sock >&7' </dev/null >out 2>err
	[ "$(sort out | paste -sd ' ')" = 'out sock' ]
	[ "$(cat err)" = err ]
}

@test "-S: what COMMAND says arrives at once, while more is waited for" {
	timeout 10 fdexec -S 7 timeout 5 sh -c 'for i in 1 2 3; do echo $i >&7; until [ -e got$i ]; do sleep 0.02; done; done' </dev/null |
		while read -r line; do : >"got$line"; done
	[ "${PIPESTATUS[*]}" = '0 0' ]
	[ -e got3 ]
}

@test "-S: a closed standard input or output is a failure before COMMAND begins" {
	for closed in '<&-' '>&-'; do
		exits 125 sh -c "exec fdexec -S 7 touch begun $closed" 2>err
		one_line err 'fdexec: standard '
		[ ! -e begun ]
	done
}

@test "-S: COMMAND has /dev/null, the socketpair and what was inherited, and nothing else" {
	list='ls /proc/$$/fd; readlink /proc/$$/fd/0'
	spawn sh -c "$list" </dev/null >before 7<&1
	ended "$pid"
	spawn fdexec -S 7 sh -c "$list" >after </dev/zero
	ended "$pid"
	[ "$status" -eq 0 ]
	diff before after
}

@test "-S carries a megabyte each way unharmed" {
	head -c 1000000 /dev/urandom >data
	timeout 10 fdexec -S 9 sh -c 'exec cat <&9 >&9' <data >back
	cmp data back
}

@test "-S ends when COMMAND does, though standard input goes on" {
	mkfifo hold
	exec 6<>hold
	run -3 timeout 5 fdexec -S 7 sh -c 'echo bye >&7; exit 3' <&6
	[ "$output" = bye ]
	exec 6>&-
}

@test "-S exits as COMMAND does though it leaves input unread" {
	mkfifo hold
	exec 6<>hold
	echo apples and pears >&6
	run -3 timeout 5 fdexec -S 7 sh -c 'head -c 6 <&7 >&7; exit 3' <&6
	[ "$output" = apples ]
	exec 6>&-
}

@test "-S: standard output that breaks off ends COMMAND instead of hanging" {
	timeout 5 fdexec -S 7 sh -c 'yes >&7; echo "$?" >yes.status' </dev/null | head -n 1 >line
	[ "$(cat line)" = y ]
	eventually test -s yes.status
}

@test "-S with a COMMAND that is not there or cannot be run: 127, 126 and a line" {
	: >plain
	run -127 --separate-stderr fdexec -S 7 ./nowhere </dev/null
	[[ $stderr == 'fdexec: ./nowhere: No such file'* ]]
	run -126 --separate-stderr fdexec -S 7 ./plain </dev/null
	[[ $stderr == 'fdexec: ./plain: Permission denied'* ]]
}
