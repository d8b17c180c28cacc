#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdserve -L -k: COMMAND kept running, and replaced on HUP. What stands in '...' is for the shell that COMMAND is.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# keep ARG...: fdserve -L -k with those; its pid is in $keeper.
keep() {
	spawn fdserve -L -k -v -A addr "$@" 2>err
	keeper=$pid
}

# keep_start [LINE]: keep a service that the script start begins, which the test may write anew: LINE, or as it is.
keep_start() {
	echo "${1:-exec \"\$@\"}" >start
	keep --ready-after 1h 127.0.0.1:0 -- sh start service.py
	ready 1
}

# ask WORD...: one line to whoever serves, and the answer.
ask() { echo "$*" | talk "$(bound addr | sed 's/^[a-z]*=//')"; }

# said N TEXT: fdserve has reported TEXT N times.
said() { [ "$(grep -c -e "$2" err)" -eq "$1" ]; }

# ready N: N processes were ready, one after the other; the last one's pid is in $served.
ready() {
	eventually said "$1" 'is ready$' || { cat err >&2; return 1; }
	served=$(sed -n 's/.* pid \([0-9]*\) is ready$/\1/p' err | tail -n 1)
}

# hup N: replace COMMAND by the Nth process that is ready.
hup() {
	kill -HUP "$keeper"
	ready "$1"
}

# figures: what USR1 shows, without the pid.
figures() {
	local before
	before=$(grep -c ': serving ' err) || true
	kill -USR1 "$keeper"
	eventually said $((before + 1)) ': serving '
	sed -n 's/.*: serving [0-9]*, //p' err | tail -n 1
}

# manager: the service manager of fdserve, which writes what it is sent to the file notices.
manager() {
	spawn socat -u "UNIX-RECV:$PWD/manager" CREATE:notices
	eventually test -S manager
	export NOTIFY_SOCKET=$PWD/manager
}
noticed() { [ "$(sed -E 's/MONOTONIC_USEC=[1-9][0-9]+/+ /; s/(READY|RELOADING|STOPPING)=1/\1 /g' notices | tr -d '\n')" = "$1" ]; }

# starts N: COMMAND, which writes a line to the file starts at its start, has begun N times.
starts() { [ "$(wc -l <starts)" -ge "$1" ]; }

# ---- COMMAND, and the next ----

@test "COMMAND is a child with the sockets from 3 on, and a LISTEN_PID and a NOTIFY_SOCKET of its own" {
	sh -c 'ls /proc/$$/fd' 3>&- >before
	LISTEN_PID=1 LISTEN_FDS=7 NOTIFY_SOCKET=/no/such keep web=127.0.0.1:0 unix:u -- \
		sh -c 'env >vars; echo $PPID $$ >pids; exec sleep 60'
	ready 1
	[ "$(cat pids)" = "$keeper $served" ]
	diff <({ cat before && printf '%s\n' 3 4; } | sort -u) <(cd "/proc/$served/fd" && printf '%s\n' * | sort)
	grep -qx "LISTEN_PID=$served" vars
	grep -qx LISTEN_FDS=2 vars
	grep -qx LISTEN_FDNAMES=web:unknown vars
	grep -qx 'FDKIT_FDS=3 4' vars
	grep -q '^NOTIFY_SOCKET=@.' vars
}

@test "HUP: the next COMMAND is ready before the former gets TERM, and no client is refused meanwhile" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	former=$served
	hup 2
	[ "$served" != "$former" ]
	eventually gone "$former"
	[ "$(ask who)" = "$served" ]
	[ "$(grep -n -e "pid $served is ready" -e "pid $former got TERM" err | sed 's/.*pid [0-9]* //' | paste -sd ,)" = 'is ready,got TERM' ]
}

@test "a next COMMAND that is not ready yet leaves the former alone" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	former=$served
	rm go
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	[ "$(ask who)" = "$former" ]
	said 0 'got TERM'
	touch go
	ready 2
	eventually gone "$former"
}

@test "a COMMAND that says nothing is ready after --ready-after, 1 s by default" {
	keep --ready-after 50ms 127.0.0.1:0 -- service.py --silent
	ready 1
	hup 2
	[ "$(ask who)" = "$served" ]
	kill "$keeper"
	ended "$keeper" 0
	before=$(date +%s%N)
	keep unix:u -- service.py --silent
	ready 1
	[ $((($(date +%s%N) - before) / 1000000)) -ge 1000 ]
}

@test "a next COMMAND that ends before it is ready changes nothing but a line" {
	echo 'exec "$@"' >start
	keep 127.0.0.1:0 -- sh start service.py
	ready 1
	former=$served
	echo 'exit 5' >start
	kill -HUP "$keeper"
	eventually said 1 "ended with status 5 before it was ready; pid $former goes on"
	[ "$(ask who)" = "$former" ]
	said 2 'started, pid'
	said 0 'got TERM'
	echo 'exec "$@"' >start
	hup 2
	[ "$(ask who)" = "$served" ]
	eventually gone "$former"
	[ "$(figures)" = 'started 3, failed 1, ending 0, kept 0' ]
}

@test "a COMMAND that says READY=1 and ends at once has not replaced the former" {
	keep_start
	former=$served
	echo "until [ -e go ]; do sleep 0.02; done; notify.py \$NOTIFY_SOCKET READY=1; exit 3" >start
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	next=$(sed -n 's/.*started, pid //p' err | tail -n 1)
	kill -STOP "$keeper"
	touch go
	eventually gone "$next"
	kill -CONT "$keeper"
	eventually said 1 "status 3 before it was ready; pid $former goes on"
	[ "$(ask who)" = "$former" ]
}

@test "a first COMMAND that never gets ready ends fdserve with its status" {
	exits 7 fdserve -L -k unix:s -- sh -c 'exit 7' 2>err
	one_line err 'status 7 before it was ready'
	exits 0 fdserve -L -k unix:s -- true
	exits 137 fdserve -L -k unix:s -- sh -c 'kill -9 $$'
	exits 127 fdserve -L -k unix:s -- ./no-such-command
}

@test "COMMAND that ends by itself is started again, after pauses that grow and are short again once it was ready" {
	keep_start 'date +%s%N >>starts; exec "$@"'
	echo 'date +%s%N >>starts; exit 3' >start
	ask exit 4
	eventually starts 5
	mapfile -t at <starts
	# From the first failure on: the pauses after it, the second and the third.
	for i in 2 3 4; do
		[ $(((at[i] - at[i - 1]) / 1000000)) -ge $((50 * 2 ** i)) ]
	done
	said 1 'ended with status 4$'
	echo 'date +%s%N >>starts; exec "$@"' >start
	ready 2
	count=$(wc -l <starts)
	ask exit 4
	ready 3
	mapfile -t at <starts
	[ $(((at[count] - at[count - 1]) / 1000000)) -ge 100 ]
	[ "$(ask who)" = "$served" ]
}

@test "HUP during a pause starts COMMAND at once" {
	keep_start
	echo 'echo >>starts; exit 3' >start
	ask exit 4
	eventually starts 5             # the next pause is 3.2 s
	eventually said 5 'status 3 before it was ready'
	before=$(date +%s%N)
	echo 'exec "$@"' >start
	hup 2
	[ $((($(date +%s%N) - before) / 1000000)) -lt 3000 ]
}

@test "HUP during a HUP is one more afterwards, however many come" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	rm go
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	for i in 1 2 3; do
		kill -HUP "$keeper"
		figures >/dev/null      # it has taken that
	done
	said 2 'started, pid'
	touch go
	ready 3
	[ "$(ask who)" = "$served" ]
	eventually said 2 'ended with status 0'
	[ "$(figures)" = 'started 3, failed 0, ending 0, kept 0' ]
}

@test "a former that dies before the next is ready is started again only if the next fails" {
	keep_start
	echo 'until [ -e go ]; do sleep 0.02; done; exit 6' >start
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	ask exit 4
	eventually said 1 'ended with status 4'
	figures >/dev/null
	said 2 'started, pid'
	echo 'exec "$@"' >start
	touch go
	ready 2
	said 1 'status 6 before it was ready$'
	[ "$(ask who)" = "$served" ]
}

@test "several formers may finish at once, and hold up no next one; USR1 counts them" {
	keep 127.0.0.1:0 -- service.py
	for i in 1 2 3; do
		ready $i
		ask hold go
		hup $((i + 1))
	done
	[ "$(figures)" = 'started 4, failed 0, ending 3, kept 0' ]
	[ "$(ask who)" = "$served" ]
	touch go
	eventually said 3 'ended with status 0'
	[ "$(figures)" = 'started 4, failed 0, ending 0, kept 0' ]
}

# ---- the end ----

@test "TERM and INT: TERM to COMMAND, and its status is ours" {
	for sig in TERM INT; do
		keep 127.0.0.1:0 -- service.py
		ready 1
		kill -"$sig" "$keeper"
		ended "$keeper" 0
		grep -q "ended by SIG$sig, 1 command run" err
		[ ! -e addr ]
	done
	keep unix:u -- sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
	ready 1
	kill "$keeper"
	ended "$keeper" 9
	[ -S u ]
}

@test "TERM waits for COMMAND and says so; clients wait, a second TERM kills" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	ask hold go
	hup 2
	ask hold go
	kill "$keeper"
	eventually said 1 'waiting for 2 commands'
	kill -HUP "$keeper"             # too late
	kill "$keeper"
	ended "$keeper" 137
	said 2 'started, pid'
}

@test "TERM during a pause, and before the first is ready" {
	echo 'exec "$@"' >start
	keep 127.0.0.1:0 -- sh start service.py
	ready 1
	echo 'echo >>starts; exit 3' >start
	ask exit 4
	eventually said 2 'status 3 before'
	kill "$keeper"
	ended "$keeper"
	[ "$status" -eq 0 ] || [ "$status" -eq 3 ]      # in a pause, or while one ran
	keep unix:u -- service.py --until never
	eventually said 1 'started, pid'
	kill "$keeper"
	ended "$keeper"
}

# A COMMAND that says which of INT and TERM it gets, and ends by itself with 6 when fdserve waits for it.
told='trap "echo INT" INT; trap "echo TERM; exit 4" TERM; echo ready; until grep -q "waiting for" err; do sleep 0.01; done; sleep 0.05; exit 6'

@test "^C: what the terminal has sent INT gets no TERM, unless --drain says so; in another process group it gets TERM" {
	for command in 'sh -c "$1"' 'setsid sh -c "$1"' '--drain sh -c "$2"'; do
		drain=
		[[ $command != --drain* ]] || drain='--drain 50ms'
		run timeout 20 interrupt.py sh -c "exec fdserve -L -k -v $drain unix:s -- ${command#--drain} 2>err" - "$told" "${told/ err/ none}" 3>&-
		echo "$status $(tr -s '\n^C' ' ' <<<"$output")" >>got
	done
	printf '%s \n' '6 ready INT' '4 ready TERM' '4 ready INT TERM' | diff - got
}

@test "--drain: KILL comes TIME after each TERM" {
	keep --drain 100ms 127.0.0.1:0 -- service.py
	ready 1
	former=$served
	ask hold never
	hup 2
	eventually said 1 "pid $former got KILL"
	eventually gone "$former"
	[ "$(ask who)" = "$served" ]
	ask hold never
	kill "$keeper"
	ended "$keeper" 137
	said 2 'got KILL'
}

# ---- what COMMAND stores ----

@test "what COMMAND stores is given to each later one after the sockets, by name" {
	keep web=127.0.0.1:0 -- service.py
	ready 1
	ask store a one
	ask store b two
	[ -z "$(ask names)" ]
	hup 2
	[ "$(ask names)" = a:b ]
	[ "$(ask read a)" = one ]
	ask store a three
	ask exit 1
	ready 3
	[ "$(ask names)" = a:b:a ]
	[ "$(ask read a)" = 'one three' ]
	[ "$(ask read b)" = two ]
	[ "$(figures)" = 'started 3, failed 0, ending 0, kept 3' ]
}

@test "what a former stores at its end is kept, too" {
	keep 127.0.0.1:0 -- service.py --at-end 'store last words'
	ready 1
	hup 2
	eventually said 1 'ended with status 0'
	hup 3
	eventually said 2 'ended with status 0'
	[ "$(ask read last)" = words ]
}

@test "a descriptor that is stored again is kept once; FDSTOREREMOVE drops all of a name" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	ask store a one
	ask store a two
	ask store b three
	hup 2
	ask again a
	[[ $(figures) == *'kept 3' ]]
	ask say 'FDSTOREREMOVE=1\nFDNAME=a'
	[[ $(figures) == *'kept 1' ]]
	ask say 'FDSTOREREMOVE=1'
	[[ $(figures) == *'kept 1' ]]
	hup 3
	[ "$(ask names)" = b ]
}

@test "a name that systemd would not take, or none, is stored" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	ask store a:b one
	ask store '' two
	ask store "$(printf 'n%.0s' {1..256})" three
	ask store "$(printf 'n%.0s' {1..255})" four
	hup 2
	[ "$(ask names)" = "stored:stored:stored:$(printf 'n%.0s' {1..255})" ]
}

@test "at most 256 descriptors are kept; the next is closed, with a line, and all 256 arrive" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	[ "$(ask many 256)" = "done" ]
	said 0 closed
	[ "$(ask store more text)" = "done" ]
	eventually said 1 'closed a descriptor named more'
	hup 2
	[ "$(ask names | tr ':' '\n' | sort | uniq -c | tr -s ' ')" = ' 256 many' ]
	[ "$(ask read many)" = "$(seq -s ' ' 0 255)" ]
}

@test "no more is kept than COMMAND's limit of descriptors allows, or ours" {
	for limit in 40:4096 64:64; do
		rm -f addr
		spawn prlimit --nofile=$limit fdserve -L -k -v -A addr 127.0.0.1:0 -- service.py 2>err
		keeper=$pid
		ready 1
		ask many 100
		eventually grep -q 'closed a descriptor' err
		hup 2
		[ "$(ask who)" = "$served" ]
		[[ $(ask read many) == '0 1 2 '* ]]
	done
}

@test "BARRIER=1 is answered when all before it was obeyed" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	[ "$(ask barrier)" = answered ]
}

@test "a kept socket whose peer hangs up is dropped, unless FDPOLL=0" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	ask pair a
	ask pair b FDPOLL=0
	[[ $(figures) == *'kept 2' ]]
	ask unpair
	eventually said 1 'dropped the descriptor named a'
	[[ $(figures) == *'kept 1' ]]
	hup 2
	[ "$(ask names)" = b ]
}

# ---- who may say so ----

@test "a message from another uid counts for nothing, and is said once" {
	need_root
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go address >told
	eventually test -s told
	for i in 1 2 3; do
		as_other notify.py "$(cat told)" 'READY=1\nFDSTORE=1' /dev/null
	done
	eventually said 1 'ignored a notification of uid 65534'
	[ "$(figures)" = 'started 1, failed 0, ending 0, kept 0' ]
	said 0 'is ready'
	said 1 'ignored a notification'
	touch go
	ready 1
}

@test "a COMMAND that became another user may say so" {
	need_root
	keep --ready-after 1h 127.0.0.1:0 -- "${as_other[@]}" service.py --at-end 'store last words'
	ready 1
	ask store a one
	hup 2
	eventually said 1 'ended with status 0'
	hup 3
	[ "$(ask read a)" = one ]
	[ "$(ask read last)" = words ]
}

@test "descriptors that a stranger sends hold up no COMMAND that is started" {
	fuse mnt FLUSH
	keep --ready-after 1h 127.0.0.1:0 -- service.py
	ready 1
	address=$(ask address)
	spawn as_other notify.py "$address" FDSTORE=1 "$stuck" 100     # it cannot end
	eventually said 1 'ignored a notification of uid 65534'
	hup 2
	[ "$(ask who)" = "$served" ]
	kill "$keeper"
	ended "$keeper" 0
}

@test "descriptors of a stranger that are never closed take none of the numbers that the next COMMAND needs" {
	fuse mnt FLUSH
	spawn prlimit --nofile=2048 fdserve -L -k -v -A addr --ready-after 1h 127.0.0.1:0 -- service.py 2>err
	keeper=$pid
	ready 1
	address=$(ask address)
	for i in 1 2 3 4 5 6 7 8 9; do
		spawn as_other notify.py "$address" FDSTORE=1 "$stuck" 250
	done
	eventually test -e "/proc/$keeper/fd/2031"
	hup 2
	hup 3
	[ "$(ask who)" = "$served" ]
	said 1 'uid 65534'
	said 0 'wanted kept'
}

@test "a COMMAND's own descriptors that block, too many or removed, hold up nothing" {
	fuse mnt FLUSH
	keep --ready-after 1h 127.0.0.1:0 -- service.py
	ready 1
	address=$(ask address)
	spawn notify.py "$address" 'FDSTORE=1\nFDNAME=a' "$stuck"
	eventually said 1 'keeping a descriptor named a'
	spawn notify.py "$address" 'FDSTOREREMOVE=1\nFDNAME=a'
	eventually said 1 'dropped the descriptor named a'
	hup 2
	[ "$(ask who)" = "$served" ]
}

# ---- our own service manager, and how else we tell ----

@test "READY=1, RELOADING=1 and STOPPING=1 go to our own NOTIFY_SOCKET" {
	manager
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	eventually noticed 'READY '
	ready 1
	rm go
	before=$(cut -d . -f 1 /proc/uptime)
	kill -HUP "$keeper"
	eventually noticed 'READY RELOADING + '
	[ "$(grep -oP 'MONOTONIC_USEC=\K[0-9]+' notices)" -ge $((before * 1000000)) ]
	touch go
	eventually noticed 'READY RELOADING + READY '
	kill "$keeper"
	ended "$keeper" 0
	eventually noticed 'READY RELOADING + READY STOPPING '
}

@test "a failed HUP is READY=1 again; a COMMAND that ends by itself, nothing" {
	manager
	keep_start
	ask exit 2
	ready 2
	echo 'exit 1' >start
	kill -HUP "$keeper"
	eventually noticed 'READY RELOADING + READY '
}

@test "-R and READY=1 come when the first COMMAND is ready, -A before it starts; COMMAND has no descriptor of -R" {
	mkfifo told
	spawn cat told >got
	reader=$pid
	touch go
	spawn fdserve -L -k -A addr -R 7 127.0.0.1:0 -- sh -c 'cat addr >before; ls /proc/$$/fd >fds
		until [ -e went ]; do sleep 0.02; done; exec service.py' 7>told
	eventually test -s fds
	[ -s before ]
	run ! grep -x 7 fds
	[ ! -s got ]
	touch went
	ended "$reader" 0
	[ "$(wc -c <got)" -eq 1 ]
}

@test "nobody reads what -R says: COMMAND goes on" {
	mkfifo told
	spawn sh -c 'exec fdserve -L -k -v -A addr -R 7 127.0.0.1:0 -- service.py 2>err 7>told'
	exec {reader}<told
	exec {reader}<&-
	ready 1
	said 1 '-R 7: Broken pipe'
	[ "$(ask who)" = "$served" ]
}

@test "addr=\$(fdserve -L -k -A - -R 1 ... &) returns when COMMAND is ready" {
	addr=$(exec 3>&-; fdserve -L -k -q -A - -R 1 127.0.0.1:0 -- service.py & echo $! >pid)
	PIDS+=("$(cat pid)")
	[ "$(children "$(cat pid)")" = "$(echo who | talk "$addr") " ]
}

@test "-u: COMMAND and its successors are that user, and so are their messages" {
	need_root
	keep -u 65534:65534 --ready-after 1h 127.0.0.1:0 -- service.py
	ready 1
	ask store a one
	hup 2
	[ "$(ask read a)" = one ]
	[ "$(stat -c %u "/proc/$served")" -eq 65534 ]
}

@test "-q: only errors" {
	spawn fdserve -L -k -q -A addr 127.0.0.1:0 -- service.py 2>err
	keeper=$pid
	eventually test -s addr
	first=$(ask who)
	kill -HUP "$keeper"
	eventually gone "$first"
	ask exit 3
	eventually grep -q 'ended with status 3' err
	kill "$keeper"
	ended "$keeper"
	[ "$(wc -l <err)" -eq 1 ]
}

# ---- for long ----

@test "as process 1 it reaps what is not its own" {
	need_root
	spawn unshare --fork --pid --kill-child fdserve -L -k -v -A addr 127.0.0.1:0 -- sh -c '(sleep 0.1 & sleep 0.1 &); exec service.py' 2>err
	ready 1
	keeper=$(children "$pid")
	keeper=${keeper% }
	[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$keeper/status")" -eq 1 ]
	eventually only_child
	hup 2
	eventually only_child
	kill "$keeper"
	ended "$pid" 0
}
only_child() { [ "$(children "$keeper" | wc -w)" -eq 1 ]; }

@test "100 HUPs: no descriptor, process or memory more" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	ask store a one
	for i in {2..11}; do
		hup "$i"
		ask again a >/dev/null
	done
	eventually only_child
	fds=$(open_fds "$keeper" | wc -w) memory=$(rss "$keeper")
	for i in {12..111}; do
		hup "$i"
		ask again a >/dev/null
	done
	eventually only_child
	eventually has_count "$keeper" "$fds"
	echo "# 100 HUPs: $fds descriptors, $memory KiB before, $(rss "$keeper") KiB after" >&3
	[ "$(rss "$keeper")" -le $((memory + 64)) ]
	[[ $(figures) == *'kept 1' ]]
}
has_count() { [ "$(open_fds "$1" | wc -w)" -eq "$2" ]; }

# ---- a step of a HUP, killed ----

@test "KILL of the former before the next is ready costs nothing but its connections" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	rm go
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	kill -9 "$served"
	eventually said 1 'ended with status 137'
	answer=$(ask who & touch go; wait)      # it waits in the queue
	ready 2
	[ "$answer" = "$served" ]
}

@test "KILL of the next before it is ready leaves the former" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	rm go
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	kill -9 "$(sed -n 's/.*started, pid //p' err | tail -n 1)"
	eventually said 1 "status 137 before it was ready; pid $served goes on"
	[ "$(ask who)" = "$served" ]
}

# held: open a connection that $served has accepted, at the descriptor $client.
held() {
	local before port
	before=$(open_fds "$served" | wc -w)
	port=$(bound addr | sed 's/.*://')
	exec {client}<>"/dev/tcp/127.0.0.1/$port"
	eventually has_count "$served" $((before + 1))
}

@test "KILL of the former while it finishes costs its connections, and nothing else" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	former=$served
	held
	hup 2
	kill -9 "$former"
	eventually said 1 "pid $former ended with status 137"
	run ! read -r -t 10 <&"$client"
	[ "$status" -eq 1 ]             # not a timeout
	[ "$(ask who)" = "$served" ]
	[ "$(figures)" = 'started 2, failed 0, ending 0, kept 0' ]
}

@test "KILL of the next while the former finishes: one more is started, and who is not accepted yet waits for it" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	former=$served
	held
	hup 2
	rm go
	kill -9 "$served"
	eventually said 1 "pid $served ended with status 137"
	eventually said 3 'started, pid'
	answer=$(ask who & touch go; wait)
	ready 3
	[ "$answer" = "$served" ]
	echo who >&"$client"
	read -r -t 10 answer <&"$client"
	[ "$answer" = "$former" ]
	eventually said 1 "pid $former ended with status 0"
}

# answers PID: it is the one who answers now.
answers() { [ "$(ask who)" = "$1" ]; }

@test "KILL of fdserve before the next is ready: both serve, nobody is refused, and each ends by a TERM from elsewhere" {
	touch go
	keep --ready-after 1h 127.0.0.1:0 -- service.py --until go
	ready 1
	rm go
	kill -HUP "$keeper"
	eventually said 2 'started, pid'
	next=$(sed -n 's/.*started, pid //p' err | tail -n 1)
	kill -9 "$keeper"
	ended "$keeper" 137
	PIDS+=("$served" "$next")
	answers "$served"
	held                            # it has its hands full
	touch go
	answers "$next"
	wrong "$(cat addr)" fdserve -L -k "$(cat addr)" -- service.py
	kill "$served"
	echo who >&"$client"
	read -r -t 10 answer <&"$client"
	[ "$answer" = "$served" ]
	eventually gone "$served"
	answers "$next"
}

@test "KILL of fdserve while the former finishes: it ends by itself, and the next serves" {
	keep 127.0.0.1:0 -- service.py
	ready 1
	former=$served
	held
	hup 2
	kill -9 "$keeper"
	ended "$keeper" 137
	PIDS+=("$former" "$served")
	answers "$served"
	echo who >&"$client"
	read -r -t 10 answer <&"$client"
	[ "$answer" = "$former" ]
	eventually gone "$former"
	answers "$served"
}

@test "KILL of fdserve leaves COMMAND serving; the next fdserve finds the address taken until that ends" {
	keep unix:u -- service.py
	ready 1
	kill -9 "$keeper"
	ended "$keeper" 137
	PIDS+=("$served")
	[ "$(echo who | talk unix:u)" = "$served" ]
	wrong u fdserve -L -k unix:u -- service.py
	kill "$served"
	eventually gone "$served"
	keep unix:u -- service.py
	ready 1
	[ "$(echo who | talk unix:u)" = "$served" ]
}
