#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# holder [ARG...]: fdhold, ready at s.
holder() {
	rm -f ready
	spawn fdhold -A ready "$@"
	eventually test -e ready
}

# held [NAME...]: just these are held at s, in the order of their names.
held() { [ "$(fdhold -t 10 --list s | cut -f 1 | paste -sd ' ')" = "$*" ]; }

# listed FIELDS TEXT: these fields of what is held at $pub/s; nobody waits for that.
listed() { [ "$(quick fdhold --list "$pub/s" | cut -f "$1" | paste -sd ' ')" = "$2" ]; }

# free PORT: nobody listens there; for eventually.
free() { ! listening "$1"; }

# port NAME FILE: the port after NAME= in an address file.
port() { sed -n "s/^$1=127\.0\.0\.1://p" "$2"; }

# ---- what it opens itself, and getting it ----

@test "NAME=ADDRESS is opened, and got under its name" {
	spawn fdhold -A addr s web=127.0.0.1:0 api=unix:u
	bound addr | grep -xE 'web=127\.0\.0\.1:[1-9][0-9]+'
	[ "$(tail -n 1 addr)" = api=unix:u ]
	fdrecv -c -f web s sh -c 'echo "$LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)) $FDKIT_FDS"; readlink /proc/self/fd/3' >got
	printf '1 web 0 3\n' | diff - <(head -n 1 got)
	inode=$(sed -n 's/socket:\[\(.*\)\]/\1/p' got)
	awk -v i="$inode" -v p="$(printf ':%04X' "$(port web addr)")" \
		'$10 == i && $4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }' /proc/net/tcp
	[ "$(stat -c %F u)" = socket ]
	listening u
}

@test "-f NAME,NAME gives those, in that order; --all gives all" {
	holder s web=127.0.0.1:0 api=unix:u log=unix:l
	[ "$(fdrecv -c -f web,api s sh -c 'echo $LISTEN_FDNAMES')" = web:api ]
	[ "$(fdrecv -c -f log,web s sh -c 'echo $LISTEN_FDS $LISTEN_FDNAMES')" = '2 log:web' ]
	[ "$(fdrecv -c --all s sh -c 'echo $LISTEN_FDS $LISTEN_FDNAMES')" = '3 api:log:web' ]
}

@test "-f NAME=N puts it at N, also at 0" {
	holder s web=127.0.0.1:0 api=unix:u
	fdrecv -c -f web=0 s sh -c 'readlink /proc/self/fd/0; echo ${LISTEN_FDS-none} $FDKIT_FDS; ls /proc/$$/fd' >got 3>&-
	sed -n 1p got | grep '^socket:'
	[ "$(sed -n 2p got)" = 'none 0' ]
	run ! grep -x 3 got
	[ "$(fdrecv -c -f api=7,web=5 s sh -c 'echo $FDKIT_FDS')" = '7 5' ]
}

@test "a descriptor is given as often as it is asked for" {
	holder s web=127.0.0.1:0
	before=$(open_fds "$pid")
	for _ in 1 2 3 4 5; do
		fdrecv -c -f web s readlink /proc/self/fd/3
	done >links
	lines links 5
	[ "$(sort -u links | wc -l)" -eq 1 ]
	eventually has_open "$pid" "$before"
}

@test "what is missing: 125 on either side's line with its name, and nothing is given" {
	holder -v s web=127.0.0.1:0 2>log
	wrong nope fdrecv -c -f nope s touch started
	wrong nope fdrecv -c -f web,nope s touch started
	[ ! -e started ]
	eventually grep -q '^fdhold: s: .*nope' log
	wrong other fdrecv -c -f other s true
	eventually grep -q '^fdhold: s: .*other' log
	run ! grep 'Permission denied' log              # the refusal is not refused
}

@test "--all of an empty store: 125 and a line" {
	holder s
	wrong 'the store is empty' fdrecv -c --all s true
}

@test "listening sockets are blocking as systemd's are, and non-blocking with --nonblock" {
	spawn fdhold s web=127.0.0.1:0 api=unix:u
	spawn fdhold --nonblock t web=127.0.0.1:0 api=unix:u2
	await_socket s; await_socket t
	flags='for n in 3 4; do while read -r k v; do [ $k != flags: ] || echo $((v & 04000)); done </proc/self/fdinfo/$n; done'
	[ "$(fdrecv -c --all s sh -c "$flags" | paste -sd ' ')" = '0 0' ]
	[ "$(fdrecv -c --all t sh -c "$flags" | paste -sd ' ')" = '2048 2048' ]
}

@test "connections wait in a held socket's queue until somebody serves it" {
	spawn fdhold -A addr s web=127.0.0.1:0
	at=$(bound addr)
	spawn talk "${at#web=}" </dev/null >out
	client=$pid
	exits 0 fdrecv -c -f web s look.py serve
	ended "$client" 0
	[ "$(cat out)" = 3 ]
}

@test "udp: is held as well" {
	spawn fdhold -A addr s dns=udp:127.0.0.1:0
	bound addr | grep -xE 'dns=udp:127\.0\.0\.1:[1-9][0-9]+'
	echo hello | socat -u - "UDP-SENDTO:$(sed 's/.*udp://' addr)"
	[ "$(fdrecv -c -f dns=0 s timeout 10 head -n 1)" = hello ]
	fdhold --list s | grep -E '^dns	udp-socket '
}

# ---- putting ----

@test "fdsend puts one under its name, and several at once" {
	holder s
	echo one >f; echo two >g
	fdsend s one=0 <f
	held one
	fdsend s b=0 a=7 <f 7<g
	held a b one
	[ "$(fdrecv -c -f a s)" = two ]
	[ "$(fdrecv -c -f one=5 s readlink /proc/self/fd/5)" = "$PWD/f" ]
}

@test "a set is put all or nothing, and a name that is taken stays what it was" {
	holder s 2>log
	: >f; : >g
	fdsend s b=0 <f
	before=$(open_fds "$pid")
	wrong taken fdsend s a=0 b=0 c=0
	held b
	eventually has_open "$pid" "$before"
	wrong taken fdsend s b=0
	[ "$(fdrecv -c -f b s readlink /proc/self/fd/3)" = "$PWD/f" ]
	[ "$(grep -c '^fdhold: s: .*taken' log)" -eq 2 ]
	fdsend s a=0 c=0 <g
	held a b c
}

@test "the same name twice in a set is refused" {
	holder s
	before=$(open_fds "$pid")
	exits 125 fdsend s a=0 a=1
	held
	eventually has_open "$pid" "$before"
}

@test "a set with a descriptor that has no name is refused, with or without others that have one" {
	holder s 2>log
	before=$(open_fds "$pid")
	wrong 'a name is missing' fdsend s 0
	eventually grep -q '^fdhold: s: .*name' log
	held
	wrong name fdsend s a=0 1
	held
	eventually has_open "$pid" "$before"
}

@test "every kind of descriptor is held, and --list names name, kind, since, who and expiry" {
	spawn fdhold -A addr s web=127.0.0.1:0 api=unix:u
	bound addr
	: >f; mkfifo p
	fdsend s file=0 dir=5 pipe=6 dev=7 <f 5<. 6<>p 7</dev/null
	spawn kept.py s tcp-keep unix-keep >ends
	eventually grep -q all ends
	fdhold --list s >list
	lines list 8
	cut -f 1 list | sort -c
	run -0 awk -F '\t' -v u="uid $(id -u)" 'NF != 5 || $3 !~ /^20[0-9-]+T[0-9:]+Z$/ || $4 != u || $5 != "-"' list
	[ -z "$output" ] || { cat list && false; }
	kind() { awk -F '\t' -v n="$1" '$1 == n { print $2 }' list; }
	[ "$(kind web)" = "tcp-listener $(sed -n s/web=//p addr)" ]
	[ "$(kind api)" = 'unix-listener unix:u' ]
	[ "$(kind file) $(kind dir) $(kind pipe) $(kind dev)" = 'file directory pipe device' ]
	[[ $(kind tcp-keep) == 'tcp-connection 127.0.0.1:'* ]]
	[[ $(kind unix-keep) == unix-connection* ]]
	since=$(date -d "$(awk -F '\t' '$1 == "web" { print $3 }' list)" +%s)
	now=$(date +%s)
	((since <= now && since > now - 60))
}

@test "--list tells sockets that are neither connected nor listening, and those of other families" {
	holder s
	spawn kept.py s netlink fresh bound unix dgram >ended
	eventually grep -q all ended
	fdhold --list s | cut -f 1,2 >list
	grep -x 'netlink	netlink-socket' list
	grep 'fresh	tcp-socket' list
	grep -E '^bound	tcp-socket 127\.0\.0\.1:[1-9]' list
	grep 'unix	unix-socket' list
	grep 'dgram	unix-socket' list
}

@test "--list shows no control character of a socket's name, nor of what a store says" {
	holder s
	spawn kept.py s control >ended
	eventually grep -q all ended
	[ "$(fdhold --list s | cut -f 1,2)" = $'control\tunix-listener unix:@fdkit??31m??' ]
	printf '%s\n' 'fdkit/1 entry text=a%09b%C2%9B%1B%0Ac' 'fdkit/1 taken id=1' >lines
	spawn socat UNIX-LISTEN:t 'SYSTEM:read -r _; cat lines'
	await_socket t
	[ "$(fdhold --list t)" = $'a\tb????c' ]
}

@test "--drop closes the one, and says so when there is none" {
	holder s web=127.0.0.1:0
	before=$(open_fds "$pid")
	fdsend s a=0 b=0
	fdhold --drop a s
	held b web
	wrong 's: ' fdhold --drop a s
	fdhold --drop b s
	held web
	eventually has_open "$pid" "$before"
	fdsend s a=0
	held a web
}

@test "a dropped listening socket accepts no more" {
	spawn fdhold -A addr s web=127.0.0.1:0
	at=$(bound addr)
	listening "${at##*:}"
	fdhold --drop web s
	run ! listening "${at##*:}"
}

@test "-x: what others put is closed after a time, with a line; what it opened itself is not" {
	holder -x 0.3 s web=127.0.0.1:0 2>log
	before=$(open_fds "$pid")
	fdsend s a=0 b=0
	eventually held web
	[ "$(grep -cE '^fdhold: s: [ab] expired' log)" -eq 2 ]
	eventually has_open "$pid" "$before"
	wrong a fdrecv -c -f a s true
}

@test "-x: --list tells when; nothing expires before" {
	holder -x 1h s web=127.0.0.1:0
	fdsend s a=0
	held a web
	fdhold --list s >list
	[ "$(awk -F '\t' '$1 == "web" { print $5 }' list)" = - ]
	expires=$(date -d "$(awk -F '\t' '$1 == "a" { print $5 }' list)" +%s)
	now=$(date +%s)
	((expires > now + 3500 && expires <= now + 3601))
}

@test "--max is all that is held, --max-per-uid all that one uid has put" {
	spawn fdhold --max 2 s web=127.0.0.1:0
	spawn fdhold --max-per-uid 2 t
	await_socket s; await_socket t
	wrong full fdsend s a=0 b=0
	held web
	fdsend s a=0
	wrong full fdsend s b=0
	fdhold --drop a s
	fdsend s b=0
	held b web
	wrong 'that uid' fdsend t a=0 b=0 c=0
	fdsend t a=0 b=0
	wrong 'that uid' fdsend t c=0
}

@test "more than --max at the start: 125, nothing created" {
	wrong full fdhold --max 1 s web=127.0.0.1:0 api=127.0.0.1:0
	wrong full fdhold --max 1 s web=unix:u api=unix:v
}

# ---- who may ----

@test "another uid may do nothing by default: 125, and a line that names it and -a" {
	need_root
	public
	spawn fdhold -M 666 -A ready "$pub/s" web=127.0.0.1:0 2>log
	eventually test -e ready
	before=$(open_fds "$pid")
	for args in "fdsend $pub/s a=0" "fdrecv -c -f web $pub/s true" "fdrecv -c --all $pub/s true" \
		"fdhold --list $pub/s" "fdhold --drop web $pub/s"; do
		# shellcheck disable=SC2086  # words on purpose
		exits 125 as_other $args >out 2>told
		[ ! -s out ]
		one_line told "${args%% *}: $pub/s: "
	done
	one_line log 'fdhold: ' 65534 -a        # once in ten seconds
	[ "$(fdhold --list "$pub/s" | cut -f 1)" = web ]
	eventually has_open "$pid" "$before"
}

@test "-a: another uid may put, get, list, and drop what it put, but not what others did" {
	need_root
	public
	spawn fdhold -M 666 -a nobody -A ready "$pub/s" web=127.0.0.1:0
	eventually test -e ready
	as_other fdsend "$pub/s" a=0
	as_other fdrecv -c -f a,web "$pub/s" sh -c 'echo $LISTEN_FDNAMES' | grep -x a:web
	as_other fdhold --list "$pub/s" | cut -f 1,4 | paste -sd ' ' | grep -x $'a\tuid 65534 web\tuid 0'
	exits 125 as_other fdhold --drop web "$pub/s" 2>told
	one_line told "fdhold: $pub/s: "
	as_other fdhold --drop a "$pub/s"
	[ "$(fdhold --list "$pub/s" | cut -f 1)" = web ]
	as_other fdsend "$pub/s" b=0
	fdhold --drop b "$pub/s"
}

@test "--allow-put: put and drop, neither get nor list" {
	need_root
	public
	spawn fdhold -M 666 --allow-put nobody -A ready "$pub/s" web=127.0.0.1:0
	eventually test -e ready
	as_other fdsend "$pub/s" a=0 b=0
	for args in "fdrecv -c -f a $pub/s true" "fdrecv -c --all $pub/s true" "fdhold --list $pub/s"; do
		# shellcheck disable=SC2086  # words on purpose
		exits 125 as_other $args >out 2>told
		[ ! -s out ]
		one_line told "${args%% *}: $pub/s: " 'may not'
	done
	as_other fdhold --drop b "$pub/s"
	[ "$(fdhold --list "$pub/s" | cut -f 1 | paste -sd ' ')" = 'a web' ]
}

@test "--allow-get: get and list, neither put nor drop" {
	need_root
	public
	spawn fdhold -M 666 --allow-get nobody -A ready "$pub/s" web=127.0.0.1:0
	eventually test -e ready
	before=$(open_fds "$pid")
	as_other fdrecv -c -f web "$pub/s" sh -c 'echo $LISTEN_FDNAMES' | grep -x web
	[ "$(as_other fdhold --list "$pub/s" | cut -f 1)" = web ]
	for args in "fdsend $pub/s a=0" "fdhold --drop web $pub/s"; do
		# shellcheck disable=SC2086  # words on purpose
		exits 125 as_other $args 2>told
		one_line told "${args%% *}: $pub/s: " 'may not'
	done
	[ "$(fdhold --list "$pub/s" | cut -f 1)" = web ]
	eventually has_open "$pid" "$before"
}

@test "--max-per-uid counts each uid by itself" {
	need_root
	public
	spawn fdhold -M 666 -a nobody --max-per-uid 1 -A ready "$pub/s"
	eventually test -e ready
	as_other fdsend "$pub/s" a=0
	exits 125 as_other fdsend "$pub/s" b=0
	fdsend "$pub/s" c=0
	[ "$(fdhold --list "$pub/s" | cut -f 1 | paste -sd ' ')" = 'a c' ]
}

@test "the names of one uid may have 32768 bytes, or 8 for each of --max-per-uid" {
	need_root
	public
	spawn fdhold -M 666 -a nobody -A ready "$pub/s"
	eventually test -e ready
	long() { printf "%0250d=0\n" $(seq "$1" "$2"); }
	mapfile -t names < <(long 1 130)
	as_other fdsend "$pub/s" "${names[@]}"
	exits 125 as_other fdsend "$pub/s" "$(long 131 131)" 2>told
	one_line told 'too long names'
	fdsend "$pub/s" "$(long 131 131)"
	spawn fdhold -M 666 -a nobody --max-per-uid 8192 -A ready2 "$pub/t"
	eventually test -e ready2
	mapfile -t names < <(long 1 200)
	as_other fdsend "$pub/t" "${names[@]}"
}

# ---- clients that ask and do not read ----

@test "who does not read a list keeps open nothing that others have closed" {
	holder s web=127.0.0.1:0
	at=$(port web ready)
	mapfile -t names < <(printf "%0250d=0\n" $(seq 3000))
	fdsend s "${names[@]}"
	spawn speak.py connect s 'list id=1' stay >asked
	eventually grep -q said asked
	held "$(fdhold --list s | cut -f 1 | paste -sd ' ')"            # it was looked at before this
	fdhold --drop web s
	eventually free "$at"
	exits 0 speak.py connect s shut hear >heard
	[ ! -s heard ]
}

@test "of 4096 descriptors, or a quarter of the table, that one uid leaves unread others notice nothing" {
	need_root
	public
	spawn as_other bash -c 'ulimit -n 200; exec "$@"' sh fdhold -M 666 -a any -A "$pub/ready" "$pub/s" "web=unix:$pub/u"
	eventually test -e "$pub/ready"
	for _ in 1 2 3; do
		spawn setpriv --reuid 65533 --clear-groups speak.py connect "$pub/s" get '*250' stay >asked
		eventually grep -q said asked
		exits 0 fdrecv -c -a 65534 -t 5 -f web "$pub/s" true
		kill "$pid"                     # which gives back what it has in its queue
		ended "$pid"
		eventually exits 0 setpriv --reuid 65533 --clear-groups fdrecv -c -a 65534 -t 5 -f web "$pub/s" true
	done
}

@test "who asks on while an answer is not sent in full loses the connection, and nobody else" {
	holder -v s web=127.0.0.1:0 2>log
	mapfile -t names < <(printf "%0250d=0\n" $(seq 3000))
	fdsend s "${names[@]}"
	spawn speak.py connect s 'list id=1' '*20' stay
	eventually grep -q 'asks before it has read' log
	exits 0 fdrecv -c -t 10 -f web s true
}

# ---- descriptors that hold up whoever closes or looks at them ----

@test "a file whose server answers nothing is put, listed, got, refused, dropped and expires; nobody waits" {
	need_root
	public
	fuse "$pub/m" FLUSH GETATTR POLL
	spawn fdhold -M 666 -a any -x 3600 -A addr "$pub/s" web=127.0.0.1:0 2>log
	store=$pid
	at=$(bound addr)
	set='fdkit/1 set fds=1 id=1 names=%s\\n'
	# shellcheck disable=SC2059
	for name in a b web; do
		spawn as_other stuck.py send "$stuck" "$pub/s" 1 "$(printf "$set" $name)" >>sent
	done
	spawn as_other stuck.py send "$stuck" "$pub/s" 1     # without a name: refused >>sent
	eventually listed 1,2 $'a\tfile b\tfile web\ttcp-listener '"${at#web=}"
	eventually grep -q 'the name is taken' log
	eventually grep -q 'a name is missing' log
	quick fdhold --drop a "$pub/s"
	quick fdrecv -c -f web "$pub/s" true
	quick fdsend "$pub/s" c=0
	listed 1,2 $'b\tfile c\tdevice web\ttcp-listener '"${at#web=}"
	spawn speak.py connect "$pub/s" note:there hear >honest
	honest=$pid
	eventually grep -q there honest
	kill "$store"
	ended "$store" 0
	ended "$honest" 0
	eventually free "${at##*:}"
	quick fdhold -t 1 --list "$pub/s" || [ $? -eq 125 ]
	spawn fdhold -A addr2 "$pub/s" "$at"
	bound addr2
}

@test "-x: such a file expires, and so does one in a set that ends in the middle" {
	need_root
	public
	fuse "$pub/m" FLUSH
	spawn fdhold -M 666 -a any -x 0.2 -A addr "$pub/s" web=127.0.0.1:0 2>log
	bound addr
	spawn as_other stuck.py send "$stuck" "$pub/s" 1 'fdkit/1 set fds=1 id=1 names=a\n' >>sent
	eventually grep -q 'a expired' log
	quick fdrecv -c -f web "$pub/s" true
}

@test "a TCP socket that lingers is dropped, and TERM ends the store, at once" {
	need_root
	public
	spawn fdhold -M 666 -a any -A addr "$pub/s" web=127.0.0.1:0 2>log
	store=$pid
	bound addr
	for name in a b; do
		spawn as_other stuck.py send linger "$pub/s" 1 "fdkit/1 set fds=1 id=1 names=$name\\n" >>sent
	done
	eventually lines sent 2
	quick fdhold --drop a "$pub/s"
	quick fdrecv -c -f web "$pub/s" true
	kill "$store"
	eventually gone "$store"
	ended "$store" 0
}

@test "a TCP socket whose lock is held is put and listed; nobody waits" {
	need_root
	public
	fuse "$pub/m" READ
	spawn fdhold -M 666 -a any -A addr "$pub/s" web=127.0.0.1:0
	store=$pid
	bound addr
	spawn as_other stuck.py send "locked:$stuck" "$pub/s" 1 'fdkit/1 set fds=1 id=1 names=a\n' >>sent
	eventually grep -q sent sent
	eventually listed 1 'a web'
	quick fdhold --drop a "$pub/s"
	quick fdrecv -c -f web "$pub/s" true
	kill "$store"
	ended "$store" 0
}

# ---- adoption ----

@test "LISTEN_FDS is adopted at the start, with its names" {
	spawn fdserve -L -A addr web=127.0.0.1:0 api=unix:u -- fdhold s
	bound addr
	await_socket s
	held api web
	fdhold --list s | grep -F "web	tcp-listener $(sed -n s/web=//p addr)	"
	[ "$(fdrecv -c --all s sh -c 'echo $LISTEN_FDNAMES')" = api:web ]
}

@test "LISTEN_PID right or absent: adopted; another's: left alone" {
	: >f
	spawn sh -c 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=log exec fdhold right 3<f'
	spawn sh -c 'unset LISTEN_PID; LISTEN_FDS=1 LISTEN_FDNAMES=log exec fdhold absent 3<f'
	spawn sh -c 'LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=log exec fdhold wrong 3<f'
	await_socket right; await_socket absent; await_socket wrong
	for s in right absent; do
		fdhold --list $s | grep '^log	file	'
		[ "$(fdrecv -c -f log $s readlink /proc/self/fd/3)" = "$PWD/f" ]
	done
	[ -z "$(fdhold --list wrong)" ]
}

@test "what is adopted without a name gets one, and none is lost to a name that comes twice, or is another's number" {
	: >f; : >g; : >h
	spawn sh -c 'unset LISTEN_PID; LISTEN_FDS=2 LISTEN_FDNAMES=fd4: exec fdhold u 3<f 4<g'
	await_socket u
	fdrecv -c --all u readlink /proc/self/fd/3 /proc/self/fd/4 | sort | diff - <(printf '%s\n' "$PWD/f" "$PWD/g")
	spawn sh -c 'unset LISTEN_PID; LISTEN_FDS=2 exec fdhold s 3<f 4<g'
	spawn sh -c 'unset LISTEN_PID; LISTEN_FDS=3 LISTEN_FDNAMES=log:unknown:log exec fdhold t 3<f 4<g 5<h'
	await_socket s; await_socket t
	[ "$(fdrecv -c --all s sh -c 'readlink /proc/self/fd/3 /proc/self/fd/4' | sort | paste -sd ' ')" = "$PWD/f $PWD/g" ]
	fdhold --list t | cut -f 1 >names
	lines names 3
	grep -x log names
	[ "$(fdrecv -c -f log t readlink /proc/self/fd/3)" = "$PWD/f" ]
}

@test "LISTEN_FDS that names what is not open, or no number, is refused in a line, nothing created" {
	: >f
	three_of_one() { sh -c 'unset LISTEN_PID; LISTEN_FDS=3 exec fdhold s 3<f' 4<&- 5<&-; }
	none_of_one() { sh -c 'unset LISTEN_PID; LISTEN_FDS=1 exec fdhold s 3<&-'; }
	no_number() { sh -c 'unset LISTEN_PID; LISTEN_FDS=x exec fdhold s'; }
	for call in three_of_one none_of_one no_number; do
		status=0
		(
			"$call" 2>log &
			echo $! >pid
			wait $!
		) 3>&- &
		waiter=$!
		PIDS+=("$(eventually test -s pid && cat pid)")
		eventually gone "$waiter" || { echo "$call: still runs" && fdhold --list s && false; }
		wait "$waiter" || status=$?
		[ "$status" -eq 125 ] || { echo "$call: status $status" && false; }
		one_line log 'fdhold: LISTEN_FDS'
		[ ! -e s ]
		rm pid
	done
}

@test "an adopted name that NAME=ADDRESS takes too: 125, nothing created" {
	: >f
	taken() { sh -c 'unset LISTEN_PID; LISTEN_FDS=1 LISTEN_FDNAMES=web timeout 5 fdhold s web=unix:u 3<f'; }
	status=0
	taken 2>log || status=$?
	[ "$status" -eq 125 ]
	one_line log 'fdhold: ' web
	[ ! -e s ]
	[ ! -e u ]
}

# ---- a live upgrade ----

@test "fdrecv --all old fdhold new: everything is there, then the old one may go" {
	: >f
	spawn fdhold -A addr old web=127.0.0.1:0 api=unix:u
	old=$pid
	bound addr
	web=$(sed -n s/web=//p addr)
	fdsend -w 5 old log=0 <f
	web=$(sed -n s/web=//p addr)
	spawn talk "$web" </dev/null >out       # waits in the queue through all that
	client=$pid
	spawn fdrecv -c --all old fdhold new
	await_socket new
	kill "$old"
	ended "$old" 0
	[ ! -e old ]
	[ -S u ]
	[ "$(fdhold --list new | cut -f 1,2 | sort)" = "$(printf '%s\t%s\n' api 'unix-listener unix:u' log file \
		web "tcp-listener $web")" ]
	[ "$(fdrecv -c -f log new readlink /proc/self/fd/3)" = "$PWD/f" ]
	exits 0 fdrecv -c -f web new look.py serve
	ended "$client" 0
	[ "$(cat out)" = 3 ]
}

@test "ten upgrades at one path, and no client that waits sees a gap" {
	spawn fdhold s web=127.0.0.1:0 api=unix:u
	store=$pid
	await_socket s
	spawn sh -c 'while [ ! -e stop ]; do fdrecv -c -w 10 -t 10 -f web,api s true && echo good || echo bad; done' >tries 2>log
	clients=$pid
	tried() { [ "$(wc -l <tries)" -gt "$1" ]; }
	for i in 1 2 3 4 5 6 7 8 9 10; do
		eventually tried $((i * 3))
		mv s "old$i"
		spawn fdrecv -c --all "old$i" fdhold s
		new=$pid
		fdhold -w 10 -t 10 --list s >list
		lines list 2
		kill "$store"
		ended "$store" 0
		store=$new
	done
	touch stop
	ended "$clients"
	echo "# ten upgrades under $(grep -c good tries) gets, $(grep -c bad tries) failed" >&3
	run ! grep bad tries
	[ ! -s log ] || { cat log && false; }
	held api web
}

# ---- peers that are gone ----

@test "a held connection whose peer is gone is dropped, with a line: a reset in TCP, a close in Unix" {
	holder s web=127.0.0.1:0 2>log
	before=$(open_fds "$pid")
	spawn kept.py s tcp-reset unix-close
	eventually lines log 2
	grep '^fdhold: s: tcp-reset ' log
	grep '^fdhold: s: unix-close ' log
	held web
	eventually has_open "${PIDS[0]}" "$before"
}

@test "a TCP connection whose peer has closed is dropped when it is reset, and kept while bytes are left" {
	holder s 2>log
	spawn kept.py s tcp-close tcp-unread
	eventually grep -q 'tcp-unread' <(eventually held tcp-close tcp-unread; fdhold --list s)
	for name in tcp-close tcp-unread; do
		fdrecv -c -f $name s sh -c 'echo to nobody >&3'
	done
	eventually grep -q '^fdhold: s: tcp-close hung up' log
	held tcp-unread
}

@test "a connection with nothing but an error to tell is kept, and costs nothing" {
	need_strace
	holder s 2>log
	spawn kept.py s tcp-error >error
	eventually grep -q all error
	held tcp-error
	store=${PIDS[0]}
	quiet() { timeout 0.5 strace -o trace -p "$store" 2>/dev/null || true; [ "$(grep -c ' = ' trace)" -le 2 ]; }
	eventually quiet
	held tcp-error
	[ ! -s log ]
}

@test "not while bytes are left to be read, and not for half a close" {
	holder s 2>log
	spawn kept.py s unix-unread unix-half tcp-half unix-keep tcp-keep unix-close >ends
	eventually grep -q all ends
	eventually grep -q unix-close log
	held tcp-half tcp-keep unix-half unix-keep unix-unread
	lines log 1
	[ "$(fdrecv -c -f unix-unread=0 s timeout 10 head -n 1)" = unread ]
	fdrecv -c -f unix-half s sh -c 'echo hello >&3'
	eventually grep -qx 'half hello' ends
}

@test "a held socket that is not connected yet is kept" {
	holder s 2>log
	spawn kept.py s fresh unix unix-close >ended
	eventually grep -q unix-close log
	held fresh unix
}

# ---- starting, telling, ending ----

@test "TERM ends it with 0 and a line of what it held; its socket goes, those it holds stay" {
	holder s web=127.0.0.1:0 api=unix:u 2>log
	fdsend s log=0
	kill "$pid"
	ended "$pid" 0
	one_line log 'fdhold: s: ' SIGTERM 3 api log web
	[ ! -e s ]
	[ -S u ]
	spawn fdhold s api=unix:u       # stale, so replaced
	await_socket s
	listening u
}

@test "USR1 tells how many it holds" {
	holder s web=127.0.0.1:0 2>log
	fdsend s a=0
	kill -USR1 "$pid"
	one_line log 'fdhold: s: ' 'holds 2'
	held a web
}

@test "-v tells of every put, get and drop in a line" {
	holder -v s web=127.0.0.1:0 2>log
	fdsend s a=0
	fdrecv -c --all s true
	fdhold --drop a s
	u=$(id -u)
	eventually grep -q "^fdhold: s: uid $u put 1 descriptor: a " log
	eventually grep -q "^fdhold: s: uid $u got a,web$" log
	eventually grep -q "^fdhold: s: uid $u dropped a: done$" log
	run ! grep -v '^fdhold: ' log
}

@test "an abstract SOCKET, and an inherited one" {
	spawn fdhold "@fdkit-hold-$$" web=127.0.0.1:0
	await_socket "@fdkit-hold-$$"
	[ "$(fdhold --list "@fdkit-hold-$$" | cut -f 1)" = web ]
	spawn fdserve -L unix:s -- sh -c 'unset LISTEN_FDS LISTEN_PID; exec fdhold fd:3 api=127.0.0.1:0'
	await_socket s
	[ "$(fdhold -t 10 --list s | cut -f 1)" = api ]
	fdrecv -c -f api s true
}

@test "an ADDRESS that cannot be bound: 125, and nothing of the others is left" {
	spawn fdhold -A addr s web=127.0.0.1:0 api=unix:u
	bound addr
	wrong "$(port web addr)" fdhold t a=unix:v "b=127.0.0.1:$(port web addr)"
	wrong u fdhold t a=unix:v b=unix:u
}

@test "--list and --drop: -w waits for a store, -t gives up on one that does not answer" {
	spawn fdhold -w 10 --list s >list
	asked=$pid
	eventually asleep "$asked" fdhold
	holder s web=127.0.0.1:0
	store=$pid
	ended "$asked" 0
	[ "$(cut -f 1 list)" = web ]
	kill -STOP "$store"
	exits 124 fdhold -t 0.2 --list s
	exits 124 fdhold -t 0.2 --drop web s
	kill -CONT "$store"
	exits 124 fdhold -w 0.1 --list none
	wrong none fdhold --list none
}

@test "--list where somebody else listens fails in a line" {
	spawn socat UNIX-LISTEN:s,fork 'SYSTEM:echo what'
	await_socket s
	wrong 's: ' fdhold -t 5 --list s
}

@test "silent, stuck and babbling clients hold up nobody" {
	holder s web=127.0.0.1:0
	spawn speak.py connect s stay
	spawn speak.py connect s '0:what is this\n' '*1000' stay
	spawn speak.py connect s get '*' stay >flood
	eventually grep -q said flood
	exits 0 fdrecv -c -t 10 -f web s true
	exits 0 fdsend -t 10 s a=0
	exits 0 fdhold -t 10 --drop a s
	held web
}

@test "exec: a COMMAND that has ended is not sent a signal" {
	need_strace
	# The shell ends; what it leaves behind has the socket until the store ends.
	spawn strace -f -qq -e trace=kill -o trace fdhold 'exec:exec 3<&0; cat <&3 & : >begun' web=127.0.0.1:0 2>log
	tracer=$pid
	store_traced() { read -ra traced <<<"$(children "$tracer")" && grep -q fdhold "/proc/${traced[0]}/comm"; }
	eventually store_traced
	PIDS+=("${traced[0]}")
	eventually test -e begun
	eventually childless "${traced[0]}"
	kill "${traced[0]}"
	ended "$tracer" 0
	run ! grep -F 'kill(' trace
}

@test "exec: the store ends with the connection that it was given" {
	exits 0 fdhold 'exec:true' web=127.0.0.1:0 2>log
	one_line log 'exec:true: ended by the end of its socket'
}

# ---- many ----

# bats test_tags=heavy
@test "10,000 puts, gets and drops by clients of which some are killed in the middle" {
	holder s 2>log
	store=$pid
	before=$(open_fds "$store")
	for seed in 1 2 3 4; do
		spawn puts.py s 2500 $seed >"names$seed" 2>"trouble$seed"
	done
	for p in "${PIDS[@]:1}"; do
		while ! gone "$p"; do eventually gone "$p" || true; done
		wait "$p" || { cat trouble* && false; }
	done
	eventually childless "$store"
	sed 's/$/./' names? | sed -n 's/^\(#.*\)\.$/\1/p' >&3
	grep -h -v '^[+#]' names? | sort >must
	grep -h '^+' names? | tr -d + | sort >may
	fdhold --list s | cut -f 1 | sort >held
	[ -z "$(comm -23 must held)" ]                  # nothing lost
	[ -z "$(comm -13 <(sort must may) held)" ]      # and nothing that nobody put
	tidy() { [ "$(open_fds "$store" | wc -w)" -eq $(($(wc -w <<<"$before") + $(wc -l <held))) ]; }
	eventually tidy                                 # it has to see that its last client is gone
	echo "# held in the end: $(wc -l <held), of which $(wc -l <must) must be; descriptors $(open_fds "$store" | wc -w), $(wc -w <<<"$before") before" >&3
	fdrecv -c --all s look.py names
	while read -r name; do echo "fdhold --drop $name s"; done <held >drops
	sh -e drops
	eventually has_open "$store" "$before"
}

@test "10,000 descriptors: put at once, got at once, with little memory for each" {
	count=10000
	[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 10100 ] || skip "needs a limit of 10,100 descriptors (ulimit -Hn)"
	ulimit -Sn "$(ulimit -Hn)"
	ms() { echo $((($(date +%s%N) - $1) / 1000000)); }
	holder --max-per-uid 20000 s
	before=$(open_fds "$pid")
	fdsend s warm=0
	fdhold --drop warm s
	eventually has_open "$pid" "$before"
	memory=$(rss "$pid")
	start=$(date +%s%N)
	with.py named 3 $count fdsend -t 60 s
	put=$(ms "$start")
	[ "$(fdhold --list s | wc -l)" -eq $count ]
	each=$((($(rss "$pid") - memory) * 1024 / count))
	start=$(date +%s%N)
	fdrecv -c -t 60 --all s true
	got=$(ms "$start")
	fdrecv -c -t 60 --all s look.py names $count
	fdrecv -c -f n9999 s readlink /proc/self/fd/3 | grep -F 'memfd:n9999 '
	echo "# $count descriptors: put in $put ms, got in $got ms, $each bytes each in the store" >&3
	wrong taken fdsend s n5000=0
	[ "$(open_fds "$pid" | wc -w)" -eq $((count + $(wc -w <<<"$before"))) ]
	[ -n "$SANITIZE" ] || [ "$each" -lt 400 ]
}

@test "10,000 descriptors move to a new store" {
	count=10000
	[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 10100 ] || skip "needs a limit of 10,100 descriptors (ulimit -Hn)"
	ulimit -Sn "$(ulimit -Hn)"
	spawn fdhold --max-per-uid 20000 old
	old=$pid
	await_socket old
	with.py named 3 $count fdsend -t 60 old
	spawn fdrecv -c --all old fdhold --max-per-uid 20000 s
	await_socket s
	kill "$old"
	ended "$old" 0
	fdrecv -c -t 60 --all s look.py names $count
}

# ---- wrong calls ----

@test "wrong calls: one line, 125, nothing created" {
	wrong SOCKET fdhold
	wrong ./web=127.0.0.1:0 fdhold web=127.0.0.1:0
	wrong ./api=unix:u fdhold api=unix:u web=127.0.0.1:0
	wrong SOCKET fdhold --list
	wrong s fdhold --list s too-many
	wrong SOCKET fdhold --drop web
	wrong name fdhold s 127.0.0.1:0
	wrong name fdhold s unix:u
	wrong "web: the same name twice" fdhold s web=127.0.0.1:0 web=unix:u
	wrong 'we b' fdhold s 'we b=127.0.0.1:0'
	wrong '=127.0.0.1:0' fdhold s =127.0.0.1:0
	wrong 127.0.0.1 fdhold s web=127.0.0.1
	wrong a,b fdhold --drop a,b s
	wrong --drop fdhold --drop '' s
	wrong 0 fdhold --max 0 s
	wrong no-such-dir fdhold no-such-dir/s
	wrong no-such-dir fdhold s web=unix:no-such-dir/u
	echo mine >file
	wrong file fdhold file
	wrong file fdhold s web=unix:file
	[ "$(cat file)" = mine ]
}
