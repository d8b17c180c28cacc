#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdserve and fdexec (and fdrecv) together: each connection reaches exactly one command,
# whatever happens to workers.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2317  # eventually calls them
load helper

# hold N: N clients in the background, which keep what comes in files reply.*
hold() {
	local _
	for _ in $(seq "$1"); do
		spawn sh -c 'exec socat -t 20 - "TCP:$1" >"reply.$$"' sh "$at"
	done
}
# patient NAME: a command for sh that logs NAME and waits for the file "go" before it answers.
patient() { printf 'echo %s >>log; while [ ! -e go ]; do sleep 0.02; done; echo %s' "$1" "$1"; }

# serve [OPTION...]: fdserve on a free port, with SOCKET s; sets $server, $at and $port.
serve() {
	spawn fdserve -A addr "$@" 127.0.0.1:0 s 2>serve.err
	server=$pid
	at=$(bound addr)
	port=${at##*:}
}

# figures PID FILE: ask for the line of figures; it is in $line.
figures() {
	local before
	before=$(grep -c 'slots [0-9]*$' "$2") || true
	kill -USR1 "$1"
	more_lines() { [ "$(grep -c 'slots [0-9]*$' "$1")" -gt "$2" ]; }
	eventually more_lines "$2" "$before" || return
	line=$(grep 'slots [0-9]*$' "$2" | tail -n 1)
}
# figure WORD N: fdserve's line says so now. Slots are those free.
figure() {
	figures "$server" serve.err
	[[ ", ${line##*: }," == *", $1 $2,"* ]] || { echo "not $1 $2: $line" >&2; return 1; }
}

# calls PID: how many system calls end in one second: a sleep, but what is measured is that time.
calls() {
	timeout 1 strace -o "trace.$1" -p "$1" 2>/dev/null || true
	[ -s "trace.$1" ] || { echo "no trace of $1"; return; }
	grep -c ' = ' "trace.$1" || true
}

# answered N: so many lines came back to those whom hold made.
answered() { [ "$(cat reply.* 2>/dev/null | wc -l)" -eq "$1" ]; }

# ---- push: one worker at SOCKET ----

@test "push: every connection is served once, by one command" {
	serve
	spawn fdexec s sh -c 'read -r n; echo "$n" >>log; echo "$n"'
	clients.py "$port" 300 32 | diff - <(seq 0 299)
	sort -n log | diff - <(seq 0 299)
	figure accepted 300; figure 'handed over' 300; figure acknowledged 300
	figure returned 0; figure waiting 0; figure workers 1
	eventually figure slots 64
}

@test "push: no more is accepted than the worker has slots, the rest waits in the kernel's queue" {
	serve
	spawn fdexec -j 2 s sh -c "$(patient a)"
	hold 7
	eventually lines log 2
	eventually queued "$port" 5
	figure accepted 2
	figure slots 0
	queued "$port" 5
	touch go
	eventually answered 7
	lines log 7
}

@test "push: nothing is accepted while there is no worker" {
	serve
	hold 3
	eventually queued "$port" 3
	figure accepted 0
	figure workers 0
	queued "$port" 3
	touch go
	spawn fdexec s sh -c "$(patient a)"
	eventually answered 3
	figure accepted 3
}

@test "push: fdrecv takes one connection, the next one waits for the next worker" {
	serve
	hold 2
	eventually queued "$port" 2
	exits 0 fdrecv -io s echo one
	eventually answered 1
	figure acknowledged 1
	queued "$port" 1
	exits 0 fdrecv -io s echo two
	eventually answered 2
	sort reply.* | diff - <(printf 'one\ntwo\n')
}

# ---- pull: workers connect ----

@test "pull: workers come and go" {
	serve -l
	spawn fdexec -c s sh -c 'read -r n; echo "$n $1" >>log; echo "$1"' sh a
	a=$pid
	eventually figure workers 1
	[ "$(clients.py "$port" 1 1)" = a ]
	spawn fdexec -c s sh -c 'read -r n; echo "$n $1" >>log; echo "$1"' sh b
	eventually figure workers 2
	kill "$a"
	ended "$a" 0
	eventually figure workers 1
	clients.py "$port" 20 4 | uniq | diff - <(echo b)
	kill "$pid"
	ended "$pid" 0
	eventually figure workers 0
	hold 1
	eventually queued "$port" 1
	spawn fdexec -c s echo c
	eventually answered 1
	[ "$(cat reply.*)" = c ]
	lines log 21
}

@test "pull: the freest worker is served first" {
	serve -l
	spawn fdexec -c -j 1 s sh -c "$(patient small)"
	spawn fdexec -c -j 4 s sh -c "$(patient big)"
	eventually figure slots 5
	hold 3
	eventually lines log 3
	sort log | uniq -c | tr -s ' ' | diff - <(echo ' 3 big')
	hold 2
	eventually lines log 5
	sort log | uniq -c | tr -s ' ' | diff - <(printf ' 4 big\n 1 small\n')
	touch go
	eventually answered 5
}

@test "pull: a worker ten times slower than the other three gets a share to match" {
	serve -l
	for time in 0.5 0.05 0.05 0.05; do
		spawn fdexec -c -j 2 s sh -c 'sleep $1; echo $1' sh "$time"
	done
	eventually figure workers 4
	clients.py "$port" 200 16 >got
	slow=$(grep -cx 0.5 got)
	fast=$(grep -cx 0.05 got)
	echo "# a share of $slow among 200" >&3
	[ "$((slow + fast))" -eq 200 ]
	((slow > 0 && slow <= 25))        # an equal share would be 50, a matching one is 7
}

@test "pull: overload waits in the kernel's queue, no more accepted than all workers' slots" {
	serve -l
	spawn fdexec -c -j 1 s sh -c "$(patient a)"
	spawn fdexec -c -j 2 s sh -c "$(patient b)"
	eventually figure slots 3
	hold 8
	eventually lines log 3
	eventually queued "$port" 5
	figure accepted 3
	queued "$port" 5
	touch go
	eventually answered 8
	lines log 8
}

@test "pull: fdrecv -c takes one connection" {
	serve -l
	hold 2
	eventually queued "$port" 2
	exits 0 fdrecv -c -io s echo one
	eventually answered 1
	queued "$port" 1
	exits 0 fdrecv -c -io s echo two
	eventually answered 2
}

@test "fdexec -c comes before fdserve -l, says so once, and comes back when fdserve does" {
	spawn fdexec -c s sh -c 'read -r n; echo "$n"' 2>work.err
	worker=$pid
	eventually grep -q s: work.err
	serve -l
	[ "$(clients.py "$port" 1 1)" = 0 ]
	kill "$server"
	ended "$server" 0
	rm -f addr
	serve -l
	[ "$(clients.py "$port" 3 1 | paste -sd ' ')" = '0 1 2' ]
	kill "$worker"
	ended "$worker" 0
	[ "$(grep -c 'No such file' work.err)" -le 2 ]
}

@test "fdexec -c -w gives up with 124, without -w it does not" {
	exits 124 fdexec -q -c -w 0.1 s true 2>err
	one_line err 'fdexec: s: ' 'timed out'
	exits 124 timeout 0.5 fdexec -q -c s true
}

# ---- one connection too many ----

@test "-C closes what one address has too many of at once, with a worker and with a command" {
	for form in worker command; do
		rm -f go log addr reply.*
		if [ $form = worker ]; then
			serve -C 2
			spawn fdexec s sh -c "$(patient a)"
			worker=$pid
		else
			spawn fdserve -C 2 -A addr 127.0.0.1:0 -- sh -c "$(patient a)" 2>serve.err
			server=$pid worker=
			at=$(bound addr)
			port=${at##*:}
		fi
		hold 2
		eventually lines log 2
		[ "$(clients.py "$port" 3 1 | tr -d '\n')" = '' ]       # closed, though the two still run
		lines log 2
		spawn clients.py "$port" 1 1 127.0.0.2 >reply.other
		eventually lines log 3                               # another address has its own two
		touch go
		eventually answered 3
		served_again() { [ "$(clients.py "$port" 1 1)" = a ]; }
		eventually served_again                                      # the two that ended count no more
		kill "$server"
		ended "$server" 0
		[ -z "$worker" ] || { kill "$worker"; ended "$worker" 0; }
	done
}

# ---- -P: a foreign worker of the plain form ----

@test "-P: a worker that knows the plain form only, in push and pull" {
	for how in listen connect; do
		rm -f addr s
		if [ $how = listen ]; then
			spawn meet.py $how s plain
			serve -P
		else
			serve -P -l
			await_socket s
			spawn meet.py $how s plain
		fi
		worker=$pid
		clients.py "$port" 20 4 | diff - <(seq -f 'plain %g' 0 19)
		kill "$server"
		ended "$server" 0
		kill "$worker" 2>/dev/null || true
	done
}

# ---- manners of what runs long ----

@test "SIGUSR1: one line of figures from fdserve and from fdexec, and nothing ends" {
	serve
	spawn fdexec -j 5 s sh -c "$(patient a)" 2>work.err
	worker=$pid
	hold 2
	eventually lines log 2
	eventually figure acknowledged 2
	[[ $line =~ ^fdserve:.*\ accepted\ 2,\ handed\ over\ 2,\ acknowledged\ 2,\ returned\ 0,\ waiting\ 0,\ workers\ 1,\ slots\ 3$ ]]
	figures "$worker" work.err
	[[ $line =~ ^fdexec:.*\ started\ 2,\ running\ 2,\ slots\ 3$ ]]
	touch go
	eventually answered 2
	eventually childless "$worker"
	figures "$worker" work.err
	[[ $line =~ \ started\ 2,\ running\ 0,\ slots\ 5$ ]]
}

@test "a signal: what is in the queue is accepted and handed over, then fdserve ends" {
	for form in push pull; do
		rm -f go log addr reply.*
		if [ $form = push ]; then
			serve
			spawn fdexec -j 1 s sh -c "$(patient a)"
		else
			serve -l
			spawn fdexec -c -j 1 s sh -c "$(patient a)"
		fi
		worker=$pid
		hold 4
		eventually lines log 1
		eventually queued "$port" 3
		kill "$server"
		touch go
		eventually answered 4
		ended "$server" 0
		lines log 4
		grep -E 'ended by SIGTERM, 4 ' serve.err
		run ! listening "$port"
		kill "$worker"
		ended "$worker" 0
	done
}

@test "a signal, with a client in the queue and a worker that never says what it takes: fdserve ends after --ack-timeout" {
	serve -l --ack-timeout 0.3
	spawn speak.py connect s hear >greeted
	eventually grep -q hello greeted
	exec 6<>"/dev/tcp/${at/://}"
	kill "$server"
	ended "$server" 0
	exec 6>&-
}

@test "fdserve -- COMMAND, a signal: what is in the queue is served" {
	spawn fdserve -j 1 -A addr 127.0.0.1:0 -- sh -c "$(patient a)" 2>serve.err
	server=$pid
	at=$(bound addr)
	port=${at##*:}
	hold 3
	eventually lines log 1
	eventually queued "$port" 2
	kill "$server"
	touch go
	eventually answered 3
	ended "$server" 0
	lines log 3
}

@test "a second signal ends fdserve at once, whatever waits" {
	serve
	spawn fdexec -j 1 s sh -c "$(patient a)"
	worker=$pid
	hold 3
	eventually lines log 1
	eventually queued "$port" 2
	kill "$server"
	run ! timeout 0.5 tail -s 0.05 --pid="$server" -f /dev/null      # it waits for the worker
	kill "$server"
	ended "$server" 0
	grep SIGTERM serve.err
	touch go
	eventually answered 1        # which had begun
	kill "$worker"
	ended "$worker" 0
}

# ---- workers that stop or die ----

@test "a worker killed before it acknowledged: the connection goes to the other, once" {
	serve -l
	spawn fdexec -c -j 4 s sh -c 'echo a >>log; echo a'
	a=$pid
	eventually figure slots 4
	kill -STOP "$a"
	hold 3
	eventually figure 'handed over' 3
	figure acknowledged 0
	spawn fdexec -c -j 4 s sh -c 'echo b >>log; echo b'
	eventually figure workers 2
	kill -KILL "$a"
	eventually answered 3
	sort log reply.* | uniq -c | tr -s ' ' | diff - <(echo ' 6 b')
	figure returned 3 && figure acknowledged 3 && figure accepted 3
}

@test "a worker killed after it acknowledged: the command goes on, and runs once" {
	serve -l
	spawn fdexec -c -j 4 s sh -c "$(patient a)"
	a=$pid
	eventually figure slots 4
	hold 2
	eventually lines log 2
	spawn fdexec -c -j 4 s sh -c "$(patient b)"
	eventually figure workers 2
	eventually figure acknowledged 2
	kill -KILL "$a"
	eventually figure workers 1
	touch go
	eventually answered 2
	sort log reply.* | uniq -c | tr -s ' ' | diff - <(echo ' 4 a')
	figure returned 0
}

@test "--ack-timeout: a stopped worker's connection goes to the other, runs once, and the client sees its end" {
	serve -l --ack-timeout 0.3
	spawn fdexec -c -j 4 s sh -c 'echo a >>log; echo a' 2>a.err
	a=$pid
	eventually figure slots 4
	kill -STOP "$a"
	spawn fdexec -c -j 1 s sh -c 'echo b >>log; echo b'
	eventually figure slots 5
	[ "$(clients.py "$port" 1 1)" = b ]         # to end of file, though the stopped worker is still there
	figure returned 1; figure acknowledged 1
	kill -CONT "$a"
	eventually figure workers 2              # it notices, and comes back
	lines log 1
	figures "$a" a.err
	[[ $line == *'started 0,'* ]]
	[ "$(clients.py "$port" 1 1)" = a ]         # the freest again
	diff log - <<<$'b\na'
}

@test "a worker that half-closes with a connection in its queue, and stays: another serves it, and the client sees its end" {
	serve -l
	spawn clients.py "$port" 1 1 >got
	client=$pid
	eventually queued "$port" 1
	spawn speak.py connect s until:hello 'slots n=1' peek shut stay >/dev/null
	eventually figure returned 1
	spawn fdexec -q -c s echo b
	wait "$client"
	diff got - <<<b
}

@test "a stopped fdrecv -c leaves its connection to another worker, and runs nothing" {
	serve -l --ack-timeout 0.3
	spawn fdrecv -c -i s sh -c 'echo a >>log; echo a' 2>a.err
	a=$pid
	eventually figure slots 1
	kill -STOP "$a"
	spawn fdexec -c -j 1 s sh -c 'echo b >>log; echo b'
	hold 1
	eventually figure returned 1
	eventually figure acknowledged 1
	kill -CONT "$a"
	ended "$a" 125
	one_line a.err 'fdrecv: s: ' 'taken back'
	eventually lines log 1
	[ "$(cat log)" = b ]
}

@test "a stopped fdrecv that listens waits for the next connection, and the one that it lost goes to one command" {
	spawn fdrecv -io s sh -c 'read -r n; echo "a $n" >>log' 2>a.err
	a=$pid
	await_socket s
	serve --ack-timeout 0.3
	eventually figure slots 1
	kill -STOP "$a"
	spawn clients.py "$port" 1 1
	eventually figure returned 1
	kill -CONT "$a"
	ended "$a" 0
	one_line a.err 'fdrecv: s: uid ' 'taken back'
	eventually figure acknowledged 1
	spawn fdrecv -io s sh -c 'read -r n; echo "b $n" >>log'
	b=$pid
	spawn sh -c 'echo 7 | socat -t 20 - "TCP:$1"' sh "$at"
	ended "$b" 0
	diff log - <<<$'a 0\nb 7'
}

@test "--ack-timeout: a stopped worker holds up nobody but those that went to it" {
	serve -l --ack-timeout 20
	spawn fdexec -c -j 1 s echo a
	a=$pid
	eventually figure slots 1
	kill -STOP "$a"
	hold 1
	eventually figure 'handed over' 1
	spawn fdexec -c -j 1 s sh -c 'read -r n; echo "$n"'
	eventually figure workers 2
	clients.py "$port" 20 4 | diff - <(seq 0 19)
	answered 0
	kill -CONT "$a"
	eventually answered 1
	figure returned 0
	[ "$(cat reply.*)" = a ]
}

@test "a worker that talks rubbish loses the channel, and its connection goes to another" {
	serve -l
	spawn speak.py connect s 'slots n=4' 'until: set ' rubbish stay
	eventually figure slots 4
	spawn fdexec -c -j 1 s echo b
	eventually figure workers 2
	[ "$(clients.py "$port" 1 1)" = b ]
	figure workers 1; figure returned 1; figure acknowledged 1
	[ "$(clients.py "$port" 1 1)" = b ]
}

@test "push: a worker killed with connections in hand, the next one at the same path gets them" {
	serve
	spawn fdexec s sh -c 'echo a >>log'
	a=$pid
	eventually figure slots 64
	kill -STOP "$a"
	hold 5
	eventually figure 'handed over' 5
	kill -KILL "$a"
	ended "$a" 137
	spawn fdexec s sh -c 'echo b >>log; echo b'
	eventually answered 5
	sort log | uniq -c | tr -s ' ' | diff - <(echo ' 5 b')
	figure returned 5
}

@test "a COMMAND that disappeared counts as started: the client is closed, nobody tries again" {
	serve -l
	cp /bin/true not-there
	spawn fdexec -c -j 4 s ./not-there 2>work.err
	spawn fdexec -c -j 4 s ./not-there 2>work2.err
	eventually figure workers 2
	rm not-there
	[ "$(clients.py "$port" 3 1 | tr -d '\n')" = '' ]
	figure acknowledged 3; figure returned 0
	said_three() { [ "$(cat work.err work2.err | grep -c 'not-there: No such file')" -eq 3 ]; }
	eventually said_three
	eventually figure waiting 0
	figure slots 8
}

# ---- no room ----

@test "fdserve with a full descriptor table waits without spinning and loses nothing" {
	need_strace
	spawn bash -c 'ulimit -n 16; exec fdserve -l -A addr 127.0.0.1:0 s' 2>serve.err
	server=$pid
	at=$(bound addr)
	port=${at##*:}
	spawn fdexec -c -j 64 s sh -c 'read -r n; echo "$n" >>log; echo "$n"'
	worker=$pid
	eventually figure slots 64
	kill -STOP "$worker"
	spawn clients.py "$port" 40 40 >got
	busy=$pid
	stuck() {
		figures "$server" serve.err
		[[ $line =~ accepted\ ([0-9]+), ]] && ((BASH_REMATCH[1] > 0 && BASH_REMATCH[1] < 40))
	}
	eventually stuck
	n=$(calls "$server")
	echo "$n system calls in a second"
	[ "$n" -lt 50 ]
	kill -CONT "$worker"
	ended "$busy" 0
	sort -n got | diff - <(seq 0 39)
	sort -n log | diff - <(seq 0 39)
}

@test "fdserve -- COMMAND with a full descriptor table loses nothing" {
	spawn bash -c 'ulimit -n 9; exec fdserve -A addr 127.0.0.1:0 -- head -n 1' 2>serve.err
	at=$(bound addr)
	clients.py "${at##*:}" 100 40 | diff - <(seq 0 99)
}

@test "fdexec with a full descriptor table loses nothing" {
	serve
	spawn bash -c 'ulimit -n 9; exec fdexec s sh -c "$1"' sh 'head -n 1 | tee -a log'
	clients.py "$port" 60 30 | diff - <(seq 0 59)
	sort -n log | diff - <(seq 0 59)
}

# ---- nothing to do, and much to do ----

@test "idle, fdserve and fdexec make no system call in a second, push and pull" {
	need_strace
	for how in push pull; do
		rm -f addr
		if [ $how = push ]; then
			serve
			spawn fdexec s sh -c 'read -r n; echo "$n"'
		else
			serve -l
			spawn fdexec -c s sh -c 'read -r n; echo "$n"'
		fi
		worker=$pid
		clients.py "$port" 3 1 | diff - <(seq 0 2)
		eventually childless "$worker"
		calls "$server" >server.calls 3>&- &
		[ "$(calls "$worker")" = 0 ]
		wait $!
		[ "$(cat server.calls)" = 0 ]
		kill "$server" "$worker"
		ended "$server" 0
		ended "$worker" 0
	done
}

@test "thousands of connections leave no descriptor open, and memory as it was" {
	serve -l
	spawn fdexec -c s echo x
	worker=$pid
	spawn fdexec -c s echo x
	clients.py "$port" 300 16 | uniq | diff - <(echo x)
	eventually childless "$worker"
	before="$(open_fds "$server") / $(open_fds "$worker")"
	rss_before=("$(rss "$server")" "$(rss "$worker")")
	clients.py "$port" 3000 16 | uniq | diff - <(echo x)
	eventually childless "$worker"
	as_before() { [ "$(open_fds "$server") / $(open_fds "$worker")" = "$before" ]; }
	eventually as_before
	rss_after=("$(rss "$server")" "$(rss "$worker")")
	echo "# RSS of fdserve and fdexec before ${rss_before[*]}, after ${rss_after[*]} kB" >&3
	[ -z "${SANITIZE:-}" ] || skip "descriptors are the same; a sanitizer keeps freed memory, so that it cannot be compared"
	((rss_after[0] - rss_before[0] <= 128 && rss_after[1] - rss_before[1] <= 128))
}

# ---- peers/worker.py and peers/dispatcher.py: strangers that know fdkit-protocol(7) only ----

@test "a foreign worker serves fdserve, push and pull, beside a fdexec as well" {
	for how in listen connect; do
		rm -f addr s
		if [ $how = listen ]; then
			spawn worker.py listen s 2 foreign
			worker=$pid
			await_socket s
			serve
		else
			serve -l
			await_socket s
			spawn worker.py connect s 2 foreign
			worker=$pid
		fi
		eventually figure slots 2
		clients.py "$port" 50 8 | diff - <(seq -f 'foreign %g' 0 49)
		eventually figure slots 2
		figure accepted 50; figure acknowledged 50; figure returned 0
		if [ $how = connect ]; then
			spawn fdexec -c -j 2 s sh -c 'read -r n; echo "own $n"'
			eventually figure workers 2
			clients.py "$port" 50 8 >got
			sort -n -k 2 got | sed 's/.* //' | diff - <(seq 0 49)
			[ "$(cut -d ' ' -f 1 got | sort -u | paste -sd ' ')" = 'foreign own' ]
		fi
		kill "$server"
		ended "$server" 0
		kill "$worker" 2>/dev/null || true
	done
}

@test "a foreign worker that was stopped starts nothing that was taken back from it" {
	serve -l --ack-timeout 0.3
	await_socket s
	spawn worker.py connect s 4 foreign
	worker=$pid
	eventually figure slots 4
	kill -STOP "$worker"
	spawn fdexec -c -j 1 s sh -c 'read -r n; echo "own $n"'
	eventually figure slots 5
	clients.py "$port" 2 2 | sort | diff - <(printf 'own 0\nown 1\n')
	figure returned 2
	kill -CONT "$worker"
	eventually figure workers 2
	clients.py "$port" 2 2 | sort | diff - <(printf 'foreign 0\nforeign 1\n')
	figure acknowledged 4
}

@test "a foreign dispatcher is served by fdexec, push and pull, and by its own like" {
	for how in listen connect; do
		rm -f s port go log reply.*
		if [ $how = connect ]; then
			spawn fdexec -j 2 s sh -c "$(patient a)"
			worker=$pid
			await_socket s
			spawn dispatcher.py connect s 20 >port
			server=$pid
		else
			spawn dispatcher.py listen s 20 >port
			server=$pid
			await_socket s
			spawn fdexec -c -j 2 s sh -c "$(patient a)"
			worker=$pid
		fi
		eventually lines port 1
		port=$(cat port) at=127.0.0.1:$port
		hold 5
		eventually lines log 2
		eventually queued "$port" 3
		touch go
		eventually answered 5
		clients.py "$port" 50 8 | uniq -c | tr -s ' ' | diff - <(echo ' 50 a')
		lines log 55
		kill "$worker"
		ended "$worker" 0
		if [ $how = listen ]; then
			spawn worker.py connect s 2 foreign
			clients.py "$port" 20 4 | diff - <(seq -f 'foreign %g' 0 19)
		fi
		kill "$server"
		ended "$server"
		kill "$pid" 2>/dev/null || true
	done
}

@test "a dispatcher that can wait for done gets it once for each set, with other records or a little later" {
	spawn fdexec s true
	await_socket s
	local steps=()
	for id in {1..30}; do
		steps+=("1:fdkit/1 set fds=1 id=$id\n" "until:$( ((id > 15)) && echo "done" || echo taken) id=$id")
	done
	timeout 20 speak.py connect s 'hello late' 'until:slots' "${steps[@]}" shut hear </dev/null >heard
	grep "done" heard | sort -V | diff - <(printf 'fdkit/1 done id=%d\n' {1..30})
}

@test "fdexec -c answers on a channel whose number has changed, since its first set is no connection" {
	spawn timeout 20 speak.py listen s 'hello' 'until:slots' '1:fdkit/1 set fds=1 id=1\n' 'until:done id=1' \
		'1:fdkit/1 set fds=1 id=2\n' 'until:done id=2' </dev/null >heard
	speaker=$pid
	await_socket s
	spawn fdexec -q -c s true
	ended "$speaker" 0
	grep -c taken heard | grep -x 2
}

@test "fdserve can wait for done, unless it counts with -C what has ended" {
	spawn speak.py listen s hear accept hear >heard
	await_socket s
	for count in '' -C1; do
		spawn fdserve -q $count 127.0.0.1:0 s
		eventually lines heard $((${#count} ? 2 : 1))
		kill "$pid"
		ended "$pid" 0
	done
	printf 'fdkit/1 hello%s\n' ' late' '' | diff heard -
}

@test "a place whose command was taken back is offered again, to whoever is there by then" {
	need_strace
	# It gives a connection and goes; the command's acknowledgement, which is slow, finds nobody.
	spawn speak.py listen s hello 'until:slots n=2\n' '1:fdkit/1 set fds=1 id=1\n' \
		accept hello 'until:slots n=1' 'until:slots n=1' note:offered >said
	eventually listening s
	spawn strace -D -f -qq -o trace -e trace=sendto -e inject=sendto:delay_enter=500000 fdexec -c -j 2 s true
	eventually grep -x offered said
}

@test "a foreign dispatcher gives what a killed or a stopped fdexec had to another" {
	spawn dispatcher.py listen s 0.4 >port
	await_socket s
	eventually lines port 1
	port=$(cat port) at=127.0.0.1:$port
	for how in KILL STOP; do
		rm -f log reply.*
		spawn fdexec -c -j 4 s sh -c 'echo a >>log; echo a'
		a=$pid
		hold 1
		eventually answered 1
		kill -STOP "$a"
		hold 2
		spawn fdexec -c -j 1 s sh -c 'echo b >>log; echo b'
		b=$pid
		[ $how = STOP ] || kill -KILL "$a"
		eventually answered 3
		sort log | diff - <(printf 'a\nb\nb\n')
		kill "$b"
		ended "$b" 0
		if [ $how = STOP ]; then
			kill -CONT "$a"
			[ "$(clients.py "$port" 1 1)" = a ]
			lines log 4
		fi
	done
}
