#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The record form: names, sets of any size, answers, and peers that get it wrong.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2317  # eventually calls them
load helper

# wire [-T seqpacket] connect|listen SOCKET STEP...: peers/speak.py, then half-closes and prints what comes back.
wire() { speak.py "$@" shut hear; }

# Prints where the descriptors are and what they are called, and what is read from each.
told='echo "$FDKIT_FDS|$LISTEN_FDS|$LISTEN_FDNAMES|$FDKIT_MESSAGE"'

# start_receiver [OPTION...] -- COMMAND...: fdrecv listens at s in the background; its output is in got, err.
start_receiver() {
	spawn fdrecv "$@" >got 2>err
	receiver=$pid
	await_socket s
}

# judged CHUNK...: what fdexec makes of a sender by hand, whose answer is in answer: it runs nothing,
# says one line, keeps nothing open, and serves the next sender.
judged() {
	if [ -z "${worker:-}" ]; then
		spawn fdexec s sh -c 'echo "$FDKIT_MESSAGE" >>log' 2>>err
		worker=$pid
		await_socket s
		fdsend -m first s ok=0
		eventually lines log 1
		eventually childless "$worker"
		before=$(open_fds "$worker")
	fi
	: >err
	rm -f log
	wire connect s "$@" >answer
	eventually test -s err
	fdsend -m next s ok=0
	eventually lines log 1
	grep -x next log
	one_line err 'fdexec: s: '
	eventually childless "$worker"
	eventually has_open "$worker" "$before"
}
refused() {
	judged "$@"
	grep -x 'fdkit/1 refused why=..*' answer || { echo "answer to $*:" && cat answer; return 1; } >&2
}

# ---- names ----

@test "names travel, and say where each descriptor goes" {
	echo log >l; echo web >w
	start_receiver -f log=7,web=5 s sh -c 'cat <&7; cat <&5; echo $FDKIT_FDS; echo "${LISTEN_FDS-none}"'
	fdsend s web=3 log=4 3<w 4<l
	ended "$receiver" 0
	printf 'log\nweb\n7 5\nnone\n' | diff - got
}

@test "LISTEN_FDNAMES has the names, unknown where there is none" {
	start_receiver s sh -c "$told; echo \$LISTEN_PID \$\$"
	fdsend s log=0 0 web.2-x_y=0
	ended "$receiver" 0
	sed -n 1p got | grep -Fx '3 4 5|3|log:unknown:web.2-x_y|'
	sed -n 2p got | awk '{ exit $1 != $2 }'
}

@test "-f in the order of the numbers 3, 4: LISTEN_FDNAMES follows the numbers" {
	echo log >l; echo web >w
	start_receiver -f log=4,web=3 s sh -c 'echo "$LISTEN_FDS $LISTEN_FDNAMES"; cat <&3; cat <&4'
	fdsend s log=3 web=4 3<l 4<w
	ended "$receiver" 0
	printf '2 web:log\nweb\nlog\n' | diff - got
}

@test "-f of fdsend takes names, a name may have 255 bytes and odd ones" {
	long=$(printf 'n%.0s' {1..255})
	start_receiver s sh -c "$told"
	fdsend -f "$long=0,0" -f '%41+/=0' s '"~!\=0'
	ended "$receiver" 0
	grep -Fx "3 4 5 6|4|$long:unknown:%41+/:\"~!\\|" got
}

@test "what -f does not name is closed" {
	start_receiver -f log=7 s ls /proc/self/fd
	fdsend s web=0 log=0 0
	ended "$receiver" 0
	grep -qx 7 got
	[ "$(grep -vx 7 got)" = "$(ls /proc/self/fd <&0 3>&- 2>err)" ]
}

@test "fdsend refuses a name twice, and a bad name, and sends nothing" {
	spawn meet.py listen s report >peer
	await_socket s
	wrong 'log: the same name twice' fdsend s log=0 web=1 0 log=1
	wrong 'log: the same name twice' fdsend -f log=0 s log=1
	long=$(printf 'n%.0s' {1..256})
	for name in '' 'a:b' 'a,b' 'a b' $'a\tb' $'a\nb' 'ä' "$long"; do
		wrong fdsend fdsend s "$name=0"
	done
	[ ! -s peer ]
	exits 0 fdsend -t 5 -1 s
	grep '^1 ' peer
}

@test "fdrecv refuses a name twice, a bad name, and makes no socket" {
	wrong 'log: the same name twice' fdrecv -f log=5,web=7,log=6 s true
	wrong 'same number twice' fdrecv -f log=5,web=5 s true
	for name in '' 'a:b' 'a b' $'a\nb' 'ä'; do
		wrong fdrecv fdrecv -f "$name=5" s true
	done
}

@test "a name that did not come: 125 on both sides, the reason at the sender, nothing left open" {
	start_receiver -f log=7,web=5 s echo never
	run -125 --separate-stderr fdsend s log=0 wob=0
	[ -z "$output" ]
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '*web* ]]
	ended "$receiver" 125
	one_line err 'fdrecv: s: ' web
	[ ! -s got ]
	[ ! -e s ]
}

@test "too few for -N, or for -f without names: 125 on both sides, with the reason" {
	for want in '-N 3' '-f 5,6,7'; do
		# shellcheck disable=SC2086
		start_receiver $want s echo never
		run -125 --separate-stderr fdsend s a=0 b=0
		[ -z "$output" ]
		[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '* ]]
		ended "$receiver" 125
		one_line err 'fdrecv: s: '
		[ ! -s got ]
	done
}

@test "a plain receiver does not answer: 125, and what it says is a line's worth on standard error" {
	spawn meet.py listen s report >peer
	await_socket s
	run -125 --separate-stderr fdsend s log=0
	[ -z "$output" ]
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '* ]]
	ended "$pid" 0
	grep -F "1 b'fdkit/1 set " peer
}

@test "refused is obeyed: 125, the reason on standard error, nothing of it on standard output" {
	spawn meet.py listen s reply $'fdkit/1 refused id=1 why=no room = at all\n'
	await_socket s
	run -125 --separate-stderr fdsend s log=0
	[ -z "$output" ]
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '*'no room = at all'* ]]
}

@test "a reason with control characters cannot write on the sender's terminal" {
	# C0, DEL and C1, which is two bytes in UTF-8; a letter of two bytes stays.
	spawn meet.py listen s reply $'fdkit/1 refused id=1 why=a\e[2Jb\rc\177d\302\2332Je\303\266\n'
	await_socket s
	run -125 --separate-stderr fdsend s log=0
	[ "$stderr" = $'fdsend: s: refused: a?[2Jb?c?d??2Je\303\266' ]
}

@test "taken is obeyed, and what comes behind it is a reply" {
	spawn meet.py listen s reply $'fdkit/1 taken id=1\nhello\nfdkit/1 refused id=1 why=x\n'
	await_socket s
	run -0 --separate-stderr fdsend s log=0
	[ "$output" = $'hello\nfdkit/1 refused id=1 why=x' ]
	[ -z "$stderr" ]
}

@test "a wrong answer, half of one, a plain one: 125" {
	for answer in $'fdkit/1 maybe id=1\n' 'fdkit/1 taken id=1' $'hello\n' $'fdkit/2 taken id=1\n' $'fdkit/1 slots n=1\n'; do
		spawn meet.py listen s reply "$answer"
		await_socket s
		run -125 --separate-stderr fdsend -t 5 s log=0
		[ -z "$output" ]
		[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '* ]]
		ended "$pid"
		rm -f s
	done
}

@test "an answer to a set that was not sent is none: 125" {
	for word in 'taken id=2' taken; do
		spawn meet.py listen s reply "fdkit/1 $word"$'\n'
		await_socket s
		run -125 --separate-stderr fdsend -t 5 s log=0
		[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '* ]]
		ended "$pid"
		rm -f s
	done
}

# ---- text beside names ----

@test "-m beside names: any bytes arrive as they were" {
	text=$'two\nlines\tof 100% "text", a=b, %41 and \xc3\xa4\xe2\x82\xac ~'
	start_receiver s sh -c 'printf %s "$FDKIT_MESSAGE" >message; echo $LISTEN_FDNAMES'
	fdsend -m "$text" s log=0 0
	ended "$receiver" 0
	printf %s "$text" | cmp - message
	grep -x log:unknown got
}

@test "on the wire such bytes are %XX" {
	spawn meet.py listen s report >peer
	await_socket s
	run -125 fdsend -m $'a b%\nc\xc3\xa4\x7f' s log=0
	ended "$pid" 0
	grep -iF ' text=a%20b%25%0Ac%C3%A4%7F' peer
}

@test "8192 bytes go beside names, control characters only leave FDKIT_MESSAGE unset" {
	start_receiver s sh -c 'printf %s "$FDKIT_MESSAGE" | wc -c'
	head -c 8192 /dev/zero | tr '\0' % >text
	fdsend --message-file text s log=0
	ended "$receiver" 0
	grep -x 8192 got
	start_receiver s sh -c 'echo "${FDKIT_MESSAGE-unset}"'
	fdsend -m $'bell\a' s log=0
	ended "$receiver" 0
	grep -x unset got
	echo x >>text
	wrong 8192 fdsend --message-file text s log=0
}

# ---- sets of any size ----

@test "254, 1000 and 5000 descriptors are one set, with -N or without, in order" {
	for n in 254 1000 5000; do
		(($(ulimit -Hn) > n + 100)) || skip "the limit on open files is $(ulimit -Hn)"
		for number in '' "-N$n"; do
			# shellcheck disable=SC2086
			start_receiver $number s look.py order $n
			exits 0 with.py memfds 10 $n fdsend -t 10 -f "10-$((n + 9))" s
			ended "$receiver" 0
			grep -x "in order $n $n" got
		done
	done
}

@test "names and a text with 600 descriptors" {
	start_receiver s sh -c 'echo "$FDKIT_MESSAGE $(echo "$LISTEN_FDNAMES" | tr : "\n" | grep -vx unknown | paste -sd " ")"
		echo "$LISTEN_FDNAMES" | tr : "\n" | wc -l'
	exits 0 with.py memfds 10 602 fdsend -t 10 -m hi -f first=0,10-610 s last=611
	ended "$receiver" 0
	printf 'hi first last\n603\n' | diff - got
}

@test "a set that is cut off in the middle was never sent: nothing runs, nothing is left open" {
	judged '1:fdkit/1 set fds=1 more\n' '2:fdkit/1 set fds=2 more\n'
	judged '1:fdkit/1 set fds=1 more names=log\n' '0:fdkit/1 set fd'
	judged '1:fdkit/1 set fds=1 id=1'
}

@test "a table too small for the set: 125 on both sides, with the reason, nothing left open" {
	spawn bash -c 'ulimit -n 20; exec fdrecv s echo never' >got 2>err
	receiver=$pid
	await_socket s
	run -125 --separate-stderr fdsend -f "$(seq -f 'n%g=0' -s , 40)" s
	[ -z "$output" ]
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: '* ]]
	[[ $stderr == *descriptor* || $stderr == *files* || $stderr == *table* ]]
	ended "$receiver" 125
	one_line err 'fdrecv: s: '
	[ ! -s got ]
}

@test "fdexec with a table too small answers so, leaves nothing open and serves the next" {
	spawn bash -c 'ulimit -n 20; exec fdexec s sh -c "$1"' sh 'echo ran >>log' 2>err
	worker=$pid
	await_socket s
	before=$(open_fds "$worker")
	for list in "$(seq -f 'n%g=0' -s , 40)" "$(copies 40)"; do # the plain form, too
		run -125 --separate-stderr fdsend -f "$list" s
		[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: s: refused: '* ]]
	done
	eventually fdsend s log=0       # what did not fit is closed a moment later
	eventually lines log 1
	eventually childless "$worker"
	eventually has_open "$worker" "$before"
}

# ---- bytes as they come ----

@test "a record may come byte by byte after its first 8, its descriptors with the first" {
	start_receiver s sh -c "$told"
	wire connect s '2:fdkit/1 ' 'bytes:set fds=2 names=log,web text=a%20b id=5\n' >answer
	ended "$receiver" 0
	grep -x 'fdkit/1 taken id=5' answer
	grep -Fx '3 4|2|log:web|a b' got
}

@test "one write may hold several records, and a record several writes" {
	start_receiver s sh -c "$told"
	wire connect s '3:fdkit/1 set fds=1 more names=a\nfdkit/1 set fds=1 more names=b\nfdkit/1 set fds=1 na' \
		'0:mes=c i' '0:d=9\n' >answer
	ended "$receiver" 0
	grep -x 'fdkit/1 taken id=9' answer
	grep -Fx '3 4 5|3|a:b:c|' got
}

@test "several records in one write run several commands" {
	spawn fdexec -o s sh -c 'echo "$FDKIT_MESSAGE" >>log'
	await_socket s
	wire connect s '3:fdkit/1 set fds=1 text=a\nfdkit/1 set fds=1 text=b id=2\nfdkit/1 set fds=1 text=c id=3\n' >answer
	grep taken answer | sort | diff - <(printf 'fdkit/1 taken id=2\nfdkit/1 taken id=3\n')
	eventually lines log 3
	sort log | diff - <(printf 'a\nb\nc\n')
}

@test "the answer is asked for by id= alone, and may have any number" {
	start_receiver s sh -c "$told"
	wire connect s '1:fdkit/1 set fds=1 id=9223372036854775807\n' >answer
	ended "$receiver" 0
	grep -x 'fdkit/1 taken id=9223372036854775807' answer
	start_receiver s sh -c "$told"
	wire connect s '1:fdkit/1 set fds=1\n' >answer
	ended "$receiver" 0
	[ ! -s answer ]
}

@test "unknown fields are ignored, with and without a value; fields come in any order" {
	start_receiver s sh -c "$told"
	wire connect s '1:fdkit/1 set colour=blue names=log fast text=x id=1 fds=1 y=a=b\n' >answer
	ended "$receiver" 0
	grep -x 'fdkit/1 taken id=1' answer
	grep -Fx '3|1|log|x' got
}

@test "an unknown word, and one that is not the sender's to say, is refused" {
	refused '1:fdkit/1 sett fds=1\n'
	refused '0:fdkit/1 wave\n'
	refused '0:fdkit/1 taken id=1\n'
	refused '0:fdkit/1 slots n=1\n'
}

@test "garbage behind the first 8 bytes, another version on the second line, no word at all" {
	refused '1:fdkit/1 \n'
	refused '1:fdkit/1 \xff\xfe\n'
	refused '1:fdkit/1  set fds=1\n'
	refused '1:fdkit/1 set fds=1 more\n' '1:fdkit/2 set fds=1\n'
	refused '1:fdkit/1 set fds=1 more\n' '1:\x00\n'
	refused '1:fdkit/1 set fds=1 more\n' '0:fdkit/1 hello\n'
}

@test "a line of 32768 bytes is taken, a longer one is refused before it ends" {
	pad=$(printf 'x%.0s' {1..32749})        # with fdkit/1 set fds=1, a space and the newline
	start_receiver s sh -c "$told"
	wire connect s "1:fdkit/1 set fds=1 $pad\\n" >answer
	ended "$receiver" 0
	grep -Fx '3|1|unknown|' got
	refused "1:fdkit/1 set fds=1 ${pad}x\\n"
	refused "1:fdkit/1 set fds=1 $pad$pad"
}

@test "NUL in a line is refused" {
	refused '1:fdkit/1 set fds=1 text=a\x00b\n'
	refused '1:fdkit/1 set\x00 fds=1\n'
}

@test "fds= more than came, none, or no number is refused" {
	refused '1:fdkit/1 set fds=2\n'
	refused '0:fdkit/1 set fds=1\n'
	refused '1:fdkit/1 set fds=0\n'
	refused '1:fdkit/1 set\n'
	refused '1:fdkit/1 set fds=x\n'
	refused '1:fdkit/1 set fds=-1\n'
	refused '1:fdkit/1 set fds=254\n'
	refused '1:fdkit/1 set fds=99999999999999999999\n'
	refused '1:fdkit/1 set fds=1 id=0\n'
	refused '1:fdkit/1 set fds=1 id=9223372036854775808\n'
}

@test "fds= less than came: what is too much does not reach the command, and is closed" {
	for n in 2 5; do
		start_receiver s sh -c "$told; ls /proc/\$\$/fd"
		wire connect s "$n:fdkit/1 set fds=2 id=1\\n" >answer
		ended "$receiver" 0
		grep -x 'fdkit/1 taken id=1' answer
		mv got "got.$n"
	done
	sed -n 1p got.5 | grep -Fx '3 4|2|unknown:unknown|'
	diff got.2 got.5
}

@test "bad names, a name twice, too many and too few are refused" {
	refused '2:fdkit/1 set fds=2 names=a,a\n'
	refused '2:fdkit/1 set fds=2 names=a\n'
	refused '2:fdkit/1 set fds=2 names=a,b,c\n'
	refused '1:fdkit/1 set fds=1 names=a:b\n'
	refused '1:fdkit/1 set fds=1 names=a=b\n'
	refused '1:fdkit/1 set fds=1 names=\xc3\xa4\n'
	refused '1:fdkit/1 set fds=1 names=a\tb\n'
	refused "1:fdkit/1 set fds=1 names=$(printf 'n%.0s' {1..256})\\n"
	refused '1:fdkit/1 set fds=1 more names=a\n' '1:fdkit/1 set fds=1 names=a\n'
}

@test "a text that is no %XX, and an empty one, is refused" {
	refused '1:fdkit/1 set fds=1 text=%4\n'
	refused '1:fdkit/1 set fds=1 text=%zz\n'
	refused '1:fdkit/1 set fds=1 text=50%\n'
	refused '1:fdkit/1 set fds=1 text=\n'
}

@test "fdkit/2 is no record to us: the plain form, whose text it is" {
	start_receiver s sh -c "$told"
	wire connect s '1:fdkit/2 set fds=1\n' >answer
	ended "$receiver" 0
	[ ! -s answer ]
	grep -Fx '3|1|unknown|fdkit/2 set fds=1' got
}

@test "the plain form is taken from anyone, also one that starts as a record does" {
	for text in '\x00' x fdkit 'fdkit/1' 'fdkit/1x set fds=1\n' 'Fdkit/1 set fds=1\n'; do
		start_receiver s sh -c 'echo "$FDKIT_FDS"'
		wire connect s "2:$text" >answer
		ended "$receiver" 0
		[ ! -s answer ]
		grep -Fx '3 4' got
	done
}

@test "fdrecv that listens: a peer's rubbish costs that peer a line, the next one is served" {
	for rubbish in '1:fdkit/1 sett fds=1\n' '1:fdkit/1 set fds=3\n'; do
		start_receiver s sh -c "$told"
		wire connect s "$rubbish" >answer
		grep '^fdkit/1 refused why=.' answer
		eventually test -s err
		fdsend s ok=0
		ended "$receiver" 0
		one_line err 'fdrecv: s: '
		grep -Fx '3|1|ok|' got
		rm -f err
	done
}

@test "fdexec: a wrong record ends its connection and nobody else's, with a line, nothing left open" {
	spawn fdexec s sh -c 'echo ran >>log' 2>err
	worker=$pid
	fdsend -w 5 s log=0 # from then on numbers are kept for slots
	eventually lines log 1
	eventually childless "$worker"
	before=$(open_fds "$worker")
	wire connect s '1:fdkit/1 set fds=1 id=1\n' '1:fdkit/1 rubbish\n' '1:fdkit/1 set fds=1 id=2\n' >answer
	grep -x 'fdkit/1 taken id=1' answer
	run ! grep 'id=2' answer
	wire connect s '1:fdkit/1 set fds=9\n' >answer
	grep '^fdkit/1 refused why=.' answer
	wire connect s '1:fdkit/1 set fds=1 more\nfdkit/1 rubbish\n' >answer
	grep '^fdkit/1 refused why=Protocol error' answer
	fdsend s log=0
	eventually lines log 3
	lines err 3
	run ! grep Success err
	eventually childless "$worker"
	eventually has_open "$worker" "$before"
}

# ---- the other ways to a peer ----

@test "with -c, a wrong record is a failure, and the sender is told" {
	spawn speak.py listen s '1:fdkit/1 set fds=2\n' shut hear >answer
	await_socket s
	run -125 --separate-stderr fdrecv -c s echo never
	[ -z "$output" ]
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdrecv: s: '* ]]
	ended "$pid"
	grep '^fdkit/1 refused why=.' answer
}

@test "fdsend -l and fdrecv -c with names" {
	spawn fdsend -l s log=0 web=0
	await_socket s
	exits 0 fdrecv -c -f web=5,log=6 s sh -c 'echo $FDKIT_FDS' >got
	grep -x '5 6' got
	ended "$pid" 0
}

@test "exec: and names" {
	fdrecv -t 10 'exec:exec fdsend fd:1 log=0 web=0' sh -c "$told" | grep -Fx '3 4|2|log:web|'
	exits 0 fdsend -t 10 "exec:exec fdrecv -f log=5 fd:0 sh -c 'echo \$FDKIT_FDS >got'" web=0 log=0 </dev/null
	grep -x 5 got
}

@test "exec: that refuses: 125 and the reason" {
	run -125 --separate-stderr fdsend -t 10 'exec:exec 2>err fdrecv -f other=5 fd:0 true' web=0
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == fdsend:*other* ]]
	one_line err fdrecv: other
}

@test "fd:N and names" {
	spawn with.py pair 5 6 sh -c "fdrecv -f web=7,log=8 fd:5 sh -c 'echo \$FDKIT_FDS' & fdsend -t 10 fd:6 log=0 web=0 && wait \$!" >got
	ended "$pid" 0
	grep -x '7 8' got
}

@test "seqpacket: names, a set of 600, and a wrong record" {
	start_receiver -T seqpacket -f web=7,log=8 s sh -c 'echo $FDKIT_FDS'
	fdsend -T seqpacket s log=0 web=0
	ended "$receiver" 0
	grep -x '7 8' got
	start_receiver -T seqpacket s look.py order 600
	exits 0 with.py memfds 10 600 fdsend -t 10 -T seqpacket -f 10-609 s
	ended "$receiver" 0
	grep -x 'in order 600 600' got
	spawn fdrecv -T seqpacket s echo never >got 2>err
	await_socket s
	wire -T seqpacket connect s '1:fdkit/1 set fds=2\n' >answer
	grep '^fdkit/1 refused why=.' answer
	eventually test -s err
	[ ! -s got ]
}

@test "a datagram and names, which nobody answers; more than 253 it cannot hold" {
	spawn fdrecv -T dgram -f web=7,log=8 s sh -c 'echo $FDKIT_FDS' >got
	eventually test -S s
	fdsend -T dgram s log=0 web=0
	ended "$pid" 0
	grep -x '7 8' got
	spawn fdrecv -T dgram s sh -c 'echo $FDKIT_FDS' >got
	eventually test -S s
	run -125 --separate-stderr with.py memfds 10 254 fdsend -T dgram -f 10-263 s
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdsend: '* ]]
	fdsend -T dgram s log=0
	ended "$pid" 0
	grep -x 3 got
}

@test "-n does not ask for an answer" {
	spawn meet.py listen s report >peer
	await_socket s
	exits 0 fdsend -n s log=0
	ended "$pid" 0
	grep -F "1 b'fdkit/1 set " peer
	run ! grep id= peer
}

# bats test_tags=heavy
@test "no memory misused: names, a refusal, a set of 600, a wrong record" {
	need_valgrind fdrecv
	spawn valgrinded fdrecv -f log=7,web=5 s true
	exits 0 fdsend -w 10 s log=0 web=0
	ended "$pid" 0
	mkdir two; cd two
	spawn valgrind -q --error-exitcode=99 fdexec s true 2>err
	worker=$pid
	eventually listening s
	wire connect s '2:fdkit/1 set fds=3 names=a,b,c text=%41\n' '0:fdkit/1 set'
	wire connect s '2:fdkit/1 set fds=2 more names=a,b text=%41\n' '2:fdkit/1 set fds=2 names=c,a id=1\n'
	# Nothing is started here: valgrind has no clone without waiting. The sanitizers watch that.
	kill "$worker"
	ended "$worker" 0
	spawn valgrinded fdrecv s true
	eventually listening s
	exits 0 with.py memfds 10 600 fdsend -t 10 -f 10-609 s log=0
	ended "$pid" 0
	mkdir three; cd three
	spawn fdrecv -f other=7 s true 2>err
	await_socket s
	valgrinded fdsend s log=0 && false || [ $? -eq 125 ]
	ended "$pid" 125
	spawn fdrecv s true
	await_socket s
	valgrinded fdsend -m 'a b' s log=0 0
	ended "$pid" 0
}
