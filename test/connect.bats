#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# connect:ADDRESS: a fresh connection in the place of a received descriptor.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2086,SC2154
load helper

# serve ADDRESS COMMAND...: fdserve there; $at is what it is bound to.
serve() {
	rm -f addr
	spawn fdserve -q -A addr "$1" -- "${@:2}"
	at=$(bound addr)
}

# apart COMMAND...: in a network of its own, whose clients have the $ports, where the file hosts has the names, and a name server
# at 127.0.0.1 the others.
apart() {
	need_root
	unshare -nm true 2>/dev/null || skip "may not unshare"
	printf 'nameserver 127.0.0.1\noptions timeout:30\n' >resolv.conf
	unshare -nm sh -c 'ip link set lo up && mount --bind hosts /etc/hosts && mount --bind resolv.conf /etc/resolv.conf &&
		echo "$0" >/proc/sys/net/ipv4/ip_local_port_range && exec "$@"' "${ports:-32768 60999}" "$@"
}

# ---- where to ----

@test "COMMAND has the connection at 3, or with -i and -o at 0 and 1, and with -f elsewhere" {
	serve 127.0.0.1:0 cat
	for how in '3 3 fdrecv' '0 1 fdrecv -i -o' '7 7 fdrecv -f 7'; do
		read -r in out call <<<"$how"
		exits 0 $call "connect:$at" sh -c "echo hello >&$out; read -r line <&$in; echo \$line >&2" 2>got
		[ "$(cat got)" = hello ]
	done
	# It is blocking, nothing else is open, and no process is left.
	exits 0 fdrecv "connect:$at" sh -c 'cat /proc/$$/fdinfo/3 >flags; ls /proc/$$/fd' >got 3>&-
	[ $((0$(sed -n 's/^flags:[^0-9]*//p' flags) & 04000)) -eq 0 ]
	sh -c 'ls /proc/$$/fd' >before 3>&-
	diff <(grep -vx 3 got) before
}

@test "peer variables tell both ends of a TCP connection; unix: has the server's ids" {
	serve 127.0.0.1:0 cat
	exits 0 fdrecv -io "connect:localhost:${at##*:}" sh -c 'env >&2' 2>vars
	[ "$(value PROTO vars) $(value TCPREMOTEIP vars):$(value TCPREMOTEPORT vars)" = "TCP $at" ]
	[ "$(value REMOTE_ADDR vars):$(value REMOTE_PORT vars)" = "$at" ]
	[ "$(value TCPLOCALIP vars)" = 127.0.0.1 ]
	[ "$(value TCPLOCALPORT vars)" -gt 0 ]
	[ "$(value FDKIT_FDS vars) $(value FDKIT_PEER_UID vars)" = '0 1 ' ]
	serve unix:s cat
	exits 0 fdrecv -io connect:unix:s sh -c 'env >&2' 2>vars
	[ "$(value PROTO vars) $(value UNIXREMOTEPID vars) $(value UNIXREMOTEEUID vars)" = "UNIX $pid $(id -u)" ]
	[ "$(value FDKIT_PEER_PID vars) $(value FDKIT_PEER_UID vars) $(value FDKIT_PEER_GID vars)" = "$pid $(id -u) $(id -g)" ]
}

@test "unix:PATH, unix:@NAME, a path with a slash, a long one; sequenced packets and datagrams" {
	long=$(printf '%0120d' 0)
	mkdir "$long"
	for address in s "$PWD/s" @fdkit-$$ "$long/s" a:b; do
		serve "unix:$address" echo hello
		[ "$(fdrecv "connect:unix:$address" </dev/null)" = hello ]
		kill "$pid"
		ended "$pid" 0
	done
	serve ./s echo hello
	[ "$(fdrecv connect:./s </dev/null)" = hello ]
	for type in seqpacket dgram; do
		spawn meet.py -T $type listen $type report >seen
		eventually test -S $type
		exits 0 fdrecv -w 5 -T $type -m hello connect:unix:$type true
		eventually grep -q hello seen
	done
	exits 125 fdrecv connect:unix:seqpacket true 2>err
	one_line err 'fdrecv: connect:unix:seqpacket: '
}

@test "IPv6, and the name of a service" {
	need_ipv6
	serve '[::1]:0' echo hello
	[ "$(fdrecv "connect:$at" </dev/null)" = hello ]
	printf '127.0.0.1 here\n' >hosts
	[ "$(apart sh -c 'fdserve -q 127.0.0.1:http -- echo hello & fdrecv -w 5 connect:here:http; kill $!' </dev/null)" = hello ]
}

@test "without COMMAND both ways are copied; -m is sent first" {
	serve 127.0.0.1:0 cat
	[ "$(echo hello | fdrecv "connect:$at")" = hello ]
	printf 'a\0b\n' >file
	printf 'a\0b\nhello\n' >want
	echo hello | fdrecv --message-file file "connect:$at" | cmp - want
	[ "$(fdrecv -m 'hello
' -i "connect:$at" head -n 1)" = hello ]
}

# ---- several addresses, waiting ----

@test "each address of a name is tried, and one that does not answer holds up no other" {
	printf '127.0.0.2 here\n127.0.0.1 here\n127.0.0.3 here\n' >hosts          # looked up, 127.0.0.1 comes first
	got=$(apart sh -c '
		nowhere.py full 127.0.0.1 80 >full & full=$!
		until [ -s full ]; do sleep 0.02; done
		fdserve -q 127.0.0.3:80 -- echo hello & until fdrecv -w 5 connect:127.0.0.3:80; do :; done
		timeout 5 fdrecv connect:here:80
		fdrecv -t 0.3 connect:127.0.0.1:80; echo $?
		fdrecv -w 0.3 connect:127.0.0.1:80; echo $?
		kill $! $full' </dev/null 2>err)
	[ "$got" = $'hello\nhello\n124\n124' ]
	[ "$(grep -c 'fdrecv: connect:127.0.0.1:80: timed out' err)" -eq 2 ]
}

@test "nobody there is 125 with a hint; -w waits, and gives up with 124" {
	for address in unix:s ./s unix:@fdkit-none-$$ 127.0.0.1:1 localhost:1; do
		wrong "fdrecv: connect:$address: " fdrecv connect:$address
		grep -q -- '-w TIME waits' err
		exits 124 fdrecv -w 0.2 connect:$address 2>err
		one_line err "fdrecv: connect:$address: timed out"
	done
	exits 124 fdrecv -w 20 -t 0.2 connect:127.0.0.1:1 2>err
	spawn fdrecv -w 10 connect:unix:s cat >out
	eventually asleep "$pid" fdrecv
	client=$pid
	serve unix:s sh -c 'cat >&2' 2>got
	ended "$client" 0
}

@test "it never connects to itself, which would keep the server from its port" {
	: >hosts
	ports='40000 40001'
	status=0
	apart fdrecv -w 0.5 connect:127.0.0.1:40000 echo connected >out 2>err || status=$?
	[ "$status" -eq 124 ]
	[ ! -s out ]
	# The control: on this network a client may.
	got=$(apart python3 -c '
import socket
for _ in range(100):
    s = socket.socket()
    if s.connect_ex(("127.0.0.1", 40000)) == 0:
        print("itself")
        break' </dev/null)
	[ "$got" = itself ]
}

@test "looking up a name ends with -t and -w, and with a signal, and leaves no process" {
	: >hosts
	got=$(apart sh -c '
		nowhere.py names >names & names=$!
		until [ -s names ]; do sleep 0.02; done
		timeout 5 fdrecv -t 0.3 connect:somewhere.example:80; echo $?
		timeout 5 fdrecv -w 0.3 connect:somewhere.example:80; echo $?
		fdrecv connect:somewhere.example:80 & client=$!
		until pgrep -P $client; do sleep 0.02; done >child
		kill $client
		wait $client; echo $?
		timeout 5 sh -c "while kill -0 $(cat child); do sleep 0.02; done" 2>&1 || echo left
		kill $names' </dev/null 2>err)
	[[ $got == $'124\n124\n143\n'*'No such process' ]]
	grep -qx 'fdrecv: connect:somewhere.example:80: timed out: the name was not found in time' err
	[ "$(grep -c fdrecv err)" -eq 2 ]
}

@test "a name that is unknown is 125 at once; with -w it may still become known" {
	printf '127.0.0.1 here\n' >hosts
	got=$(apart sh -c '
		fdrecv connect:nowhere:80; echo $?
		fdserve -q 127.0.0.1:80 -- echo hello & server=$!
		fdrecv -w 10 connect:there:80 & client=$!
		until fdrecv -w 5 connect:here:80; do :; done
		echo "127.0.0.1 there" >>/etc/hosts
		wait $client
		kill $server' </dev/null 2>err)
	[ "$got" = $'125\nhello\nhello' ]
	one_line err 'fdrecv: connect:nowhere:80: '
}

# ---- who, and what does not apply ----

@test "-a: the server at a unix: address is checked" {
	second_uid
	spawn as_other fdserve -q -M 666 unix:s -- echo hello
	await_socket s
	spawn fdserve -q unix:t -- echo hello
	await_socket t
	exits 125 fdrecv connect:unix:s 2>err
	one_line err 'fdrecv: connect:unix:s: refused uid 65534 (-a 65534 allows it)'
	[ "$(fdrecv -a 65534 connect:unix:s </dev/null)" = hello ]
	[ "$(as_other fdrecv connect:unix:s </dev/null)" = hello ]
	[ "$(fdrecv connect:unix:t </dev/null)" = hello ]
}

@test "an ADDRESS that is none, and options that do not go with connect:, are said in a line" {
	for address in '' 80 host host: :80 '*:80' 127.0.0.1:0 127.0.0.1:00 '[::1]' ::1:80 '[::1:80' 127.0.0.1:99999 127.0.0.1:-1 127.0.0.1:no-such-service \
		fd:3 udp:127.0.0.1:53 unix: unix:@ exec:true ./missing/ /dev/null "unix:@$(printf '%0108d' 0)" '[1::g]:80'; do
		wrong "fdrecv: connect:$address: " fdrecv "connect:$address" true
	done
	exec 5>/dev/null
	for option in -c '-f log' '-f log=3' '-f 5,6' --all '-N 1' '-M 600' '-R 5' '--message-to m' '-a root' '-T dgram'; do
		wrong "fdrecv: ${option%% *}" fdrecv $option connect:127.0.0.1:1 true
	done
	for call in fdsend 'fdsend -l' fdrun fdexec 'fdexec -c' fdhold fdrelay 'fdserve unix:t' 'fdserve -L -l unix:t'; do
		wrong "${call%% *}: connect:127.0.0.1:1: connect: is for fdrecv and fdread alone" $call connect:127.0.0.1:1
	done
	wrong 'fdserve: connect:127.0.0.1:1: ' fdserve connect:127.0.0.1:1 s
	wrong 'fdhold: web=connect:127.0.0.1:1: ' fdhold s web=connect:127.0.0.1:1
}

@test "no descriptor is lost and no memory misused when it connects" {
	need_valgrind fdrecv
	serve 127.0.0.1:0 echo hello
	# shellcheck disable=SC2119
	valgrinded fdrecv "connect:localhost:${at##*:}" >out
	[ "$(cat out)" = hello ]
	valgrinded fdrecv -w 0.1 connect:localhost:1 2>err || [ "$?" -eq 124 ]
}
