#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# Three files at 5, 6 and 7, at their beginnings, for the commands that follow.
abc() {
	echo a >a; echo b >b; echo c >c
	exec 5<a 6<b 7<c
}

# What fdrecv's COMMAND finds in three descriptors from 3 on.
all='cat <&3; cat <&4; cat <&5'

# report [-T TYPE]: a peer listens at s and reports each message in the file seen.
report() {
	rm -f s
	spawn meet.py "$@" listen s report >seen
	[ "${2:-}" = dgram ] || await_socket s
}

# ---- what is sent ----

@test "standard input is sent when no descriptor is named" {
	echo pears >notes
	spawn fdrecv s >out
	await_socket s
	exits 0 fdsend s <notes >sender
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	[ ! -s sender ]
}

@test "descriptors arrive in the order in which they are named: operands, -f, ranges" {
	arrives() {
		local expected=$1
		shift
		abc
		spawn fdrecv s sh -c "$all" >out
		exits 0 fdsend -w 5 "$@"
		ended "$pid" 0
		[ "$(tr -d '\n' <out)" = "$expected" ] || { echo "$* gave $(cat out)" >&2; return 1; }
	}
	arrives acb s 5 7 6
	arrives cab s 7 5 6
	arrives bca -f 6,7,5 s
	arrives abc -f 5-7 s
	arrives cab -f 7,5-6 s
	arrives bac --fds 6 s 5 7
	arrives cba --fds=7-7,6 -- s 5
}

@test "one message carries them all, with one NUL" {
	abc
	report
	exits 0 fdsend s 5 6 7
	ended "$pid" 0
	[ "$(cat seen)" = "3 b'\\x00'" ]
}

@test "253 go in one message of the plain form" {
	fds=$(copies 253)
	report
	exits 0 fdsend -f "$fds" s
	ended "$pid" 0
	[ "$(cat seen)" = "253 b'\\x00'" ]
}

@test "254 go in the record form, which a receiver must answer" {
	report
	exits 125 fdsend -f "$(copies 254)" s
	ended "$pid" 0
	[ "$(awk '{ n += $1 } END { print n }' seen)" = 254 ]
	grep -q "^253 b'fdkit/1 set fds=253 more" seen
	grep -q "^1 b'fdkit/1 set fds=1 id=1" seen
}

@test "-P: any number of descriptors go in the plain form, 253 a message, with the text in each" {
	for option in -P --plain; do
		report
		exits 0 fdsend $option -m text -f "$(copies 600)" s
		ended "$pid" 0
		diff seen - <<-END
			253 b'text'
			253 b'text'
			94 b'text'
		END
	done
	spawn fdrecv -N 600 s sh -c 'echo $LISTEN_FDS' >out
	exits 0 fdsend -w 5 -P -f "$(copies 600)" s
	ended "$pid" 0
	[ "$(cat out)" = 600 ]
	wrong -P fdsend -P s log=0
}

@test "-1 sends one descriptor a message, and the text with each" {
	abc
	for option in -1 --one-each; do
		report
		exits 0 fdsend $option -m x s 5 6 7
		ended "$pid" 0
		[ "$(cat seen)" = "$(printf "1 b'x'\n%.0s" 1 2 3)" ]
	done
}

@test "the file offset is shared" {
	printf 'first\nsecond\n' >notes
	spawn fdrecv s >out
	{ read -r _; fdsend -w 5 s; } <notes
	ended "$pid" 0
	[ "$(cat out)" = second ]
}

# ---- -m ----

@test "-m and --message-file are the bytes that go along" {
	for option in '-m hello' '-mhello' '--message hello' '--message=hello'; do
		report
		# shellcheck disable=SC2086
		exits 0 fdsend $option s
		ended "$pid" 0
		[ "$(cat seen)" = "1 b'hello'" ]
	done
	printf 'a\0b\377\n' >bytes
	report
	exits 0 fdsend --message-file bytes s
	ended "$pid" 0
	[ "$(cat seen)" = "1 b'a\\x00b\\xff\\n'" ]
}

@test "32768 bytes of text go, one more and an empty one are refused" {
	text=$(head -c 32768 /dev/zero | tr '\0' x)
	report
	exits 0 fdsend -m "$text" s
	ended "$pid" 0
	[ "$(cat seen)" = "1 b'$text'" ]

	: >empty
	printf x%s "$text" >long
	spawn fdrecv s >received 2>fdrecv.err
	await_socket s
	wrong 32768 fdsend -m "x$text" s
	wrong long fdsend --message-file long s
	wrong -m fdsend -m '' s
	wrong empty fdsend --message-file empty s
	wrong missing fdsend --message-file missing s
	wrong . fdsend --message-file . s
	exits 0 fdsend s                # none of those has connected
	ended "$pid" 0
	[ ! -s fdrecv.err ]
}

# ---- taken, or not ----

@test "status 0 means taken: a receiver that closes unread gives 125" {
	for type in stream seqpacket; do
		spawn meet.py -T $type listen s close-unread
		await_socket s
		exits 125 fdsend -T $type s 2>err
		one_line err 'fdsend: s: '
		rm s
	done
}

@test "a receiver that takes only the first message gives 125" {
	spawn meet.py listen s take-one >seen
	await_socket s
	exits 125 fdsend -1 s 0 0 0 2>err
	one_line err 'fdsend: s: '
	[ "$(cat seen)" = "1 b'\\x00'" ]
}

@test "a receiver that closes at once gives 125, and no SIGPIPE" {
	spawn meet.py listen s nothing
	await_socket s
	exits 125 fdsend s 2>err
	one_line err 'fdsend: s: '
}

@test "a receiver that reads and closes gives 0" {
	for type in stream seqpacket; do
		report -T $type
		exits 0 fdsend -T $type s
		ended "$pid" 0
		[ "$(cat seen)" = "1 b'\\x00'" ]
		rm s
	done
}

@test "a receiver that never answers gives 124 with -t" {
	for option in '-t300ms' '--timeout=.3'; do
		spawn meet.py listen s silent
		await_socket s
		start=${EPOCHREALTIME/./}
		# shellcheck disable=SC2086
		exits 124 fdsend $option s 2>err
		((${EPOCHREALTIME/./} - start >= 300000))
		one_line err 'fdsend: s: '
		kill "$pid"
		ended "$pid"
		rm s
	done
}

@test "-t covers a backlog that stays full" {
	spawn meet.py listen s full >state
	eventually grep -q full state
	exits 124 fdsend -t 0.3 s 2>err
	one_line err 'fdsend: s: '
}

@test "-t covers a queue that stays full, -n waits for room as well" {
	fds=$(copies 400)
	for option in '-1' '-1 -n'; do
		spawn meet.py listen s silent
		await_socket s
		# shellcheck disable=SC2086
		exits 124 fdsend $option -t 0.3 -f "$fds" s 2>err
		one_line err 'fdsend: s: '
		kill "$pid"
		ended "$pid"
		rm s
	done
}

@test "a slow receiver gets 400 messages: a full queue is waited for" {
	spawn meet.py listen s lazy >seen
	await_socket s
	exits 0 fdsend -1 -f "$(copies 400)" s
	ended "$pid" 0
	[ "$(grep -c "^1 b'.x00'" seen)" -eq 400 ]
}

@test "too many descriptors in flight (ETOOMANYREFS) are waited for, too" {
	public
	cd "$pub"
	spawn meet.py listen s lazy >seen
	await_socket s
	printf 'ulimit -n 64\nexec fdsend -a any -1 -f %s s\n' "$(copies 200)" >send
	chmod 666 s
	if [ "$(id -u)" -eq 0 ]; then   # root is not counted
		exits 0 setpriv --reuid 65534 --regid 65534 --clear-groups sh send
	else
		exits 0 sh send
	fi
	ended "$pid" 0
	[ "$(grep -c "^1 b'.x00'" seen)" -eq 200 ]
}

@test "-n returns when the kernel has it" {
	for option in -n --no-wait; do
		spawn meet.py listen s silent
		await_socket s
		exits 0 fdsend $option s
		kill "$pid"
		ended "$pid"
		rm s
	done
}

@test "what the receiver answers goes to standard output" {
	spawn meet.py listen s reply 'thanks, taken' >seen
	await_socket s
	exits 0 fdsend s >out
	[ "$(cat out)" = 'thanks, taken' ]
	grep -q '^1 ' seen
}

@test "a refusal of the plain form is obeyed: 125, the reason on standard error, nothing of it on standard output" {
	for line in 'fdkit/1 refused why=no room' $'fdkit/1 get names=a\nfdkit/1 refused id=7 why=no room'; do
		spawn meet.py listen s reply "$line"$'\n' >seen
		await_socket s
		exits 125 fdsend s >out 2>err
		one_line err 'fdsend: s: refused: no room'
		[ ! -s out ]
		rm s
	done
	spawn meet.py listen s reply-slowly $'fdkit/1 refused why=no room\n'
	await_socket s
	exits 125 fdsend s >out 2>err
	one_line err 'fdsend: s: refused: no room'
	[ ! -s out ]
}

@test "a reply that only begins like a refusal is a reply" {
	for text in f fdkit/ fdkit/2 $'fdkit\n' $'f\nfdkit/1 refused why=no room\n'; do
		spawn meet.py listen s reply-slowly "$text"
		await_socket s
		exits 0 fdsend s >out
		printf %s "$text" | cmp - out
		rm s
	done
}

@test "a reply that brings what blocks whoever closes it holds up neither -t nor the end" {
	local what n
	if (need_fuse) >/dev/null 2>&1; then
		fuse "$PWD/mnt" FLUSH
	fi
	# Read as a reply; or left in the queue, where many messages are not taken. All at once, since each takes a second.
	local calls=()
	for n in 1 1000; do
		for what in linger pipe mnt/file; do
			[ "$what" != mnt/file ] || [ -e mounted ] || continue
			at=$n-${what%/*}
			spawn stuck.py reply $what "$at" 2 hello
			await_socket "$at"
			spawn fdsend -1 -t 1 -f "$(copies $n)" "$at" >"$at.out" 2>"$at.err"
			calls+=("$at $pid")
		done
	done
	for call in "${calls[@]}"; do
		read -r at pid <<<"$call"
		ended "$pid" 124
		one_line "$at.err" "fdsend: $at: timed out"
		[[ $at != 1-* ]] || [ "$(cat "$at.out")" = hello ]
	done
	# Nor does what is left in the queue with -n.
	spawn fdsend -l -n s
	local sender=$pid
	await_socket s
	kill -STOP "$sender"
	spawn stuck.py send pipe s >sent
	eventually grep -q sent sent
	kill -CONT "$sender"
	ended "$sender" 0
}

@test "a receiver that refuses in the middle is heard" {
	spawn meet.py listen s refuse-second
	await_socket s
	exits 125 fdsend -1 -f "$(copies 1000)" s 2>err
	one_line err 'fdsend: s: refused: enough'
}

# ---- -p ----

@test "-p sends a descriptor of another process" {
	echo theirs >theirs
	for call in '-p PID s 8' '--pid PID --fds 8 s' '-pPID -f 8 s'; do
		spawn sleep 100 8<theirs
		eventually asleep "$pid" sleep
		call=${call/PID/$pid}
		spawn fdrecv s >out
		# shellcheck disable=SC2086
		exits 0 fdsend -w 5 $call 2>err || { grep -qi permi err; skip "ptrace is restricted here"; }
		ended "$pid" 0
		[ "$(cat out)" = theirs ]
	done
}

@test "-p copies more descriptors than the soft limit allows" {
	echo theirs >theirs
	spawn sleep 100 8<theirs
	eventually asleep "$pid" sleep
	list=$(copies 100 8)
	(
		ulimit -S -n 64
		exits 0 fdsend -p "$pid" -f "$list" 'exec:ulimit -n; exec fdrecv -N 100 fd:0' >out 2>err || {
			grep -qi permi err && skip "ptrace is restricted here"
		}
	)
	[ "$(paste -sd ' ' out)" = '64 theirs' ]
}

@test "-p names the process or the descriptor that is not there" {
	spawn fdrecv s >received 2>fdrecv.err
	receiver=$pid
	await_socket s
	spawn sleep 100
	eventually asleep "$pid" sleep
	wrong 77 fdsend -p "$pid" s 77
	wrong 77 fdsend -p "$pid" s 0 77
	true &
	wait $!
	wrong $! fdsend -p $! s 0
	exits 0 fdsend s
	ended "$receiver" 0
	[ ! -s fdrecv.err ]
}

@test "-p of a process that is not ours is refused" {
	need_root
	public
	cd "$pub"
	echo 'exec sleep 100' >script
	spawn sh script
	eventually asleep "$pid" sleep
	exits 125 setpriv --reuid 65534 --regid 65534 --clear-groups fdsend -p "$pid" s 2>err
	one_line err 'fdsend: ' "$pid"
}

# ---- -l, -k ----

@test "-l listens, sends to the first peer and ends" {
	echo pears >notes
	for option in -l --listen; do
		spawn fdsend $option s <notes
		await_socket s
		[ "$(stat -c %a s)" = 600 ]
		exits 0 fdrecv -c s >out
		ended "$pid" 0
		[ "$(cat out)" = pears ]
		[ ! -e s ]
	done
}

@test "-l: not taken gives 125, nobody 124 with -t, and the socket file is gone" {
	spawn fdsend -l s 2>err
	await_socket s
	exits 0 meet.py connect s close-unread
	ended "$pid" 125
	one_line err 'fdsend: s: '
	[ ! -e s ]

	spawn fdsend -l -t 0.2 s 2>err
	ended "$pid" 124
	one_line err 'fdsend: s: '
	[ ! -e s ]
}

@test "-l -k serves every peer until a signal, of which it tells; then status 0" {
	echo pears >notes
	for signal in TERM INT HUP; do
		spawn fdsend -l -k s <notes 2>err
		await_socket s
		spawn meet.py connect s silent                  # holds up nobody
		quiet=$pid
		exits 0 meet.py connect s close-unread          # nor does this
		for _ in 1 2 3; do
			exits 0 fdrecv -c s stat -L -c %i /proc/self/fd/3 >out
			[ "$(cat out)" = "$(stat -c %i notes)" ]
		done
		kill "$quiet"
		kill -$signal "${PIDS[-2]}"
		ended "${PIDS[-2]}" 0
		[ "$(grep -c "SIG$signal" err)" -eq 1 ]
		[ ! -e s ]
	done
}

@test "-l -k: a standard output that is full, or has no reader, holds up no peer" {
	mkfifo out
	for reply in full lost; do
		exec 8<>out
		spawn fdsend -l -k s 0 >out 8>&- 2>err
		sender=$pid
		await_socket s
		[ $reply = full ] || exec 8>&-
		exits 0 meet.py connect s reply "$(printf %0100000d 0)"
		for _ in 1 2 3; do
			exits 0 timeout 5 fdrecv -c s true
		done
		kill "$sender"
		ended "$sender" 0
		exec 8>&-
	done
	grep -q 'standard output: Broken pipe' err
}

# ---- -w ----

@test "without -w an absent peer gives 125 and a hint" {
	wrong '-w' fdsend s
	meet.py listen s stale
	wrong '-w' fdsend s
	[ -S s ]
}

@test "-w gives up with 124" {
	exits 124 fdsend -w 0.2 s 2>err
	one_line err 'fdsend: s: '
	meet.py listen s stale
	exits 124 fdsend --wait 200ms s 2>err
	one_line err 'fdsend: s: '
	exits 124 fdsend -w 0.2 "@fdkit-$$" 2>err
	one_line err "fdsend: @fdkit-$$: "
	exits 124 fdsend -T dgram -w 0.2 t 2>err
	one_line err 'fdsend: t: '
}

@test "a time may have a fraction and a unit" {
	for time in 20 20.5 9000ms 20s 1m 0.5m 1h .5h 0.01h; do
		spawn fdrecv -t $time s true
		exits 0 fdsend -w $time -t $time s
		ended "$pid" 0
	done
}

@test "-w waits for a file that is not there" {
	for socket in s "@fdkit-$$" "$PWD/s"; do
		spawn fdsend -w 10 "$socket"
		eventually asleep "$pid" fdsend
		exits 0 fdrecv "$socket" true
		ended "$pid" 0
	done
}

@test "-w waits while a stale file lies there" {
	meet.py listen s stale
	spawn fdsend --wait=10 s
	eventually asleep "$pid" fdsend
	exits 0 fdrecv s true
	ended "$pid" 0
}

@test "-w waits through the gap between bind and listen" {
	spawn meet.py listen s bound >seen
	eventually test -S s
	spawn fdsend -w 10 s
	eventually asleep "$pid" fdsend
	: >go
	ended "$pid" 0
	[ "$(cat seen)" = "1 b'\\x00'" ]
}

@test "-w does not hide other errors" {
	: >file
	wrong file fdsend -w 10 file
	meet.py -T dgram listen d stale
	spawn meet.py -T dgram listen s report
	eventually test -S s
	wrong s: fdsend -w 10 s
}

# ---- -T ----

@test "-T dgram and seqpacket carry descriptors and text" {
	abc
	for type in dgram seqpacket; do
		report -T $type
		exits 0 fdsend -w 5 -T $type -m text s 5 6 7
		eventually grep -q . seen
		[ "$(cat seen)" = "3 b'text'" ]
		kill "$pid" || true
		ended "$pid"
		rm s
	done
}

@test "-T seqpacket listens, too" {
	echo pears >notes
	spawn fdsend --type seqpacket -l s <notes
	await_socket s
	exits 0 fdrecv -c --type=seqpacket s >out
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

@test "the wrong type is told apart from nobody" {
	spawn fdrecv -T seqpacket s true
	await_socket s
	wrong s: fdsend s
	exits 0 fdsend -T seqpacket s
}

@test "where somebody listens, -l says how to connect" {
	spawn fdrecv s true
	await_socket s
	wrong 'somebody listens there; connect without -l' fdsend -l s
	wrong 'somebody listens there; -c connects' fdrecv s
}

# ---- fd:N and exec: ----

@test "fd:N is used as it is, and not half-closed" {
	echo pears >notes
	exits 0 with.py pair 7 8 sh -c '
		fdrecv fd:8 sh -c "cat <&3; head -n 1 <&8" >out &
		fdsend fd:7 <notes && echo more >&7
		wait'
	[ "$(cat out)" = pears ]        # fdrecv has closed its 8 before COMMAND

	exits 0 with.py pair 7 8 sh -c '
		fdrecv fd:0 sh -c "cat <&3; read -r line; echo \$line" <&8 >out &
		fdsend fd:7 <notes && echo more >&7
		wait'
	[ "$(cat out)" = "$(printf 'pears\nmore')" ]
}

@test "fd:N: taken means that the queue is empty" {
	exits 124 with.py pair 7 8 fdsend -t 0.3 fd:7 2>err
	one_line err 'fdsend: fd:7: '
	exits 0 with.py pair 7 8 fdsend -n fd:7
	exits 0 with.py pair 7 8 sh -c 'fdrecv fd:8 true 7>&- & fdsend fd:7 8>&- && wait $!'
}

@test "fd:N: closed unread gives 125, whether before or after the sending" {
	exits 125 with.py pair 7 8 sh -c 'exec 8>&-; fdsend fd:7' 2>err
	one_line err 'fdsend: fd:7: '
	exits 125 with.py pair 7 8 sh -c '
		meet.py connect fd:8 close-unread 7>&- &
		exec 8>&-
		fdsend fd:7' 2>err
	one_line err 'fdsend: fd:7: '
}

@test "exec: has the socket as its standard input and output" {
	echo pears >notes
	exits 0 fdsend 'exec:fdrecv -i fd:0 cat' <notes >out    # what it answers is printed
	[ "$(cat out)" = pears ]
}

@test "exec: that does not take it gives 125" {
	exits 125 fdsend 'exec:exit 0' 2>err
	one_line err 'fdsend: exec:exit 0: '
	exits 125 fdsend 'exec:' 2>err
	one_line err 'exec:'
	exits 124 fdsend -t 0.3 'exec:exec sleep 1' 2>err
	one_line err 'fdsend: exec:exec sleep 1: '
}

# ---- talk ----

@test "nothing is said unless -v, and errors even with -q" {
	spawn fdrecv s true
	exits 0 fdsend -w 5 s >out 2>&1
	[ ! -s out ]
	spawn fdrecv s true
	exits 0 fdsend -q -w 5 s >out 2>&1
	[ ! -s out ]
	for option in -v --verbose; do
		spawn fdrecv s true
		exits 0 fdsend $option -w 5 s >out 2>err
		[ ! -s out ]
		grep -q '^fdsend: ' err
		[ "$(grep -vc '^fdsend: ' err)" -eq 0 ]
	done
	exits 125 fdsend -q none 2>err
	one_line err 'fdsend: none: '
}

@test "wrong descriptors and names: one line that names them, 125, nothing sent" {
	spawn fdrecv s true 2>fdrecv.err
	receiver=$pid
	await_socket s
	for number in 77 x -5 5x '' ' ' 99999999999 0x0 +0 1.5; do
		wrong "${number:-fd}" fdsend -- s "$number"
		wrong "${number:-fd}" fdsend -- s 0 "$number"
		wrong "${number:-"-f"}" fdsend -f "$number" s
	done
	for list in ',' '0,,' ',0' 0,77 5-3 0- 1-x 0-99999999; do
		wrong "${list#*,}" fdsend -f "$list" s
	done
	for name in '' a:b 'a b' a,b $'a\tb' $'\303\244' "$(head -c 256 /dev/zero | tr '\0' n)"; do
		wrong fdsend fdsend s "$name=0"
	done
	wrong a= fdsend s a=
	wrong 77 fdsend s a=77
	wrong "dgram" fdsend -l -T dgram t
	exits 125 fdsend s 2>err <&-
	one_line err 'fdsend: fd 0: '
	exits 0 fdsend s                # nobody has connected so far
	ended "$receiver" 0
	[ ! -s fdrecv.err ]
}

# bats test_tags=heavy
@test "no descriptor is lost and no memory misused" {
	need_valgrind fdsend
	spawn fdrecv s true
	valgrinded fdsend -w 5 s 0 1 2
	spawn fdrecv -N 300 s true
	valgrinded fdsend -w 5 -m text -f "$(copies 300)" s
	spawn fdrecv -c -w 5 s true
	valgrinded fdsend -l s
	valgrinded fdsend 'exec:fdrecv fd:0 true'
	spawn meet.py listen s close-unread
	await_socket s
	status=0
	valgrinded fdsend s || status=$?
	[ "$status" -eq 125 ]
}
