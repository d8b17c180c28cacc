#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdserve --lease: ports for servers that take no socket. What stands in '...' is for the shell that COMMAND is.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

server=(ports.py serve)

# need_program NAME
need_program() { command -v "$1" >/dev/null || skip "no $1"; }

# ---- COMMAND ----

@test "COMMAND has HOST and PORT of the first address, and NAME_HOST and NAME_PORT of each named one" {
	HOST=mine fdserve --lease 127.0.0.1:0 web-1=127.0.0.1:0 '*:0' w6=:0 -- sh -c 'env | grep -E "(HOST|PORT)="' >vars
	sed 's/PORT=[1-9][0-9]*$/PORT=N/' vars | sort | diff - <(printf '%s\n' HOST=127.0.0.1 PORT=N w6_HOST=127.0.0.1 w6_PORT=N web_1_HOST=127.0.0.1 web_1_PORT=N)
	[ "$(grep -o 'PORT=[1-9][0-9]*$' vars | sort -u | wc -l)" -eq 3 ]
	need_ipv6
	fdserve --lease a='[::1]:0' b='[::]:0' c=0.0.0.0:0 -- sh -c 'echo $HOST $a_HOST $b_HOST $c_HOST' >got
	[ "$(cat got)" = "::1 ::1 ::1 127.0.0.1" ]
}

@test "COMMAND is a child with the descriptors, the mask and the environment that fdserve had" {
	look='ls /proc/self/fd; grep -E "Sig(Blk|Ign|Cgt)" /proc/self/status; echo $NOTIFY_SOCKET ${FDKIT_FDS-none} $(($(ulimit -n)))'
	NOTIFY_SOCKET=@mine sh -c "$look" >before
	FDKIT_FDS=3 NOTIFY_SOCKET=@mine fdserve -R 9 -A addr --lease 127.0.0.1:0 -- sh -c "$look" >after 9>ready
	diff before after
	[ ! -e addr ]
	[ ! -s ready ]
}

@test "fdserve ends as COMMAND ends" {
	exits 0 fdserve --lease 127.0.0.1:0 -- true
	exits 7 fdserve --lease 127.0.0.1:0 -- sh -c 'exit 7'
	exits 137 fdserve --lease 127.0.0.1:0 -- sh -c 'kill -9 $$'
	exits 127 fdserve --lease 127.0.0.1:0 -- ./none
	printf 'not a program' >file
	chmod +x file
	: >empty
	exits 126 fdserve --lease 127.0.0.1:0 -- ./empty
	# A shell notices what a signal has ended, so that ^C ends a script as well.
	run "$PYTHON" -c 'import subprocess, sys; print(subprocess.run(sys.argv[1:]).returncode)' fdserve --lease 127.0.0.1:0 -- sh -c 'kill -INT $$'
	[ "$output" = -2 ]
	run ls core*
	[ "$status" -ne 0 ]
}

@test "COMMAND gets the signals that fdserve gets" {
	for sig in HUP INT QUIT TERM USR1 USR2 WINCH ALRM; do
		spawn env --default-signal fdserve --lease 127.0.0.1:0 -- sh -c "trap 'echo $sig; exit 3' $sig; echo ready; while :; do sleep 0.01; done" >got-$sig
		eventually test -s got-$sig
		kill -s $sig "$pid"
		ended "$pid" 3
		[ "$(tail -n 1 got-$sig)" = $sig ]
	done
}

@test "what the terminal has sent to COMMAND, fdserve does not send again" {
	run timeout 20 interrupt.py fdserve --lease 127.0.0.1:0 -- interrupt.py
	[ "$status" -eq 5 ]
	[[ $output == *"interrupts 1" ]]
	# In a process group of its own it has not got it.
	run timeout 20 interrupt.py fdserve --lease 127.0.0.1:0 -- setsid interrupt.py 3>&-
	[[ $output == *"interrupts 1" ]]
}

@test "a terminal that hangs up tells fdserve, the leader of its session, alone: COMMAND gets HUP from fdserve" {
	run timeout -k 1 20 interrupt.py --hang-up fdserve --lease 127.0.0.1:0 -- sh -c 'trap "exit 6" HUP; echo ready; while :; do sleep 0.01; done' 3>&-
	[ "$status" -eq 6 ]
}

@test "--drain ends a COMMAND that does not end at TERM" {
	spawn env --default-signal fdserve --drain 0.05 --lease 127.0.0.1:0 -- sh -c 'trap "" TERM; trap "echo INT" INT; echo ready; while :; do sleep 0.01; done' >got
	eventually test -s got
	kill -INT "$pid"
	ended "$pid" 137
	printf '%s\n' ready INT | diff - got
	spawn fdserve --drain 0.05 --lease 127.0.0.1:0 -- sh -c 'trap "" INT; trap "echo TERM; exit 4" TERM; echo ready; while :; do sleep 0.01; done' >got
	eventually test -s got
	kill -INT "$pid"
	ended "$pid" 4
}

# ---- when each port has a listener ----

# announced HOST:PORT SERVER-HOST [OPTION...]: a server at SERVER-HOST, on the port leased at HOST:PORT, is seen, and a client reaches it.
announced() {
	local lease=$1 host=$2
	shift 2
	rm -f addr ready
	spawn fdserve -A addr -R 9 --lease "$lease" -- sh -c 'exec "$@" $PORT '"$*" - "${server[@]}" "$host" 9>ready
	eventually test -s ready || { echo "not announced: $lease, server at $host $*" >&2; return 1; }
	ports.py visit "$(sed 's/\*/127.0.0.1/; s/:[0-9]*$//; s/[][]//g; s/^::$/::1/' addr)" "$(grep -o '[0-9]*$' addr)"
	kill "$pid"
	ended "$pid" 143
	[ ! -e addr ]
}

# waits PID: how often it has waited.
waits() { awk '/^voluntary/ { print $2 }' "/proc/$1/status"; }
has_waited() { [ "$(waits "$1")" -ge "$2" ]; }

# looks_again PID: until fdserve has looked a few times more.
looks_again() { eventually has_waited "$1" $(($(waits "$1") + 4)); }

@test "-A and -R speak when the port has a listener, on that address or on a wildcard" {
	announced 127.0.0.1:0 127.0.0.1
	announced 127.0.0.1:0 0.0.0.0
	announced 0.0.0.0:0 127.0.0.1
	announced 0.0.0.0:0 0.0.0.0
	announced '*:0' 127.0.0.1
	announced :0 0.0.0.0
	announced localhost:0 "$(getent ahosts localhost | awk 'NR == 1 { print $1 }')"
}

@test "-A and -R see a listener in the other address family" {
	need_ipv6
	announced 127.0.0.1:0 :: dual
	announced 0.0.0.0:0 :: dual
	announced '[::1]:0' :: dual
	announced '[::1]:0' ::
	announced '[::]:0' ::1
	announced '*:0' :: dual
	exits 0 fdserve -A addr --lease '*:0' -- sh -c '"$@" $PORT & until [ -s addr ]; do sleep 0.01; done; kill $!' - "${server[@]}" ::1
}

@test "without sock_diag a listener is seen all the same" {
	need_strace
	# From its second use on: the first finds out whether there is sock_diag.
	for host in 127.0.0.1 0.0.0.0; do
		rm -f addr
		exits 0 strace -o trace -e trace=sendto,bind -e inject=sendto:error=EPERM fdserve -A addr --lease $host:0 -- \
			sh -c '"$@" $PORT & until [ -s addr ]; do sleep 0.01; done; kill $!' - "${server[@]}" 127.0.0.1
		[ "$(grep -c sendto trace)" -eq 1 ]
		grep -q 'bind.*EADDRINUSE' trace
	done
}

@test "a port is not announced before its server listens, nor before all others are" {
	mkfifo go
	spawn fdserve -v -A addr --lease a=127.0.0.1:0 b=127.0.0.1:0 -- sh -c '"$@" $a_PORT & echo $! >first; echo $a_PORT; exec "$@" $b_PORT late <go' - \
		"${server[@]}" 127.0.0.1 >got 2>err
	exec 8>go
	eventually grep bound got
	await_socket "$(head -n 1 got)"
	looks_again "$pid"
	[ ! -e addr ]
	exec 8>&-
	bound addr
	[ "$(cut -d = -f 1 addr | paste -sd ' ')" = "a b" ]
	[ "$(grep -c 'listening$' err)" -eq 2 ]
	kill "$(cat first)"
}

@test "a server of another address family that is not reached from there is not announced" {
	need_ipv6
	spawn fdserve -A addr --lease '[::1]:0' -- sh -c 'echo $PORT; exec "$@" $PORT' - "${server[@]}" 127.0.0.1 >got
	eventually test -s got
	await_socket "$(cat got)"
	looks_again "$pid"
	[ ! -e addr ]
}

@test "one line starts a server and gives its address: -A - -R 1" {
	addr=$(fdserve -A - -R 1 --lease 127.0.0.1:0 -- sh -c 'echo $$ >pid; exec "$@" $PORT' - "${server[@]}" 127.0.0.1 3>&- &)
	ports.py visit "${addr%:*}" "${addr#*:}"
	[ "$(readlink "/proc/$(cat pid)/fd/1")" = /dev/null ]
	kill "$(cat pid)"
	eventually gone "$(cat pid)"
}

@test "-A waits for the reader of a FIFO, and COMMAND meanwhile for nothing" {
	mkfifo addr
	spawn fdserve -A addr -R 9 --lease 127.0.0.1:0 -- sh -c 'echo $PORT; exec "$@" $PORT' - "${server[@]}" 127.0.0.1 >got 9>ready
	eventually test -s got
	await_socket "$(cat got)"
	[ ! -s ready ]
	[ "$(timeout 10 cat addr)" = "127.0.0.1:$(cat got)" ]
	eventually test -s ready
	kill "$pid"
	ended "$pid" 143
}

@test "an address file that cannot be written ends COMMAND: status 125" {
	mkdir d
	spawn fdserve -A d/addr --lease 127.0.0.1:0 -- sh -c 'rmdir d; exec "$@" $PORT' - "${server[@]}" 127.0.0.1 2>err
	ended "$pid" 125
	one_line err 'fdserve: -A d/addr: No such file'
	# --drain ends one that does not end at TERM.
	mkdir d
	spawn fdserve -A d/addr --drain 0.05 --lease 127.0.0.1:0 -- sh -c 'trap "" TERM; rmdir d; exec "$@" $PORT' - "${server[@]}" 127.0.0.1 2>>err
	ended "$pid" 125
	lines err 2
}

# ---- who gets the port ----

@test "40,000 binds of port 0 beside a lease: none of them gets its port" {
	need_root
	# In a network of 32 ports every one comes up, many times over.
	net='ip link set lo up && echo "40000 40031" >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
	unshare -n sh -c "$net" - fdserve --lease a=127.0.0.1:0 b=0.0.0.0:0 c=:0 -- sh -c 'for port in $a_PORT $b_PORT $c_PORT; do "$@" $port 40000; done' - \
		ports.py grab >got
	printf '%s\n' 0 0 0 | diff - got
	got=$(unshare -n sh -c "$net" - ports.py grab 40007 40000)
	[ "$got" -gt 100 ]
}

@test "100 leases at once: a server at each, each with a port of its own" {
	need_program busybox
	for i in {1..100}; do
		mkdir "$i"
		echo "$i" >"$i/page"
		spawn fdserve -q -A "addr-$i" --lease 127.0.0.1:0 -- sh -c 'exec busybox httpd -f -p 127.0.0.1:$PORT -h "$1"' - "$i"
	done
	for i in {1..100}; do
		[ "$(curl -s "http://$(bound "addr-$i")/page")" = "$i" ]
	done
	[ "$(sort -u addr-* | wc -l)" -eq 100 ]
}

@test "one fdserve leases 100 ports" {
	addresses=()
	for i in {1..100}; do addresses+=("p$i=127.0.0.1:0"); done
	fdserve --lease "${addresses[@]}" -- env >got
	[ "$(grep -c '^p[0-9]*_PORT=' got)" -eq 100 ]
	[ "$(grep '^p[0-9]*_PORT=' got | cut -d = -f 2 | sort -u | wc -l)" -eq 100 ]
}

@test "plain binds fail at a leased port; a server with SO_REUSEADDR gets it" {
	fdserve --lease 127.0.0.1:0 -- sh -c '"$@" $PORT 2>err; echo $?; "$@" $PORT reuse; echo $?' - ports.py take 127.0.0.1 >got
	printf '%s\n' 1 0 | diff - got
	one_line err 'Address already in use'
}

# a_lease: fdserve --lease of a free port, which is in $port then.
a_lease() {
	rm -f port
	spawn fdserve --lease 127.0.0.1:0 -- sh -c 'echo $PORT >p; mv p port; exec sleep 60'
	eventually test -s port
	port=$(cat port)
}

@test "a second lease of the same port fails" {
	a_lease
	for host in 127.0.0.1 0.0.0.0 '*' ''; do
		wrong "$host:$port: Address " fdserve --lease "$host:$port" -- true
	done
	fdserve --lease "127.0.0.2:$port" -- true
	kill "$pid"
	ended "$pid"
	fdserve --lease "127.0.0.1:$port" -- true
	wrong "127.0.0.1:$port: Address " fdserve --lease "a=127.0.0.1:$port" "b=127.0.0.1:$port" -- true
}

@test "a port where somebody listens is not leased" {
	spawn fdserve -A addr 127.0.0.1:0 -- true
	at=$(bound addr)
	wrong "$at: Address " fdserve --lease "$at" -- true
	wrong ': Address ' fdserve --lease "*:${at#*:}" -- true
}

# left_behind: $port, where connections of an earlier server wait in TIME_WAIT.
left_behind() {
	exits 0 fdserve -A addr --lease 127.0.0.1:0 -- sh -c '"$@" $PORT & until [ -s addr ]; do sleep 0.01; done; ports.py visit $HOST $PORT; echo $PORT >port; kill $!' - \
		"${server[@]}" 127.0.0.1
	port=$(cat port)
	awk -v p="$(printf ':%04X' "$port")" '$4 == "06" && substr($2, 9) == p { f = 1 } END { exit !f }' /proc/net/tcp
	if ports.py take 127.0.0.1 "$port" 2>/dev/null; then return 1; fi
}

@test "a port with connections in TIME_WAIT is leased, but not twice" {
	left_behind
	announced "127.0.0.1:$port" 127.0.0.1
	spawn fdserve --lease "127.0.0.1:$port" -- sh -c 'echo >begun; exec sleep 60'
	eventually test -s begun
	# The kernel lists sockets that are bound and do not listen since 6.8.
	uname -r | awk -F. '{ exit $1 < 6 || ($1 == 6 && $2 < 8) }' || skip "kernel before 6.8"
	for host in 127.0.0.1 0.0.0.0 '*'; do
		wrong ': Address ' fdserve --lease "$host:$port" -- true
	done
}

# ---- real servers ----

# serves ASK COMMAND...: COMMAND's server, on a leased port, is announced and answers `ASK PORT`; PATTERN is in that.
serves() {
	local ask=$1 pattern=$2
	shift 2
	rm -f addr
	spawn fdserve -A addr --lease 127.0.0.1:0 -- "$@" >server.log 2>&1
	bound addr || { cat server.log >&2; return 1; }
	sh -c "$ask" - "$(grep -o '[0-9]*$' addr)" | grep -q "$pattern" || { cat server.log >&2; return 1; }
	kill "$pid" 2>/dev/null || true # some end with their first client
	ended "$pid"
	[ ! -e addr ]
}

@test "redis serves on a leased port" {
	need_program redis-server
	serves 'redis-cli -p $1 ping' PONG sh -c 'exec redis-server --port $PORT --save ""'
	serves 'redis-cli -p $1 ping' PONG sh -c 'exec redis-server --bind $HOST --port $PORT --save ""'
}

@test "memcached serves on a leased port" {
	need_program memcached
	serves 'printf "version\r\nquit\r\n" | nc 127.0.0.1 $1' VERSION sh -c 'exec memcached -u "$(id -un)" -l $HOST -p $PORT -U 0'
	serves 'printf "version\r\nquit\r\n" | nc 127.0.0.1 $1' VERSION sh -c 'exec memcached -u "$(id -un)" -p $PORT -U 0'
}

@test "PostgreSQL serves on a leased port" {
	bin=$(echo /usr/lib/postgresql/*/bin)
	[ -x "${bin##* }/postgres" ] || skip "no PostgreSQL"
	need_root
	PATH=${bin##* }:$PATH
	public
	cd "$pub"
	as_other initdb -D data -A trust -N -U me >initdb.log
	spawn as_other fdserve -A addr --lease 127.0.0.1:0 -- sh -c 'exec postgres -D data -h $HOST -p $PORT -k "$PWD" -F' >log 2>&1
	bound addr || { cat log >&2; return 1; }
	eventually psql -h 127.0.0.1 -p "$(grep -o '[0-9]*$' addr)" -U me -Atc 'select 6*7' postgres
	[ "$(psql -h 127.0.0.1 -p "$(grep -o '[0-9]*$' addr)" -U me -Atc 'select 6*7' postgres)" = 42 ]
	kill -INT "$pid"
	ended "$pid" 0
}

@test "python3 -m http.server, node, nc, gunicorn, nginx and lighttpd serve on a leased port" {
	echo hello >page
	fetch='curl -s http://127.0.0.1:$1/page'
	serves "$fetch" hello sh -c 'exec "$0" -m http.server $PORT' "$PYTHON"
	serves "$fetch" hello sh -c 'exec "$0" -m http.server -b $HOST $PORT' "$PYTHON"
	need_program node
	serves "$fetch" hello sh -c 'exec node -e "require(\"http\").createServer((q, a) => a.end(\"hello\")).listen(process.env.PORT)"'
	need_program nc.openbsd
	serves 'nc.openbsd -d 127.0.0.1 $1' hello sh -c 'echo hello | nc.openbsd -l -N $HOST $PORT'
	need_program lighttpd
	serves "$fetch" hello sh -c 'echo "server.document-root = \"$PWD\" server.bind = \"$HOST\" server.port = $PORT" >l.conf; exec lighttpd -D -f l.conf'
	need_program gunicorn
	printf 'def app(e, start):\n    start("200 OK", [])\n    return [b"hello"]\n' >app.py
	serves "$fetch" hello sh -c 'exec gunicorn -b $HOST:$PORT app:app'
	need_program nginx
	serves "$fetch" hello sh -c 'echo "daemon off; pid n.pid; events {} http { access_log off; server { listen $HOST:$PORT; return 200 hello; } }" >n.conf; exec nginx -p "$PWD" -e n.log -c n.conf'
}

@test "servers that do not set SO_REUSEADDR do not get it, and fdserve(1) says what to do" {
	run fdserve --lease 127.0.0.1:0 -- sh -c 'exec socat -u TCP-LISTEN:$PORT -'
	[[ $output == *"Address already in use"* ]]
	serves 'echo | nc -N 127.0.0.1 $1; echo ok' ok sh -c 'exec socat -u TCP-LISTEN:$PORT,reuseaddr -'
	run fdserve --lease 127.0.0.1:0 -- sh -c 'exec "$0" -c "import os, socketserver; socketserver.TCPServer((\"\", int(os.environ[\"PORT\"])), None)"' "$PYTHON"
	[[ $output == *"Address already in use"* ]]
	listener='$s = IO::Socket::INET->new(Listen => 5, LocalPort => $ENV{PORT}, @ARGV) or die $!; $s->accept'
	run fdserve --lease 127.0.0.1:0 -- perl -MIO::Socket -e "$listener"
	[[ $output == *"Address already in use"* ]]
	serves 'echo | nc -N 127.0.0.1 $1; echo ok' ok perl -MIO::Socket -e "$listener" ReuseAddr 1
	git init -q --bare repo.git
	run fdserve --lease 127.0.0.1:0 -- sh -c 'exec git daemon --listen=$HOST --port=$PORT --export-all --base-path=.'
	[ "$status" -ne 0 ]
	serves 'git ls-remote git://127.0.0.1:$1/repo.git; echo ok' ok sh -c 'exec git daemon --reuseaddr --listen=$HOST --port=$PORT --export-all --base-path=.'
}

# ---- what does not go together ----

@test "--lease takes TCP ports only, and names that make variables" {
	for address in unix:s ./s fd:0 udp:127.0.0.1:0; do
		wrong "$address: --lease" fdserve --lease "$address" -- true
	done
	wrong 'fdserve: FDKIT: ' fdserve --lease FDKIT=127.0.0.1:0 -- true
	wrong 'fdserve: 1: ' fdserve --lease 1=127.0.0.1:0 -- true
	wrong 'fdserve: a_b: ' fdserve --lease a-b=127.0.0.1:0 a_b=127.0.0.1:0 -- true
	wrong 'fdserve: a: ' fdserve --lease a=127.0.0.1:0 a=127.0.0.1:0 -- true
}

@test "-u: COMMAND is USER, and the port was bound before; USER writes the address file" {
	need_root
	public
	cd "$pub"
	port=$(unshare -n sh -c 'ip link set lo up && exec "$@"' - fdserve -u 65534:65534 --lease 127.0.0.1:80 -- sh -c 'echo $PORT $(id -u)')
	[ "$port" = "80 65534" ]
	exits 0 fdserve -u 65534:65534 -A addr --lease 127.0.0.1:0 -- \
		sh -c 'nc -l 127.0.0.1 $PORT & until [ -s addr ]; do sleep 0.01; done; stat -c %u addr >owner; kill $!'
	[ "$(cat owner)" = 65534 ]
	[ ! -e addr ]
}
