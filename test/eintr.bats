#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# EINTR never shows: each system call that can wait fails with it the first time, the third,
# the fifth, while fdsend and fdrecv do all that they do.
# The helper sets pid and status.
# shellcheck disable=SC2030,SC2031,SC2154
load helper

# What can wait; ? before those that some architecture has not (recv and send: parts of socketcall on 32-bit x86).
waiting='?accept,accept4,connect,sendmsg,recvmsg,sendto,recvfrom,?recv,?send,?poll,ppoll,?select,?pselect6,?epoll_wait,?epoll_pwait,wait4,waitid,nanosleep,clock_nanosleep,flock'
interrupted=(strace -qq -o trace -e "trace=$waiting" -e "inject=$waiting:error=EINTR:when=1+2")

# While copying also these, and in children too. Not the first reads, which a loader or a sanitizer does.
copying=write,splice,sendfile,copy_file_range
copy_interrupted=(strace -f -qq -o trace -e "trace=read,$waiting,$copying"
	-e "inject=$waiting,$copying:error=EINTR:when=1+2" -e inject=read:error=EINTR:when=40+2)

# calm CALL...: nothing was said, and each of the calls was interrupted.
calm() {
	local call
	[ ! -s err ] || { cat err && return 1; } >&2
	for call; do
		grep -qE "^([0-9]+ +)?$call\(.*EINTR.*INJECTED" trace || { echo "no $call was interrupted" && cat trace && return 1; } >&2
	done
}

@test "fdrecv: waiting, accepting, receiving, then COMMAND" {
	need_strace
	echo pears >pears
	spawn "${interrupted[@]}" fdrecv -N 2 s sh -c 'cat <&3' >out 2>err
	exits 0 fdsend -1 -w 5 s 5 6 5<pears 6<pears
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	calm accept4 recvmsg 'p?poll'
}

@test "fdrecv: a silent peer, one that closes, then a descriptor; datagrams; sequenced packets" {
	need_strace
	spawn "${interrupted[@]}" fdrecv s true 2>err
	receiver=$pid
	await_socket s
	spawn meet.py connect s silent
	exits 0 meet.py connect s words
	exits 0 fdsend s
	ended "$receiver" 0
	one_line err without
	for type in dgram seqpacket; do
		spawn "${interrupted[@]}" fdrecv -T $type s true 2>err
		exits 0 fdsend -T $type -w 5 s
		ended "$pid" 0
		calm recvmsg
	done
}

@test "fdrecv -c: connecting, waiting, asking" {
	need_strace
	spawn "${interrupted[@]}" fdrecv -c -w 10 -m question s true 2>err
	exits 0 meet.py listen s asked >seen
	ended "$pid" 0
	grep question seen
	calm connect sendmsg recvmsg
}

@test "fdrecv exec:" {
	need_strace
	exits 0 "${interrupted[@]}" fdrecv 'exec:fdsend fd:1' true 2>err
	calm recvmsg
}

@test "fdrecv copies a file, a pipe, a socket" {
	need_strace
	seq 300000 >numbers
	spawn "${copy_interrupted[@]}" fdrecv s >out 2>err
	exits 0 fdsend -w 5 s <numbers
	ended "$pid" 0
	cmp numbers out
	calm recvmsg

	spawn sh -c '"$@" 2>err | cat >out' - "${copy_interrupted[@]}" fdrecv s
	exits 0 fdsend -w 5 s <numbers
	ended "$pid" 0
	cmp numbers out
	calm '(sendfile|splice|write)'

	spawn sh -c '"$@" 2>err | cat >out' - "${copy_interrupted[@]}" fdrecv s
	seq 300000 | exits 0 fdsend -w 5 s
	ended "$pid" 0
	cmp numbers out
	calm '(splice|write)'

	spawn "${copy_interrupted[@]}" fdrecv s <numbers >out 2>err
	exits 0 with.py pair 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && cat <&8 >&8'
	ended "$pid" 0
	cmp numbers out
	calm '(splice|sendfile|write)'

	spawn "${copy_interrupted[@]}" fdrecv s <numbers >out 2>err
	exits 0 with.py pty 7 8 sh -c 'fdsend -w 5 s 7 && exec 7>&- && head -n 300000 <&8 >&8'
	ended "$pid" 0
	cmp numbers out
	calm read write
}

@test "fdsend: connecting, sending, waiting until it was taken, printing the answer" {
	need_strace
	spawn meet.py listen s reply "$(seq 20000)" >seen
	await_socket s
	exits 0 "${interrupted[@]}" fdsend -1 s 0 0 0 0 0 >out 2>err
	seq 20000 | cmp -n 100000 - out
	[ "$(grep -c '^1 ' seen)" -eq 5 ]
	calm connect sendmsg 'recv(from|msg)?'
}

@test "fdsend: a full queue, the wait for a peer, datagrams, fd:N, exec:" {
	need_strace
	spawn meet.py listen s lazy >seen
	await_socket s
	exits 0 "${interrupted[@]}" fdsend -1 -f "$(copies 400)" s 2>err
	[ "$(grep -c '^1 ' seen)" -eq 400 ]
	calm sendmsg 'p?poll'
	rm s

	spawn "${interrupted[@]}" fdsend -w 10 s 2>err
	eventually grep INJECTED trace
	exits 0 fdrecv s true
	ended "$pid" 0
	calm connect

	spawn fdrecv -T dgram s true
	eventually test -S s
	exits 0 "${interrupted[@]}" fdsend -T dgram s 2>err
	calm sendmsg

	exits 0 with.py pair 7 8 sh -c 'fdrecv fd:8 true 7>&- & "$@" fdsend fd:7 8>&- 2>err' - "${interrupted[@]}"
	calm sendmsg

	exits 0 "${interrupted[@]}" fdsend 'exec:fdrecv fd:0 true' 2>err
	calm sendmsg
}

@test "fdsend -l, and -k until a signal" {
	need_strace
	spawn "${interrupted[@]}" fdsend -l s 2>err
	exits 0 fdrecv -c -w 5 s true
	ended "$pid" 0
	calm accept4 sendmsg

	spawn "${interrupted[@]}" fdsend -l -k s 2>err
	for _ in 1 2 3; do
		exits 0 fdrecv -c -w 5 s true
	done
	calm accept4 sendmsg 'p?poll'
	kill -TERM "$(children "$pid" | xargs)"
	ended "$pid" 0
	one_line err SIGTERM
}

@test "a timeout is not put off" {
	need_strace
	for tool in 'fdrecv s' 'fdsend -l s' 'fdsend -w 0.3 s'; do
		start=${EPOCHREALTIME/./}
		# shellcheck disable=SC2086
		exits 124 "${interrupted[@]}" ${tool/ / -t 0.3 } 2>err
		((${EPOCHREALTIME/./} - start < 5000000))
		one_line err ': s: '
		grep INJECTED trace
	done
}
