#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdrecv without COMMAND copies: every kind of descriptor, to its end, and leaves it as it was.
# What stands in '...' is for another shell; the helper sets pid and status.
# A cat at the head of a pipeline is what makes it a pipe.
# shellcheck disable=SC2002,SC2016,SC2030,SC2031,SC2154
load helper

# A file whose every line differs, so that nothing lost, doubled or swapped goes unseen.
numbers() { seq 150000000 | head -c "$1"; }

# flags FD: the file status flags of this shell's FD.
flags() { sed -n 's/^flags:[[:space:]]*//p' "/proc/$BASHPID/fdinfo/$1"; }

# ---- from a readable descriptor to standard output ----

@test "a file, to a file, a pipe, a file open for appending" {
	numbers 3000000 >big
	spawn fdrecv s >out
	exits 0 fdsend -w 5 s <big
	ended "$pid" 0
	cmp big out

	spawn sh -c 'fdrecv s | cat >out'
	exits 0 fdsend -w 5 s <big
	ended "$pid" 0
	cmp big out

	echo before >out
	spawn fdrecv s >>out
	exits 0 fdsend -w 5 s <big
	ended "$pid" 0
	{ echo before && cat big; } | cmp - out
}

@test "a file from where its offset stands, into one where its offset stands" {
	numbers 300000 >big
	echo a longer line than what comes, and more >out
	(
		read -r _
		spawn fdrecv s 1<>out
		exits 0 fdsend -w 5 s
		ended "$pid" 0
	) <big
	tail -n +2 big | cmp - out
	(
		echo first
		spawn fdrecv s
		exits 0 fdsend -w 5 s <big
		ended "$pid" 0
		echo last
	) >out
	{ echo first && cat big && echo last; } | cmp - out
}

@test "an empty file, and /dev/null" {
	: >empty
	for file in empty /dev/null; do
		spawn fdrecv s >out
		exits 0 fdsend -w 5 s <$file
		ended "$pid" 0
		[ ! -s out ]
	done
}

@test "files of /proc, which seem empty" {
	for file in /proc/version /proc/self/mountinfo /proc/cpuinfo; do
		cat $file >expected
		spawn fdrecv s >out
		exits 0 fdsend -w 5 s <$file
		ended "$pid" 0
		[ "$(wc -l <out)" -eq "$(wc -l <expected)" ]
		spawn sh -c 'fdrecv s | cat >out'
		exits 0 fdsend -w 5 s <$file
		ended "$pid" 0
		[ "$(wc -l <out)" -eq "$(wc -l <expected)" ]
	done
	spawn fdrecv s >>out
	exits 0 fdsend -w 5 s </proc/version
	ended "$pid" 0
	[ "$(tail -n 1 out)" = "$(cat /proc/version)" ]
}

@test "a pipe, to a file, a pipe, a file open for appending" {
	numbers 3000000 >big
	for receiver in 'fdrecv s >out' 'fdrecv s | cat >out' ': >out; fdrecv s >>out'; do
		spawn sh -c "$receiver"
		numbers 3000000 | exits 0 fdsend -w 5 s
		ended "$pid" 0
		cmp big out
	done
}

@test "a pipe that is written to bit by bit: each is there at once" {
	mkfifo fifo
	spawn fdrecv s >out
	exits 0 sh -c 'exec 6<>fifo; exec fdsend -w 5 s 6 7>fifo'
	exec 7>fifo
	for word in one two three; do
		echo $word >&7
		eventually grep -x $word out
	done
	exec 7>&-
	[ "$(xargs <out)" = 'one two three' ]
}

@test "several in order, as cat does" {
	seq 1 1000 >a
	seq 1001 2000 >b
	spawn fdrecv s >out
	seq 2001 3000 | exits 0 fdsend -w 5 s 5 6 0 5<a 6<b
	ended "$pid" 0
	seq 3000 | cmp - out
}

@test "a file open for both is read" {
	echo pears >file
	spawn fdrecv s >out
	exits 0 fdsend -w 5 s 5 5<>file
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

# ---- to a write-only descriptor ----

@test "standard input goes to a write-only file or pipe, and to one for appending" {
	numbers 3000000 >big
	for open in '>out' '>>out' '| cat >out'; do
		: >out
		spawn fdrecv s <big
		exits 0 sh -c "fdsend -w 5 s 1 $open"
		ended "$pid" 0
		eventually cmp big out
		: >out
		spawn sh -c 'cat big | fdrecv s'
		exits 0 sh -c "fdsend -w 5 s 1 $open"
		ended "$pid" 0
		eventually cmp big out
	done
}

# ---- sockets and terminals, both ways ----

@test "a socket: both ways, with the end of standard input passed on" {
	numbers 1000000 >big
	spawn fdrecv s <big >out
	exits 0 with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && tr 0-9 a-j <&8 >&8'
	ended "$pid" 0
	tr 0-9 a-j <big | cmp - out
}

@test "a socket: the peer's half-close does not stop standard input" {
	mkfifo in
	spawn sh -c 'exec fdrecv s <in >out'
	exec 9>in
	spawn with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- speak.py connect fd:8 "0:all that I say\n" shut hear' >heard 9>&-
	eventually grep 'all that I say' out
	echo but I listen on >&9
	eventually grep 'but I listen on' heard
	exec 9>&-
	ended "$pid" 0
	ended "${PIDS[0]}" 0
}

@test "a socket whose peer is gone ends it, though standard input stays open" {
	mkfifo in
	exec 9<>in
	spawn fdrecv s <&9 >out
	exits 0 with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && echo bye >&8'
	ended "$pid" 0
	[ "$(cat out)" = bye ]
}

@test "a TCP connection" {
	spawn fdrecv s <<<"$(printf 'one\ntwo')" >out
	exits 0 with.py -T tcp pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && tr a-z A-Z <&8 >&8'
	ended "$pid" 0
	[ "$(xargs <out)" = 'ONE TWO' ]
}

@test "a terminal's master goes both ways, until the terminal is closed" {
	spawn fdrecv s <<<typed >out
	exits 0 with.py pty 7 8 sh -c '
		fdsend -w 5 s 7 && exec 7>&-
		read -r line <&8
		echo "got $line" >&8'
	ended "$pid" 0
	[ "$(cat out)" = 'got typed' ]
}

@test "a terminal takes standard input" {
	seq 100 >lines
	for input in lines /dev/null; do
		spawn fdrecv s <$input >out
		exits 0 with.py pty 7 8 sh -c 'fdsend -w 5 s 8 && exec head -n "$1" <&7' - "$(wc -l <$input)" >shown
		ended "$pid" 0
		cmp $input shown || [ $input = /dev/null ]
		[ ! -s out ]
	done
	seq 100 >lines
	spawn sh -c 'seq 100 | fdrecv s'
	exits 0 with.py pty 7 8 sh -c 'fdsend -w 5 s 8 && exec head -n 100 <&7' >shown
	ended "$pid" 0
	cmp lines shown
}

# ---- what is shared is left as it is ----

@test "a non-blocking pipe is waited for, and stays non-blocking" {
	numbers 1000000 >big
	mkfifo fifo
	exec 6<>fifo
	with.py nonblock 6 true
	before=$(flags 6)
	(($((before)) & 04000))
	spawn fdrecv s >out
	exits 0 fdsend -w 5 s 6
	eventually asleep "$pid" fdrecv         # nothing to read yet
	timeout 20 cat big >fifo
	eventually cmp big out
	[ "$(flags 6)" = "$before" ]
	kill "$pid"
	ended "$pid" 143
	[ "$(flags 6)" = "$before" ]
}

@test "a non-blocking standard output that is full is waited for, and stays as it is" {
	numbers 3000000 >big  # more than the pipe holds once fdrecv has widened it
	mkfifo fifo
	exec 6<>fifo
	with.py nonblock 6 true
	before=$(flags 6)
	for from in 'fdsend -w 5 s <big' 'cat big | fdsend -w 5 s'; do
		spawn fdrecv s >&6 6>&-
		spawn sh -c "$from" 6>&-
		eventually asleep "${PIDS[-2]}" fdrecv  # the pipe is full
		head -c 3000000 <fifo | cmp - big
		ended "$pid" 0
		ended "${PIDS[-2]}" 0
		[ "$(flags 6)" = "$before" ]
	done
}

@test "a non-blocking socket: waited for both ways, and left as it is" {
	numbers 3000000 >big
	spawn fdrecv s <big >out
	exits 0 with.py pair 7 8 with.py nonblock 7 bash -c '
		fdsend -w 5 s 7
		cat big >&8 &
		cat <&8 >heard &
		exec 8>&-
		wait %1
		exec 9<&7
		sed -n "s/^flags:[[:space:]]*//p" /proc/self/fdinfo/7 >flags
		exec 7>&- 9<&-
		wait'
	ended "$pid" 0
	cmp big out
	cmp big heard
	(($(cat flags) & 04000))
}

@test "a non-blocking standard input is waited for, and left as it is" {
	mkfifo fifo
	exec 6<>fifo
	with.py nonblock 6 true
	before=$(flags 6)
	spawn fdrecv s <&6 6>&-
	exits 0 fdsend -w 5 s 1 >out
	eventually asleep "$pid" fdrecv
	echo later >&6
	eventually grep later out
	[ "$(flags 6)" = "$before" ]
}

@test "blocking ones stay blocking, and files keep O_APPEND" {
	echo pears >file
	exec 6<>file
	before=$(flags 6)
	: >out
	exec 7>>out
	appending=$(flags 7)
	spawn fdrecv s >&7
	exits 0 fdsend -w 5 s 6
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	[ "$(flags 6)" = "$before" ]
	[ "$(flags 7)" = "$appending" ]
}

# ---- others use the same output and input ----

@test "while it waits for a socket, others write to its standard output, and read what they wrote" {
	mkfifo fifo in
	exec 6<>fifo 9<>in
	spawn fdrecv s <&9 >&6
	receiver=$pid
	spawn with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && : >sent && until [ -e speak ]; do sleep 0.02; done; echo at last >&8'
	eventually test -e sent
	eventually asleep "$receiver" fdrecv
	spawn sh -c 'echo hello >&6'
	ended "$pid" 0
	spawn head -n 1 <&6 >line
	ended "$pid" 0
	[ "$(cat line)" = hello ]
	: >speak
	spawn head -n 1 <&6 >line
	ended "$pid" 0
	[ "$(cat line)" = 'at last' ]
	ended "$receiver" 0
}

@test "while it waits for a file whose server does not answer, others use its standard output" {
	mkfifo fifo
	exec 6<>fifo
	fuse "$PWD/mnt" READ 6>&-
	server=$pid
	spawn fdrecv s >&6 6>&-
	exits 0 fdsend -w 5 s <"$stuck"
	eventually grep 'never answered: READ' mounted
	spawn sh -c 'echo hello >&6'
	writer=$pid
	spawn head -n 1 <&6 >line
	eventually test -s line
	kill "$server"
	ended "$pid" 0
	ended "$writer" 0
	[ "$(cat line)" = hello ]
}

@test "while it waits for a socket that takes no more, others use its standard input" {
	numbers 3000000 >big
	mkfifo fifo
	exec 6<>fifo
	spawn fdrecv s <&6 6>&-
	receiver=$pid
	spawn with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && : >sent && exec sleep 100'
	eventually test -e sent
	spawn cat big >&6
	eventually asleep "$pid" cat
	eventually asleep "$(children "$receiver" | xargs)" fdrecv
	spawn head -c 1000 <&6 >some
	ended "$pid" 0
	[ "$(wc -c <some)" -eq 1000 ]
}

@test "others append to the same file, and nothing is lost" {
	numbers 20000000 >big
	(
		for source in 'fdsend -w 5 s <big' 'cat big | fdsend -w 5 s' 'with.py pair 7 8 sh -c "fdsend -w 5 s 7 && exec 7>&- && cat big >&8"'; do
			spawn fdrecv s
			receiver=$pid
			spawn sh -c "$source"
			# As long as that lasts, and no longer than 10 s.
			timeout 10 sh -c 'while kill -0 "$1" 2>&-; do echo others; done' - "$receiver" &
			ended "$receiver" 0
			wait $!
		done
	) >log
	others=$(grep -c others log)
	[ "$others" -gt 0 ]
	[ "$(wc -c <log)" -eq $((3 * 20000000 + 7 * others)) ]
}

@test "a received pipe and standard output are widened to what one call moves" {
	mkfifo a b
	exec 6<>a 7<>b
	spawn fdrecv s >&7 6>&- 7>&-
	echo pears >&6
	exits 0 fdsend -w 5 s 6
	exits 0 timeout 10 head -n 1 <&7 >line
	[ "$(cat line)" = pears ]
	for fd in 6 7; do
		"$PYTHON" -c 'import fcntl; print(fcntl.fcntl(0, fcntl.F_GETPIPE_SZ))' <&$fd >size
		[ "$(cat size)" -eq $((1 << 20)) ]
	done
}

# ---- failures ----

@test "a file is not copied to its own end, for ever" {
	numbers 300000 >file
	cp file before
	spawn sh -c 'ulimit -f 4000; exec fdrecv s >>file' 2>err
	exits 0 fdsend -w 5 s <file
	ended "$pid" 125
	one_line err 'fdrecv: '
	cmp before file
}

@test "an output that is full or closed is a failure in one line, or SIGPIPE" {
	numbers 3000000 >big  # more than a widened pipe holds
	for file in big /dev/zero; do
		spawn fdrecv s >/dev/full 2>err
		exits 0 fdsend -w 5 s <$file
		ended "$pid" 125
		one_line err fdrecv: 'standard output: No space left'
	done
	for from in 'fdsend -w 5 s </dev/zero' 'fdsend -w 5 s <big' 'cat big | fdsend -w 5 s'; do
		spawn bash -c 'fdrecv s 2>err | true; echo "${PIPESTATUS[0]}" >got'
		exits 0 sh -c "$from"
		ended "$pid" 0
		[ "$(cat got)" -eq 141 ]
		[ ! -s err ]
	done
}

@test "a closed standard output or input is a failure in one line, where it would be used" {
	echo pears >file
	for file in file /dev/null; do
		spawn sh -c 'exec fdrecv s >&-' 2>err
		exits 0 fdsend -w 5 s <$file
		ended "$pid" 125
		one_line err 'fdrecv: standard output: '
		spawn sh -c 'exec fdrecv s <&-' 2>err
		exits 0 fdsend -w 5 s 1 >$file
		ended "$pid" 125
		one_line err 'fdrecv: standard input: '
	done
	for closed in '>&-' '<&-'; do
		spawn sh -c "exec fdrecv s $closed" 2>err
		exits 0 with.py pair 7 8 fdsend -w 5 s 7
		ended "$pid" 125
		one_line err 'fdrecv: standard '
	done
	echo pears >file
	spawn sh -c 'exec fdrecv s <&-' >out
	exits 0 fdsend -w 5 s <file
	ended "$pid" 0
	cmp file out
}

@test "what cannot be copied is a failure in one line" {
	mkdir dir
	spawn fdrecv s >out 2>err
	exits 0 fdsend -w 5 s <dir
	ended "$pid" 125
	one_line err 'fdrecv: '
	for odd in 'os.open(".", os.O_PATH)' '(epoll := select.epoll()).fileno()' 'os.pidfd_open(os.getpid())'; do
		spawn fdrecv s >out 2>err
		"$PYTHON" -c "import os, select; os.dup2($odd, 0); os.execvp('fdsend', ['fdsend', '-w', '5', 's'])"
		ended "$pid" 125
		one_line err 'fdrecv: s: its descriptor cannot be copied'
	done
	spawn fdrecv s >out 2>err
	exits 0 with.py listener 0 listening fdsend -w 5 s
	ended "$pid" 125
	one_line err 'fdrecv: s: its descriptor cannot be copied'
}

@test "a signal ends it while it copies" {
	mkfifo fifo
	exec 6<>fifo
	for signal in TERM HUP; do
		spawn fdrecv s
		exits 0 fdsend -w 5 s 6
		eventually asleep "$pid" fdrecv
		eventually test ! -e s
		kill -$signal "$pid"
		ended "$pid" $((128 + $(kill -l $signal)))
	done
	# The same where a copy goes both ways, and nobody stays behind.
	for signal in TERM HUP; do
		spawn fdrecv s <&6
		exits 0 with.py pair 7 8 sh -c 'fdsend -w 5 s 7; exec 7>&-; sleep 100 & echo $! >holder'
		PIDS+=("$(cat holder)")
		eventually asleep "$pid" fdrecv
		kids=$(children "$pid")
		kill -$signal "$pid"
		ended "$pid" $((128 + $(kill -l $signal)))
		for kid in $kids; do eventually gone "$kid"; done
	done
}

# ---- a gigabyte ----

GB=1073741824
TIMEFORMAT='%U %S'

setup_file() { (cd "$BATS_FILE_TMPDIR" && seq 150000000 | head -c 1073741824 >gigabyte); }
teardown_file() { rm -f "$BATS_FILE_TMPDIR/gigabyte"; }

# no_dearer: the user and system time in the file fdrecv.cpu are no more than those in cat.cpu,
# give or take a third and a quarter of a second, which no way of copying differs by.
no_dearer() {
	paste -d ' ' fdrecv.cpu cat.cpu
	paste -d ' ' fdrecv.cpu cat.cpu | awk '{ exit !($1 + $2 <= 1.33 * ($3 + $4) + 0.25) }'
}

# bats test_tags=heavy
@test "1 GB from a file to a pipe, for no more processor time than cat" {
	big=$BATS_FILE_TMPDIR/gigabyte
	{ time cat "$big"; } 2>cat.cpu | cksum >expected
	spawn timeout 60 bash -c "TIMEFORMAT='$TIMEFORMAT'; { time fdrecv s; } 2>fdrecv.cpu | cksum >found"
	exits 0 fdsend -w 5 s <"$big"
	wait "$pid"
	cmp expected found
	no_dearer
}

# bats test_tags=heavy
@test "1 GB from a pipe to a pipe, for no more processor time than cat" {
	big=$BATS_FILE_TMPDIR/gigabyte
	cat "$big" | { time cat; } 2>cat.cpu | cksum >expected
	spawn timeout 60 bash -c "TIMEFORMAT='$TIMEFORMAT'; { time fdrecv s; } 2>fdrecv.cpu | cksum >found"
	cat "$big" | exits 0 fdsend -w 5 s
	wait "$pid"
	cmp expected found
	no_dearer
}

# bats test_tags=heavy
@test "1 GB from a socket to a file, for no more processor time than cat" {
	export big=$BATS_FILE_TMPDIR/gigabyte TIMEFORMAT
	timeout 60 with.py pair 7 8 bash -c 'cat "$big" >&8 7>&- & exec 8>&-; { time cat <&7 >out; } 2>cat.cpu'
	cksum <out >expected
	rm out
	[ "$(cut -d ' ' -f 2 expected)" -eq $GB ]
	spawn timeout 60 bash -c '{ time fdrecv s >out; } 2>fdrecv.cpu'
	timeout 60 with.py pair 7 8 bash -c 'cat "$big" >&8 7>&- & exec 8>&-; fdsend -w 5 s 7; exec 7>&-; wait'
	wait "$pid"
	cksum <out | cmp - expected
	rm out
	no_dearer
}
