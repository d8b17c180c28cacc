#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What the rudest peers can do to each command: those that it lets in (of another uid, if this is root), and
# those that it connects to. peers/rude.py has the abuses, each in words, and peers/host.py the hosts; here is who has to bear which.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2317  # eventually calls them
load helper

# A good client is served while a rude one is there. It takes some 10 ms; the limit is for a machine that is
# busy, and far below what a hold-up would be; sanitizers have twice as much. The longest is printed.
LIMIT=5
[ -z "${SANITIZE:-}" ] || LIMIT=10
# A second round of abuse, with some two thousand connections, is not to leave more memory in use than the first, but
# for this many kB: how many 64 KiB buffers there were at once at most, and so what malloc keeps, is chance.
TOLERANCE=512

# Abuses that anybody has to bear, and those with records and descriptors, for whoever reads some.
ANYWHERE=(silence slow closes words-only endless nuls thousand)
TALK=(endless-record wrong unasked never-reads middle mixed dies itself kinds)

# rude ADDRESS [UID]: the rude peers of this test, of another uid where that can be, ready to be told.
rude() {
	local uid=${2:-}
	[ -n "$uid" ] || [ "$(id -u)" -ne 0 ] || uid=65534
	mkfifo tell told
	exec {tell}<>tell {told}<>told
	spawn rude.py "$1" "$uid" <tell >told
}

# heard WORD: the rude peers say WORD, at last.
heard() {
	local line
	while read -r -t 60 -u "$told" line; do
		[ "$line" != "$1" ] || return 0
		echo "$line" >>words
	done
	echo "rude peers: no '$1'" >&2
	return 1
}
begin() { echo "${1//:/ }" >&"$tell" && heard there; }
over() { echo >&"$tell" && heard over; }

# good_client: the good client of this test, and how long it took.
longest=0
good_client() {
	local start=${EPOCHREALTIME/./} ms
	pub=${pub:-} timeout $LIMIT bash -c "$good" >/dev/null || { echo "not served: $good" && cat err; return 1; } >&2
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	((ms <= longest)) || longest=$ms
}

# at_rest PID: its descriptors when the last client's connection is closed, too: the fewest of several looks.
at_rest() {
	local fewest now
	fewest=$(open_fds "$1")
	for _ in {1..20}; do
		now=$(open_fds "$1")
		[ ${#now} -ge ${#fewest} ] || fewest=$now
	done
	echo "$fewest"
}

# settled: PID's descriptors are those of before, and it has no children.
settled() { childless "$victim" && has_open "$victim" "$before"; }

# bears PID ABUSE...: each in turn; a good client is served meanwhile, and nothing is left of it.
bears() {
	local abuse
	victim=$1
	shift
	good_client
	eventually childless "$victim"
	before=$(at_rest "$victim")
	for abuse; do
		begin "$abuse"
		good_client || { echo "during $abuse" >&2; return 1; }
		over
		eventually settled || { echo "after $abuse: $(open_fds "$victim"), before: $before" && ls -l "/proc/$victim/fd"; return 1; } >&2
	done
}

# endures PID ABUSE...: the same twice; memory as after the first (a sanitizer's grows anyhow: once is enough).
endures() {
	local kb
	bears "$@"
	[ -z "$SANITIZE" ] || return 0
	kb=$(rss "$1")
	bears "$@"
	grown=$(($(rss "$1") - kb))
	echo "# $(($# - 1)) abuses, twice: longest wait $longest ms, $grown kB more" >&3
	[ "$grown" -le $TOLERANCE ]
}

# room: a thousand connections of our own uid, where the rude peers can have no other, are within its share.
room() {
	[ "$(id -u)" -eq 0 ] || [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 5000 ] ||
		skip "needs root, for rude peers of another uid, or a limit of 5000 descriptors (ulimit -Hn)"
}

# other_uid: the rude peers are another uid, as is needed where a uid gets its share and no more.
other_uid() { [ "$(id -u)" -eq 0 ] || skip "needs root, for rude peers of another uid"; }

# ---- commands that listen ----

@test "fdexec bears it all" {
	room
	public
	spawn fdexec -q -M 666 -a any "$pub/s" true 2>err
	worker=$pid
	await_socket "$pub/s"
	rude "$pub/s"
	good='fdsend -t 10 "$pub/s" ok=0'
	bears "$worker" full:1000 full-records:1000
	endures "$worker" "${ANYWHERE[@]}" "${TALK[@]}" full:10 full-records:50
}

@test "fdhold bears it all" {
	room
	public
	spawn fdhold -q -M 666 -a any "$pub/s" web=127.0.0.1:0 2>err
	store=$pid
	await_socket "$pub/s"
	rude "$pub/s"
	good='fdrecv -c -t 10 -f web "$pub/s" true'
	bears "$store" full:1000 full-records:1000
	endures "$store" "${ANYWHERE[@]}" "${TALK[@]}" named-kinds full:10 full-records:50
	[ "$(fdhold -t 10 --list "$pub/s" | cut -f 1)" = web ]
}

@test "fdsend -l -k bears it all" {
	other_uid
	public
	spawn fdsend -q -lk -t 20 -M 666 -a any "$pub/s" 0 2>err
	sender=$pid
	await_socket "$pub/s"
	rude "$pub/s"
	good='fdrecv -c -t 10 "$pub/s" true'
	endures "$sender" "${ANYWHERE[@]}" "${TALK[@]}" full:10 full-records:50
}

@test "fdserve -l bears it all from workers" {
	public
	spawn fdserve -q -l -M 666 -a any --ack-timeout 0.3 -A addr 127.0.0.1:0 "$pub/s" 2>err
	dispatcher=$pid
	await_socket "$pub/s"
	address=$(bound addr)
	spawn fdexec -q -c "$pub/s" echo served
	rude "$pub/s"
	good="exec 9<>/dev/tcp/${address/://} && read -r line <&9 && [ \$line = served ]"
	bears "$dispatcher" full:100 full-records:100
	endures "$dispatcher" "${ANYWHERE[@]}" "${TALK[@]}"
	bears "$dispatcher" floods
}

@test "workers that talk faster than they are read hold up nobody" {
	need_strace
	spawn strace -qq -o /dev/null -e inject=recvmsg:delay_enter=2000 fdserve -q -l -A addr 127.0.0.1:0 s 2>err
	address=$(bound addr)
	PIDS+=("$(children "$pid")")
	spawn fdexec -q -c s echo served
	rude s "$(id -u)"
	good="exec 9<>/dev/tcp/${address/://} && read -r line <&9 && [ \$line = served ]"
	good_client
	begin talk
	good_client
	good_client
	over
	good_client
}

@test "workers that promise much and take nothing keep no connection from one that is free" {
	other_uid
	public
	spawn fdserve -q -l -M 666 -a any --ack-timeout 60 -A addr 127.0.0.1:0 "$pub/s"
	await_socket "$pub/s"
	at=$(bound addr)
	spawn as_other workers.py promise "$pub/s" 10 >promised
	eventually grep -q promised promised
	spawn fdexec -q -c -j 1 "$pub/s" sh -c 'echo >>served; echo served'
	# One that owes nothing comes first: at most one connection goes to a promise.
	for i in 1 2 3 4 5 6; do
		spawn talk "$at" >"reply.$i"
		replied() { [ "$(cat reply.* | grep -cx served)" -ge $((i - 1)) ]; }
		eventually replied
	done
}

@test "what was taken back from a worker that promises goes to one that keeps its word" {
	other_uid
	public
	spawn fdserve -q -l -M 666 -a any --ack-timeout 0.2 -A addr 127.0.0.1:0 "$pub/s"
	await_socket "$pub/s"
	at=$(bound addr)
	spawn fdexec -q -c -j 4 "$pub/s" echo served
	[ "$(talk "$at")" = served ]
	spawn as_other workers.py promise "$pub/s" 10 >promised
	eventually grep -q promised promised
	for i in 1 2 3 4 5 6 7 8; do
		[ "$(talk "$at")" = served ]
	done
	# Ten channels, and at most one that came for each connection.
	[ "$(grep -c promised promised)" -le 9 ]
}

@test "slots of workers are counted up to 1048576" {
	spawn fdserve -v -l -A addr 127.0.0.1:0 s 2>log
	await_socket s
	spawn workers.py promise s 3 >promised
	eventually grep -q promised promised
	counts() { kill -USR1 "${PIDS[0]}" && grep -q 'workers 3, slots 1048576$' log; }
	eventually counts
}

@test "a worker that says done of what it has not taken gets no slot, and disturbs no connection of others" {
	spawn fdserve -v -l -A addr 127.0.0.1:0 s 2>log
	server=$pid
	await_socket s
	at=$(bound addr)
	spawn speak.py connect s 'slots n=1' 'done id=7' 'done id=8' 'until: set ' 'taken id=%' \
		'done id=%' 'done' 'done id=%' 'done' 'refused why=nothing' stay >said
	spawn talk "$at" >first
	eventually grep -q '^said' said
	counts() { kill -USR1 "$server" && grep -q "$1" log; }
	eventually counts 'acknowledged 1, .* workers 1, slots 1$'
	kill "${PIDS[1]}"
	spawn fdexec -q -c -j 4 s sh -c 'echo one; while [ ! -e go ]; do sleep 0.02; done; echo served'
	eventually counts 'workers 1, slots 4$'
	spawn talk "$at" >second
	eventually grep -q one second
	spawn talk "$at" >third
	eventually grep -q one third
	touch go
	ended "${PIDS[4]}" 0
	ended "${PIDS[5]}" 0            # each sees its end: no place was given twice
	[ "$(cat second third | grep -cx served)" -eq 2 ]
}

@test "a set that was refused is sent again under another number" {
	spawn fdserve -q -l -A addr 127.0.0.1:0 s
	await_socket s
	spawn speak.py connect s 'slots n=1' 'until: set ' 'refused id=% why=not now' 'slots n=1' 'until: set ' stay >said
	spawn talk "$(bound addr)" >reply
	eventually grep -q '^said' said
	[ "$(grep -c '^fdkit/1 set ' said)" -eq 2 ]
	[ "$(grep '^fdkit/1 set ' said | sort -u | wc -l)" -eq 2 ]
}

@test "a worker that says what is not a worker's to say loses its channel" {
	spawn fdserve -q -l -A addr 127.0.0.1:0 s
	await_socket s
	for line in get list 'drop names=a' 'entry text=a' hello 'set fds=0' 'set id=1' 'slots n=x' 'slots n=99999999999' 'taken id=0' 'what is this'; do
		exits 0 speak.py connect s 'slots n=1' "$line" hear >said || { echo "still there: $line" && false; } >&2
	done
}

@test "a worker that leaves a connection to a close that waits holds up nobody" {
	other_uid
	public
	spawn fdserve -q -l -M 666 -a any -A addr 127.0.0.1:0 "$pub/s"
	server=$pid
	await_socket "$pub/s"
	at=$(bound addr)
	spawn as_other workers.py linger "$pub/s" >taken
	worker=$pid
	spawn meet.py connect "$at" silent
	eventually grep -qx taken taken
	kill "$worker"
	spawn fdexec -q -c "$pub/s" echo served
	[ "$(timeout $LIMIT socat -t 20 - "TCP:$at")" = served ]
	kill "$server"
	ended "$server" 0
}

@test "fdserve bears it all from the network" {
	spawn fdserve -q -C 8 -A addr 127.0.0.1:0 -- sh -c 'echo served; cat >/dev/null' 2>err
	server=$pid
	address=$(bound addr)
	rude "$address"
	good="exec 9<>/dev/tcp/${address/://} && read -r line <&9 && [ \$line = served ]"
	endures "$server" "${ANYWHERE[@]}"
}

@test "a listening fdrecv bears it, until somebody gives it something" {
	public
	spawn fdrecv -q -M 666 -a any "$pub/s" true 2>err
	receiver=$pid
	await_socket "$pub/s"
	rude "$pub/s"
	good=true
	bears "$receiver" "${ANYWHERE[@]}" endless-record unasked
	exits 0 fdsend -t 10 "$pub/s" 0
	ended "$receiver" 0
}

# ---- shares: one uid cannot take what others need ----

# few COMMAND...: in the background with 200 descriptors at most, so that 50 are a uid's share.
few() {
	ulimit -n 200
	exec "$@"
}

# start_few TOOL: it has few descriptors and listens at $pub/TOOL; the rude peers are there, and its good client.
start_few() {
	local command=()
	[ "$1" = fdhold ] || command=(true)
	spawn few "$1" -M 666 -a any "$pub/$1" "${command[@]}" 2>err
	victim=$pid
	await_socket "$pub/$1"
	rm -f tell told words
	rude "$pub/$1"
	good="fdsend -t 10 '$pub/$1' ok\$RANDOM=0"
	[ "$1" = fdexec ] || good="fdhold -t 10 --list '$pub/$1'"
	good_client
	eventually childless "$victim"
	before=$(at_rest "$victim")
}

# refusals N: so many lines of a share that is used up.
refusals() { [ "$(grep -c "uid 65534 is over its quota" err)" -eq "$1" ]; }

# bats test_tags=heavy
@test "by connecting, one uid gets a quarter of the descriptors of fdexec and of fdhold; said once, others are served" {
	other_uid
	public
	for tool in fdexec fdhold; do
		start_few $tool
		begin takes-all:1000:50
		grep -x 'open: 50' words
		good_client
		refusals 1
		over
		eventually settled
		begin takes-again:1000:50          # having given back most of it, it may again, and that is told of again
		[ "$(grep -cx 'open: 50' words)" -eq 3 ]
		good_client
		refusals 3
		over
		eventually settled
	done
}

# counted N USER: so many commands were started for that uid.
counted() { [ "$(grep -cx "$2" log)" -eq "$1" ]; }

@test "by commands that do not end, one uid gets three quarters of fdexec's places; the rest of it waits, others are served" {
	other_uid
	public
	mkfifo gate
	exec {gate}<>gate
	# shellcheck disable=SC2016
	spawn fdexec -q -M 666 -a any -j 4 -i "$pub/s" sh -c 'echo "$FDKIT_PEER_UID" >>log; read -r _' 2>err
	worker=$pid
	fdsend -w 5 "$pub/s" 0 </dev/null # from then on numbers are kept for slots
	eventually counted 1 "$(id -u)"
	eventually childless "$worker"
	before=$(open_fds "$worker" | wc -w)
	for _ in 1 2 3 4 5; do
		spawn as_other timeout 20 fdsend "$pub/s" "$gate"
	done
	# Two connections, and epoll(7).
	waits() { counted 3 65534 && [ "$(open_fds "$worker" | wc -w)" -eq $((before + 3)) ]; }
	eventually waits
	for _ in 1 2 3; do
		setpriv --reuid 65533 --clear-groups fdsend -t $LIMIT "$pub/s" 0
	done
	fdsend -t $LIMIT "$pub/s" 0
	eventually counted 3 65533
	eventually counted 2 0
	counted 3 65534
	echo go >&"$gate"               # one of them ends, another may begin
	eventually counted 4 65534
	echo go >&"$gate"
	eventually counted 5 65534
	echo go$'\n'go$'\n'go >&"$gate"
	for pid in "${PIDS[@]:1}"; do
		ended "$pid" 0
	done
}

@test "a dispatcher of another uid is offered three quarters of fdexec's places; our own, or one that fdexec connects to, all" {
	other_uid
	public
	spawn fdexec -q -M 666 -a any -j 8 "$pub/s" true
	await_socket "$pub/s"
	says() { kill -USR1 "$pid" && grep -q "workers 1, slots $2$" "$1"; }
	slots() { # slots FILE N: fdserve -v, whose standard error is FILE, has N of them, or will
		eventually grep -q 'worker.* is there' "$1" && eventually says "$@"
	}
	spawn as_other fdserve -v 127.0.0.1:0 "$pub/s" 2>theirs
	slots theirs 6
	spawn fdserve -v 127.0.0.1:0 "$pub/s" 2>ours
	slots ours 8
	spawn as_other fdserve -v -l 127.0.0.1:0 "$pub/workers" 2>host
	host=$pid
	await_socket "$pub/workers"
	spawn fdexec -q -c -a 65534 -j 8 "$pub/workers" true
	pid=$host
	slots host 8
}

@test "by sets that it never finishes, one uid gets no more; it is told why, others are served" {
	other_uid
	public
	for tool in fdexec fdhold; do
		start_few $tool
		begin gathers
		[ "$(grep -cx 'fdkit/1 refused why=too many descriptors of your uid wait here' words)" -eq 3 ]
		good_client
		over
		eventually settled
		begin gathers:4                 # three times 40 are too much as well
		good_client
		over
		eventually settled
	done
}

# bats test_tags=heavy
@test "a set is given up after ten seconds, though it holds its own connection's other end, and however it trickles in" {
	public
	spawn fdexec s true 2>trickle.err
	await_socket s
	spawn door.py trickle s
	trickle=$pid
	for tool in fdexec fdhold; do
		command=()
		[ $tool = fdhold ] || command=(true)
		spawn $tool -M 666 -a any "$pub/$tool" "${command[@]}" 2>"$tool.err"
		printf -v "$tool" %s "$pid"
		await_socket "$pub/$tool"
		printf -v "before_$tool" %s "$(open_fds "$pid")"
		printf 'itself-unfinished\n\n' | rude.py "$pub/$tool" >/dev/null
	done
	# shellcheck disable=SC2154 # set by printf -v
	for tool in fdexec fdhold; do
		before=before_$tool
		eventually has_open "${!tool}" "${!before}" || eventually has_open "${!tool}" "${!before}"
		[ "$(grep -c 'Connection timed out' "$tool.err")" -eq 3 ]
	done
	ended "$trickle" 0
	one_line trickle.err 'Connection timed out'
}

@test "of fdsend -l -k, one uid gets a quarter of the descriptors, said once; others are served" {
	other_uid
	public
	spawn few fdsend -lk -M 666 -a any "$pub/s" 0 2>err
	victim=$pid
	await_socket "$pub/s"
	rude "$pub/s"
	good='fdrecv -c -t 10 "$pub/s" true'
	good_client
	before=$(at_rest "$victim")
	begin takes-all:1000:50
	grep -x 'open: 50' words
	good_client
	refusals 1
	over
	eventually settled
}

@test "by connecting as workers, one uid gets a quarter of the descriptors of fdserve -l; said once, others are served" {
	other_uid
	public
	spawn few fdserve -l -M 666 -a any -A addr 127.0.0.1:0 "$pub/s" 2>err
	victim=$pid
	address=$(bound addr)
	rude "$pub/s" 65534
	begin takes-all:1000:50
	grep -x 'open: 50' words
	spawn fdexec -q -c "$pub/s" echo served
	[ "$(talk "$address" </dev/null)" = served ]
	refusals 1
	over
}

@test "fdsend -l -k: silent peers of a uid yield their places to others of it" {
	spawn few fdsend -q -lk s 0 2>err
	await_socket s
	rude s "$(id -u)"
	begin takes-all:50:50
	for _ in {1..5}; do
		eventually fdrecv -q -c s true
	done
	over
}

@test "fdsend -l -k: at its end, whoever is still being served does not keep its socket, nor it for long" {
	spawn fdsend -q -lk "@$BATS_TEST_TMPDIR" 0
	sender=$pid
	await_socket "@$BATS_TEST_TMPDIR"
	before=$(open_fds "$sender")
	spawn meet.py connect "@$BATS_TEST_TMPDIR" silent
	busy() { ! has_open "$sender" "$before"; }
	eventually busy
	kill "$sender"
	ended "$sender" 0
	spawn fdsend -q -lk "@$BATS_TEST_TMPDIR" 0
	await_socket "@$BATS_TEST_TMPDIR"
	exits 0 fdrecv -c -t 10 "@$BATS_TEST_TMPDIR" true
}

@test "a uid may put half of a small descriptor table, and as much as --max-per-uid says where that is given" {
	spawn few fdhold s 2>err
	await_socket s
	exits 125 with.py named 10 101 fdsend s 2>err2
	one_line err2 'too many'
	eventually with.py named 10 100 fdsend s    # those that were refused are closed a moment later
	spawn few fdhold --max-per-uid 120 t
	await_socket t
	exits 0 with.py named 10 120 fdsend t
}

# ---- what nobody expects beside descriptors ----

@test "credentials, a label, a pidfd and a time with every message: nothing lost, nothing left open" {
	spawn with.py passes 9 fdexec -i fd:9 sh -c 'echo $FDKIT_FDS | wc -w >>counts' 2>err
	eventually test -s counts
	eventually lines counts 3
	[ "$(sort -u counts)" -eq 253 ]
	[ -z "$(find "/proc/$pid/fd" -lname '*pidfd*')" ]
	exits 0 with.py passes 9 fdrecv -N 700 fd:9 sh -c 'echo $FDKIT_FDS | wc -w' >out
	grep -x 700 out
}

# ---- commands that connect ----

# hosts: a socket in the directory hosts for each way in which a host can be rude.
hosts() {
	mkdir hosts
	spawn host.py hosts >state
	eventually grep -q ready state
}

# meets_hosts CLIENT: with every host, it ends in time, with the status expected, and with one line unless that is 0.
# In LATE are the hosts that leave it nothing but its -t, 124; in FINE those with which it succeeds; else 125.
meets_hosts() {
	local at host want got line command
	for at in hosts/*; do
		host=${at#*/} want=125 got=0
		[[ " $late " != *" $host "* ]] || want=124
		[[ " $fine " != *" $host "* ]] || want=0
		line="$1-$host.err"
		read -ra command <<<"${client//HOST/$at}"
		# A host that gives a reason to end may do so late on a busy machine.
		[ "$want" -eq 124 ] || command=("${command[@]/#0.3/10}")
		timeout -k 1 20 "${command[@]}" </dev/null >/dev/null 2>"$line" || got=$?
		[ "$got" -eq "$want" ] || { echo "$client: $host: $got, not $want" && cat "$line"; return 1; } >&2
		[ "$want" -eq 0 ] || one_line "$line" "${client%% *}: $at: " || return
	done
}

# Client, hosts that it gives up on by -t, and those with which it succeeds.
@test "whoever they connect to: fdsend, fdrecv -c, fdserve -L, fdhold --list and --drop end in time, with a line" {
	hosts
	jobs=()
	while IFS='|' read -r client late fine; do
		meets_hosts "${#jobs[@]}" 2>"verdict${#jobs[@]}" 3>&- &
		jobs+=($!)
	done <<-'END'
		fdsend -t 0.3 HOST 0|silent bytes lines endless-line nul drip drip-record entries get hello slots done taken-by-nobody endless-set stuck|unknown half wrong-count
		fdserve -L -t 0.3 127.0.0.1:0 HOST|silent bytes lines endless-line nul drip drip-record entries get hello slots done taken-by-nobody endless-set stuck|unknown half wrong-count
		fdsend -t 0.3 HOST a=0|silent drip-record get|
		fdrecv -c -t 0.3 HOST true|silent close-unread die bytes lines drip drip-record hello stuck|
		fdrecv -c -t 0.3 -f web HOST true|silent bytes lines drip drip-record hello|
		fdhold -t 0.3 --list HOST|silent drip-record entries|
		fdhold -t 0.3 --drop a HOST|silent drip-record|
	END
	for i in "${!jobs[@]}"; do
		wait "${jobs[i]}" || { cat "verdict$i" && false; }
	done
}

@test "a host that sends faster than it is read does not put off -t" {
	need_strace
	hosts
	while read -r host command; do
		read -ra command <<<"$command hosts/$host"
		# Every read takes 2 ms, so that there is always more.
		exits 124 strace -f -qq -o /dev/null -e inject=recvmsg,recvfrom:delay_enter=2000 "${command[@]}" >/dev/null 2>err
		one_line err "${command[0]}: hosts/$host: timed out"
	done <<-'END'
		bytes fdsend -t 0.3 -f 0
		get fdsend -t 0.3 -f a=0
		bytes fdrecv -c -t 0.3
		hello fdrecv -c -t 0.3
		entries fdhold -t 0.3 --list
	END
}

@test "fdsend -l: whoever comes first, it ends in time, with a line" {
	public
	while read -r abuse want; do
		# Whoever is to be given up is so soon; who is not may come late on a busy machine.
		spawn fdsend -l -t "$([ "$want" -eq 124 ] && echo 1 || echo 10)" -M 666 -a any "$pub/s" a=0 2>err
		sender=$pid
		await_socket "$pub/s"
		rm -f tell told
		rude "$pub/s"
		begin "$abuse"
		ended "$sender" "$want" || { echo "$abuse" && false; }
		one_line err "fdsend: $pub/s: "
		over
	done <<-'END'
		silence 124
		closes 125
		slow 124
		words-only 125
		nuls 125
		endless-record 125
		unasked 125
		itself 124
	END
}

@test "whoever they connect to: fdserve and fdexec -c go on, keep no more open, and end when asked to" {
	hosts
	services=()
	for at in hosts/*; do
		spawn few fdserve -q --ack-timeout 0.3 -A "addr-${at#*/}" 127.0.0.1:0 "$at" 2>/dev/null
		services+=("$pid")
		spawn few fdexec -q -c "$at" true 2>/dev/null
		services+=("$pid")
	done
	for at in hosts/*; do
		address=$(bound "addr-${at#*/}")
		exec {client}<>"/dev/tcp/${address/://}" {client}>&-    # given to a worker, or waiting for one
	done
	for pid in "${services[@]}"; do
		[ -d "/proc/$pid/fd" ]
		[ "$(open_fds "$pid" | wc -w)" -lt 150 ]
	done
	kill "${services[@]}"
	sleep 0.5                               # some wait for their worker to take what came, until the second
	for pid in "${services[@]}"; do
		kill "$pid" 2>/dev/null || true
		ended "$pid" 0
	done
}

@test "fdrelay: floods both ways, nobody who reads, descriptors whose close waits: each stops its own connection, and others go on" {
	second_uid
	spawn relay.py serve b
	server=$pid
	await_socket b
	spawn fdserve -q -a any -io unix:f -- fdrelay b 2>err
	relays=$pid
	await_socket f
	spawn as_other relay.py harm f >harmed
	eventually grep -qx there harmed
	settled() { gone "$1" || asleep "$1" fdrelay; }
	for relay in $(children "$relays"); do
		eventually settled "$relay"
	done
	quick "${as_other[@]}" relay.py honest f | grep -x ok
	kill "$pid" "$server"
	eventually childless "$relays"
	[ ! -s err ]
}
