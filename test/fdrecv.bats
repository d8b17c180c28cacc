#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# receive ARG...: fdrecv in the background, its output in the file out, what it says in err.
receive() { spawn fdrecv "$@" >out 2>err; }

# Where the descriptors N... of COMMAND lead, one a line.
links='found=$(for n; do readlink /proc/$$/fd/$n; done); echo "$found"'

# paths FILE...: what links prints for them.
paths() { printf "$PWD/%s\n" "$@"; }

# ---- COMMAND and its descriptors ----

@test "without COMMAND what can be read is printed" {
	echo pears >notes
	receive s
	exits 0 fdsend -w 5 s <notes
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	[ ! -s err ]
}

@test "fdrecv becomes COMMAND, with the descriptor at 3" {
	echo pears >notes
	receive s sh -c 'echo $$; cat <&3'
	exits 0 fdsend -w 5 s <notes
	ended "$pid" 0
	[ "$(cat out)" = "$(printf '%s\npears' "$pid")" ]
}

@test "several go to 3, 4, 5" {
	receive s sh -c "$links" - 3 4 5
	exits 0 fdsend -w 5 s 7 5 6 5>a 6>b 7>c
	ended "$pid" 0
	[ "$(cat out)" = "$(paths c a b)" ]
}

@test "-i, -o and -e put it at 0, 1, 2, and they combine" {
	placed_by() {
		local options=$1 expected=$2 n
		# COMMAND tells by a file of its own which of its descriptors is the one sent.
		# shellcheck disable=SC2086
		spawn fdrecv $options s sh -c "$links >seen" - 0 1 2 </dev/null >out 2>err
		exits 0 fdsend -w 5 s 5 5>>sent
		ended "$pid" 0
		n=$(grep -nxF "$PWD/sent" seen | cut -d: -f1 | paste -sd ' ')
		[ "$n" = "$expected" ] || { echo "$options: $n"; return 1; }
	}
	placed_by '-i' 1
	placed_by '-o' 2
	placed_by '-e' 3
	placed_by '-io' '1 2'
	placed_by '-i -e' '1 3'
	placed_by '-oe' '2 3'
	placed_by '-ioe' '1 2 3'
	placed_by '-eoi' '1 2 3'
}

@test "several with -i, -o, -e: each takes the next, the rest go on from 3" {
	spawn fdrecv -ioe s sh -c "$links >seen" - 0 1 2 3 4
	exits 0 fdsend -w 5 s 5 6 7 8 9 5>a 6>b 7>c 8>d 9>e
	ended "$pid" 0
	[ "$(cat seen)" = "$(paths a b c d e)" ]

	spawn fdrecv -i -o s sh -c "$links >seen" - 0 1 2 2>err
	exits 0 fdsend -w 5 s 5 6 5>a 6>b
	ended "$pid" 0
	[ "$(cat seen)" = "$(paths a b err)" ]

	spawn fdrecv -o s sh -c "$links >seen" - 1 3
	exits 0 fdsend -w 5 s 5 6 5>a 6>b
	ended "$pid" 0
	[ "$(cat seen)" = "$(paths a b)" ]
}

@test "-- or --run may stand before COMMAND" {
	echo pears >notes
	for call in 's -- cat' 's --run cat' '-- s cat' '-- s -- cat'; do
		# shellcheck disable=SC2086
		receive -i $call
		exits 0 fdsend -w 5 s <notes
		ended "$pid" 0
		[ "$(cat out)" = pears ]
	done
	receive s sh -c 'echo "$@"' - -i --run x        # COMMAND's options are its own
	exits 0 fdsend -w 5 s
	ended "$pid" 0
	[ "$(cat out)" = '-i --run x' ]
}

@test "calls written for util-linux run" {
	echo pears >notes
	receive -i s --run cat
	eventually listening s
	exits 0 fdsend -f 6 s 6<notes
	ended "$pid" 0
	[ "$(cat out)" = pears ]

	receive -i s --run cat
	spawn sleep 100 7<notes
	eventually asleep "$pid" sleep
	exits 0 fdsend -w 5 -p "$pid" -f 7 s 2>denied || { grep -qi permi denied; skip "ptrace is restricted here"; }
	ended "${PIDS[-2]}" 0
	[ "$(cat out)" = pears ]
}

@test "the status is COMMAND's own" {
	receive s sh -c 'exit 42'
	exits 0 fdsend -w 5 s
	ended "$pid" 42
	receive s sh -c 'kill -9 $$'
	exits 0 fdsend -w 5 s
	ended "$pid" 137
}

@test "the socket file is gone before COMMAND starts, and before copying does" {
	receive s sh -c 'test -e s; echo $?'
	exits 0 fdsend -w 5 s
	ended "$pid" 0
	[ "$(cat out)" = 1 ]
	mkfifo fifo
	exec 6<>fifo
	receive s
	exits 0 fdsend -w 5 s 6
	echo started >&6
	eventually grep started out
	[ ! -e s ]
}

# ---- -f ----

@test "-f says where: exactly what is listed, surplus closed" {
	for list in -f8,5 '-f 8,5' '--fds 8,5' '--fds=8,5'; do
		# shellcheck disable=SC2086
		receive $list s sh -c "$links; test -e /proc/\$\$/fd/9 && echo surplus" - 8 5
		exits 0 fdsend -w 5 s 5 6 7 5>a 6>b 7>c
		ended "$pid" 1
		[ "$(cat out)" = "$(paths a b)" ]
	done
	receive -f 6-8,0 s sh -c "$links" - 6 7 8 0
	exits 0 fdsend -w 5 s 5 6 7 8 5>a 6>b 7>c 8>d
	ended "$pid" 0
	[ "$(cat out)" = "$(paths a b c d)" ]
}

@test "-i, -o and -e say where what -f only names goes" {
	echo apples >a
	echo pears >b
	spawn fdhold h
	fdsend -w 5 h a=5 b=6 log=7 5<a 6<b 7>log
	fdrecv -c -i -f b h cat >out
	diff out b
	fdrecv -c -io -f a,log h cat
	diff log a
	spawn fdsend -l s a=5 b=6 5<a 6<b
	fdrecv -c -w 5 -i -f b s sh -c "$links" - 0 >out                # order is by -f, and the rest is closed
	diff out <(paths b)
}

@test "fewer than -f lists is a failure, on both sides" {
	receive -f 5,6,7 s touch ran
	exits 125 fdsend -w 5 s 0 1 2>refused
	one_line refused 'fdsend: s: refused: too few descriptors came (2 of 3)'
	ended "$pid" 125
	one_line err 'fdrecv: s: '
	[ ! -e ran ]
	[ ! -e s ]
}

# ---- -N ----

@test "-N gathers over as many messages as it takes, and closes surplus" {
	for option in '-N 4' '-N4' '--number 4' '--number=4'; do
		# shellcheck disable=SC2086
		receive $option s sh -c "$links; echo \$LISTEN_FDS; test -e /proc/\$\$/fd/7 && echo surplus" - 3 4 5 6
		timeout 20 fdsend -w 5 -1 s 5 6 7 8 9 5>a 6>b 7>c 8>d 9>e || true       # the fifth is not read
		ended "$pid" 1
		[ "$(cat out)" = "$(paths a b c d; echo 4)" ]
	done
	receive -N 2 s sh -c "$links; echo \$LISTEN_FDS; test -e /proc/\$\$/fd/5 && echo surplus" - 3 4
	exits 0 fdsend -w 5 s 5 6 7 5>a 6>b 7>c
	ended "$pid" 1
	[ "$(cat out)" = "$(paths a b; echo 2)" ]
}

@test "fewer than -N is a failure, on both sides" {
	receive -N 3 s touch ran
	exits 125 fdsend -w 5 -1 s 0 1 2>refused
	one_line refused 'fdsend: s: refused: too few descriptors'
	ended "$pid" 125
	one_line err 'fdrecv: s: '
	[ ! -e ran ]
	[ ! -e s ]
}

@test "-N without COMMAND copies each in turn, as cat does" {
	echo a >a; echo b >b; echo c >c
	receive -N 3 s
	exits 0 fdsend -w 5 -1 s 5 6 7 5<a 6<b 7<c
	ended "$pid" 0
	[ "$(paste -sd ' ' out)" = 'a b c' ]
}

@test "descriptors that do not fit the table are a failure that leaves nothing behind" {
	spawn sh -c 'ulimit -n 24; exec fdrecv s touch ran' 2>err
	exits 125 fdsend -w 5 -f "$(copies 100)" s 2>refused
	one_line refused 'fdsend: s: refused: ' file # EMFILE, which musl words otherwise
	ended "$pid" 125
	one_line err 'fdrecv: s: '
	[ ! -e ran ]
	[ ! -e s ]
}

@test "more descriptors than the soft limit are received" {
	echo a >a
	spawn sh -c 'ulimit -S -n 64; exec fdrecv -N 100 s' >out
	exits 0 fdsend -w 5 -f "$(copies 100 5)" s 5<a
	ended "$pid" 0
	[ "$(cat out)" = a ]
}

# ---- messages ----

@test "a greeting before the descriptor is read past" {
	echo pears >notes
	for behaviour in hello hello-at-once; do
		receive s
		await_socket s
		exits 0 meet.py connect s $behaviour <notes
		ended "$pid" 0
		[ "$(cat out)" = pears ]
	done
	receive -c -w 5 s
	exits 0 meet.py listen s hello "$(head -c 100000 /dev/zero | tr '\0' x)" <notes
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

@test "listening, a peer that sends no descriptor costs a line; the next is served" {
	echo pears >notes
	receive s
	await_socket s
	exits 0 meet.py connect s nothing
	eventually test -s err
	one_line err 'fdrecv: s: '
	exits 0 meet.py connect s words
	eventually lines err 2
	exits 0 fdsend s <notes
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

@test "a silent peer blocks nobody" {
	echo pears >notes
	receive s
	await_socket s
	spawn meet.py connect s silent
	spawn meet.py connect s silent
	eventually asleep "$pid" meet.py
	exits 0 fdsend s <notes
	ended "${PIDS[0]}" 0
	[ "$(cat out)" = pears ]
}

@test "with -c, end of file without a descriptor is a failure" {
	for behaviour in nothing words; do
		spawn meet.py listen s $behaviour
		await_socket s
		wrong s: fdrecv -c s
		rm s
	done
}

@test "a socket of datagrams and one of sequenced packets" {
	echo pears >notes
	for type in dgram seqpacket; do
		receive -T $type s sh -c 'cat <&3; echo "$FDKIT_MESSAGE"'
		exits 0 fdsend -w 5 -T $type -m message s <notes
		ended "$pid" 0
		[ "$(paste -sd ' ' out)" = 'pears message' ]
		[ ! -e s ]
	done
	spawn fdsend -T seqpacket -l s <notes
	receive -T seqpacket -c -w 5 s
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

@test "a datagram without a descriptor does not end it; one with ten thousand bytes is whole" {
	spawn fdrecv --type dgram s sh -c 'echo ${#FDKIT_MESSAGE}' >out 2>err
	eventually test -S s
	exits 0 meet.py -T dgram connect s words
	exits 0 fdsend -T dgram -m "$(head -c 10000 /dev/zero | tr '\0' x)" s
	ended "$pid" 0
	[ "$(cat out)" = 10000 ]
}

# ---- FDKIT_MESSAGE ----

@test "FDKIT_MESSAGE is the message where that is text" {
	message_of() {
		receive s sh -c 'printf "%s" "${FDKIT_MESSAGE-unset}"'
		exits 0 fdsend -w 5 "$@" s
		ended "$pid" 0
		cat out
	}
	[ "$(FDKIT_MESSAGE=stale message_of)" = unset ]
	[ "$(message_of -m hello)" = hello ]
	[ "$(message_of -m 'a "b" $c \d')" = 'a "b" $c \d' ]
	[ "$(message_of -m $'two\nlines\tand a tab')" = $'two\nlines\tand a tab' ]
	[ "$(message_of -m $'\303\244\342\202\254\360\237\220\247')" = $'\303\244\342\202\254\360\237\220\247' ]
	[ "$(message_of -m "$(head -c 32768 /dev/zero | tr '\0' x)" | wc -c)" -eq 32768 ]
	# A bare carriage return, escape, delete; no UTF-8: cut short, overlong, a surrogate, beyond U+10FFFF.
	for text in $'a\rb' $'\33[31m' $'a\177' $'\1' $'a\377' $'\303' $'\300\257' $'\340\200\257' \
		$'\355\240\200' $'\364\220\200\200' $'\200'; do
		[ "$(message_of -m "$text")" = unset ] || { printf %s "$text" | od -c && false; }
	done
	printf 'a\0b' >nul
	[ "$(message_of --message-file nul)" = unset ]
	printf 'a\n' >newline
	[ "$(message_of --message-file newline; echo .)" = $'a\n.' ]
}

@test "under -N, FDKIT_MESSAGE is the first message's" {
	receive -N 3 s sh -c 'echo "$FDKIT_MESSAGE"'
	exits 0 fdsend -w 5 -m first -1 s 0 1 2
	ended "$pid" 0
	[ "$(cat out)" = first ]
	receive -N 254 s sh -c 'echo "$FDKIT_MESSAGE"'
	exits 0 fdsend -w 5 -m first -f "$(copies 254)" s
	ended "$pid" 0
	[ "$(cat out)" = first ]
}

@test "--message-to writes what came along, whatever it is, before COMMAND starts" {
	printf 'a\0\r\n\377' >bytes
	head -c 32768 /dev/urandom >many
	printf '\0' >nul
	for file in bytes many nul; do
		for type in stream dgram; do
			echo old >m
			receive -T $type --message-to m s cp m copy
			exits 0 fdsend -w 5 -T $type --message-file $file s
			ended "$pid" 0
			cmp copy $file
			cmp m $file
		done
	done
	receive --message-to=- s              # and then the data
	exits 0 fdsend -w 5 -m 'hello ' s log=0 <nul
	ended "$pid" 0
	printf 'hello \0' | cmp - out
	receive -N 3 --message-to m s true
	exits 0 fdsend -w 5 -m first -1 s 0 1 2
	ended "$pid" 0
	[ "$(cat m)" = first ]
	receive --message-to m s true
	exits 0 fdsend -w 5 s log=0            # names, no text
	ended "$pid" 0
	[ -e m ]
	[ ! -s m ]
}

@test "--message-to follows no link and takes no other user's file; an old one is gone before the message comes" {
	ln -s file link
	mkdir directory
	for what in link directory /dev/fd/55; do
		wrong "--message-to $what: " fdrecv --message-to $what s true
	done
	[ ! -e file ]
	echo old >file
	receive --message-to file s true
	await_socket s
	[ ! -e file ]
	need_root
	echo kept >other
	chown 65534 other
	wrong '--message-to other: belongs to another user' fdrecv --message-to other s2 true
	[ "$(cat other)" = kept ]
}

@test "--message-to that fails tells the sender, who keeps the descriptors; a FIFO without a reader ends with -t, or TERM" {
	mkdir closed
	receive --message-to closed/m s true
	await_socket s
	rmdir closed
	exits 125 fdsend s 2>sent
	one_line sent 's: refused: the message could not be written'
	ended "$pid" 125
	one_line err 'fdrecv: --message-to closed/m: No such file'
	mkfifo fifo
	receive -t 1 --message-to fifo s true
	exits 125 fdsend -w 5 s 2>sent
	ended "$pid" 124
	one_line err 'fdrecv: --message-to fifo: timed out'
	receive -v --message-to fifo s true
	spawn fdsend -w 5 s 2>sent
	eventually grep -q 'uid .*: 1 descriptor' err
	kill "${PIDS[-2]}"
	ended "${PIDS[-2]}" 143
	[ ! -e s ]
	receive --message-to fifo s true
	spawn cat fifo >got
	exits 0 fdsend -w 5 -m 'through the fifo' s
	ended "$pid" 0
	[ "$(cat got)" = 'through the fifo' ]
}

@test "FDKIT_PEER_PID, UID and GID tell who sent" {
	for type in stream seqpacket dgram; do
		receive -T $type s sh -c 'echo $FDKIT_PEER_PID $FDKIT_PEER_UID $FDKIT_PEER_GID'
		spawn fdsend -w 5 -T $type s
		ended "${PIDS[-2]}" 0
		[ "$(cat out)" = "$pid $(id -u) $(id -g)" ]
	done
	spawn fdsend -l s
	receive -c -w 5 s sh -c 'echo $FDKIT_PEER_PID'
	ended "$pid" 0
	[ "$(cat out)" = "${PIDS[-2]}" ]
}

# ---- -c ----

@test "-c sends nothing, and does not half-close" {
	echo pears >notes
	for option in -c --connect; do
		spawn meet.py listen s asked >seen <notes
		await_socket s
		exits 0 fdrecv $option s >out
		ended "$pid" 0
		[ "$(cat out)" = pears ]
		[ "$(cat seen)" = 'asked nothing' ]
		rm s
	done
}

@test "-c -m sends bytes first" {
	echo pears >notes
	echo question >file
	for option in '-m question' '--message=question' '--message-file file'; do
		spawn meet.py listen s asked >seen <notes
		await_socket s
		# shellcheck disable=SC2086
		exits 0 fdrecv -c $option s >out
		ended "$pid" 0
		[ "$(cat out)" = pears ]
		grep -q "^b'question" seen
		rm s
	done
	grep -q '\\n' seen              # the file's newline
}

@test "-c: nobody there is 125 with a hint; with -w, wait, and 124" {
	wrong -w fdrecv -c s
	exits 124 fdrecv -c -w 0.2 s 2>err
	one_line err 'fdrecv: s: '
	receive -c --wait=10 s true
	eventually asleep "$pid" fdrecv
	exits 0 fdsend -l s
	ended "$pid" 0
}

@test "-c that asks for nothing says after a second how a store is asked" {
	spawn fdhold h
	spawn fdserve -q -l unix:t w
	spawn fdrecv -c -w 5 -t 1.5 w 2>err.w
	exits 124 fdrecv -c -w 5 -t 1.5 h 2>err
	diff err - <<-END
		fdrecv: h: nothing has come yet (-f NAME and --all ask a store)
		fdrecv: h: timed out: no descriptor came in time
	END
	# A dispatcher is silent until somebody comes.
	ended "$pid" 124
	one_line err.w 'fdrecv: w: timed out'
}

# ---- -t, signals ----

@test "-t gives up with 124, and the socket file is gone" {
	for option in '-t 0.2' '--timeout 200ms' '-T dgram -t .2'; do
		# shellcheck disable=SC2086
		exits 124 fdrecv $option s touch ran 2>err
		one_line err 'fdrecv: s: '
		[ ! -e s ]
	done
	receive -t 1 s touch ran                # a silent peer does not put it off
	await_socket s
	spawn meet.py connect s silent
	ended "${PIDS[0]}" 124
	[ ! -e s ]
	spawn meet.py listen s silent
	await_socket s
	exits 124 fdrecv -c -t 0.2 s touch ran 2>err
	one_line err 'fdrecv: s: '
	[ ! -e ran ]
}

@test "-t is not for COMMAND, nor for the copying; a signal ends that" {
	mkfifo fifo fifo2
	exec 6<>fifo 7<>fifo2
	receive -t 0.5 s sh -c 'cat <&3'
	spawn fdrecv -t 0.5 s2 >out2
	exits 0 fdsend -w 5 s 6
	exits 0 fdsend -w 5 s2 7
	exits 124 fdrecv -t 0.6 unused 2>/dev/null      # longer than either had
	echo still here | tee fifo >fifo2
	eventually grep still out
	eventually grep still out2
	kill "${PIDS[@]}"
	ended "${PIDS[0]}" 143
	ended "${PIDS[1]}" 143
}

# ---- -B ----

@test "-B clears O_NONBLOCK on what came, and nothing else does" {
	flags='awk "/^flags/ { print \$2 }" /proc/self/fdinfo/3'
	mkfifo fifo
	exec 6<>fifo
	for option in -B --blocking ''; do
		# shellcheck disable=SC2086
		receive $option s sh -c "$flags"
		exits 0 with.py nonblock 6 fdsend -w 5 s 6
		ended "$pid" 0
		expected=$([ "$option" ] && echo 0 || echo $((04000)))
		[ $(($(cat out) & 04000)) -eq "$expected" ]
	done
}

# ---- talk ----

@test "nothing is said unless -v; errors even with -q" {
	for option in '' -q -v --verbose; do
		# shellcheck disable=SC2086
		receive $option s true
		exits 0 fdsend -w 5 s
		ended "$pid" 0
		[ ! -s out ]
		case $option in
		-v | --verbose) [ -s err ]; [ "$(grep -vc '^fdrecv: ' err)" -eq 0 ] ;;
		*) [ ! -s err ] ;;
		esac
	done
	exits 125 fdrecv -q -c none 2>err
	one_line err 'fdrecv: none: '
}

@test "a wrong -f, -N, -m: one line that names it, 125, no socket" {
	for list in '' ',' '5,' 5-3 x= =5 5x -1 99999999999 5,5 4-6,5 a:b=3 'a b=3' $'\303\244=3'; do
		wrong "-f" fdrecv -f "$list" s
	done
	(ulimit -n 100 && wrong 100 fdrecv -f 5,100 s true)     # this process cannot have it
	wrong '-N 0' fdrecv -N 0 s
	for option in -i -o -e; do
		wrong -f fdrecv -f 5 $option s true
	done
	wrong dgram fdrecv -c -T dgram s
	wrong -m fdrecv -c -m '' s
	wrong missing fdrecv -c --message-file missing s
	wrong --run fdrecv s --run
}

# bats test_tags=heavy
@test "no descriptor is lost and no memory misused" {
	need_valgrind fdrecv
	echo pears >notes
	spawn fdsend -w 5 s 5 6 7 5<notes 6<notes 7<notes
	valgrinded fdrecv s >out
	[ "$(grep -c pears out)" -eq 3 ]
	spawn fdsend -w 5 -1 s 5 6 7 5<notes 6<notes 7<notes
	valgrinded fdrecv -N 2 s >out
	spawn fdsend -l s <notes
	valgrinded fdrecv -c -w 5 s >out
	valgrinded fdrecv 'exec:fdsend fd:0 5 5<notes' >out
	[ "$(cat out)" = pears ]
	spawn fdsend -w 5 s 0
	status=0
	valgrinded fdrecv -f 5,6 s || status=$?
	[ "$status" -eq 125 ]
}
