#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# How COMMAND is begun: found before anything else, in a process that strangers' descriptors do not hold up, or in one
# that is made the plain way.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2154
load helper

# ---- found ----

# not_run STATUS REASON TOOL [ARG...]: it ends with STATUS and says REASON of COMMAND, which is the last word, and there is
# no socket.
not_run() {
	local want=$1 reason=$2
	shift 2
	exits "$want" timeout -k 1 5 "$@" </dev/null 2>err
	one_line err "$1: ${*: -1}: $reason"
	[ ! -e s ]
}

@test "a COMMAND that is not there, or cannot be run, is told at once by each tool: 127, 126" {
	: >plain
	mkdir -p bin/directory
	for command in ./nowhere nowhere nowhere/command plain/command ''; do
		not_run 127 '' fdrecv s "$command"
	done
	not_run 127 'No such file' fdrecv s -v
	for command in ./nowhere nowhere; do
		not_run 127 'No such file' fdexec s "$command"
		not_run 127 'No such file' fdexec -S 5 "$command"
		not_run 127 'No such file' fdserve unix:s -- "$command"
		not_run 127 'No such file' fdserve -L unix:s -- "$command"
	done
	for command in ./plain ./bin; do
		not_run 126 'Permission denied' fdrecv s "$command"
		not_run 126 'Permission denied' fdexec s "$command"
		not_run 126 'Permission denied' fdserve unix:s -- "$command"
		not_run 126 'Permission denied' fdserve -L unix:s -- "$command"
	done
	PATH=$PWD/bin:$PATH not_run 126 'Permission denied' fdrecv s directory
}

@test "nobody connects for a COMMAND that is not there" {
	spawn fdsend -l s 0
	await_socket s
	exits 127 fdrecv -c s ./nowhere 2>err
	exits 0 fdrecv -c s true
	ended "$pid" 0
}

@test "COMMAND is an absolute path, from the tool's directory and PATH" {
	mkdir sub
	printf '#!/bin/sh\necho "$0" >>seen\n' >here
	cp here sub/there
	chmod +x here sub/there
	for command in ./here sub/../here "$PWD/here"; do
		spawn fdrecv s "$command"
		exits 0 fdsend -w 5 s 0
		ended "$pid" 0
	done
	PATH=sub:$PATH spawn fdrecv s there
	exits 0 fdsend -w 5 s 0
	ended "$pid" 0
	printf "$PWD/%s\n" ./here sub/../here here sub/there | diff seen -
}

@test "COMMAND must be there for -u's USER: 126 before anything is opened" {
	need_root
	public
	cd "$pub"
	mkdir -m 700 own
	cp /bin/true own
	chmod 755 own/true
	for tool in 'fdexec -u nobody s' 'fdserve -u nobody unix:s --' 'fdserve -L -u nobody unix:s --'; do
		# shellcheck disable=SC2086
		exits 126 timeout 5 $tool own/true 2>err
		one_line err 'own/true: uid 65534: Permission denied'
		[ ! -e s ]
	done
}

# ---- limits ----

# limited N TOOL [ARG...]: the tool, and so COMMAND, with a soft limit of N open files.
limited() { spawn bash -c 'ulimit -Sn "$1"; shift; exec "$@"' bash "$@"; }

@test "fdrecv: more descriptors than COMMAND's soft limit are a failure that names it, on both sides" {
	limited 64 fdrecv s touch ran 2>err
	exits 125 fdsend -w 5 -f "$(copies 58)" s 2>refused
	ended "$pid" 125
	one_line err 'fdrecv: s: 58 descriptors' 'limit of 64 ' 'ulimit -n'
	one_line refused 'fdsend: s: ' 'limit of 64 '
	[ ! -e ran ]
	limited 64 fdrecv s sh -c 'ls >ran'
	exits 0 fdsend -w 5 -f "$(copies 57)" s
	ended "$pid" 0
	[ -s ran ]
	(ulimit -Sn 64 && wrong 64 fdrecv -f 64 s true)
}

@test "fdexec: more descriptors than COMMAND's soft limit are refused with a line, the next are served" {
	limited 64 fdexec s sh -c 'ls >ran' 2>err
	exits 125 fdsend -w 5 -f "$(copies 100)" s 2>refused
	one_line err 'fdexec: s: ' '100 descriptors' 'limit of 64 '
	one_line refused 'fdsend: s: ' 'limit of 64 '
	exits 0 fdsend -w 5 -f "$(copies 57)" s
	eventually test -s ran
}

@test "fdserve -L: more sockets than COMMAND's soft limit are a failure that names it" {
	run -125 --separate-stderr bash -c 'ulimit -Sn 16; exec fdserve -L "$@" -- touch ran' bash unix:{a..j}
	[[ ${#stderr_lines[@]} -eq 1 && $stderr == 'fdserve: touch: 10 descriptors'*'limit of 16 '* ]]
	[ ! -e ran ]
	[ ! -e a ]
}

# ---- strangers' descriptors ----

# stranger WHAT BYTES: somebody sends fdexec at s that with BYTES, and stays.
stranger() { spawn stuck.py send "$1" s 1 "$2"; }

# here N: fdexec at s takes standard output, and its COMMAND says "here" there, long before a stranger's time is over.
here() {
	quick fdsend s 1 >"out.$1"
	quick sh -c 'until grep -q here "$1"; do sleep 0.02; done' sh "out.$1"
}

@test "a stranger's unfinished set holds up no COMMAND, whatever -j is" {
	fuse "$PWD/mnt" FLUSH
	has_it() { find "/proc/$worker/fd" -lname "*/mnt/file" | grep -q .; }
	for jobs in 3 64; do
		spawn fdexec -q -j $jobs s sh -c 'echo here'
		worker=$pid
		await_socket s
		stranger "$stuck" 'fdkit/1 set fds=1 more\n'
		eventually has_it
		here 1
		here 2
		here 3
		kill "$worker"
		ended "$worker"
	done
}

@test "a set that blocks holds up its own COMMAND alone, though -R has left a low number" {
	fuse "$PWD/mnt" FLUSH
	spawn fdexec -v -R 9 s sh -c 'echo here' 9>ready 2>err
	worker=$pid
	await_socket s
	stranger "$stuck" '\0'
	eventually grep -q started err
	here 1
	here 2
	here 3
}

@test "a connection that cannot tell its ends holds up its own COMMAND alone" {
	fuse "$PWD/mnt" READ
	spawn fdexec -v s sh -c 'echo here' 2>err
	await_socket s
	stranger "locked:$stuck" '\0'
	eventually grep -q started err
	here 1
	here 2
	here 3
}

@test "COMMAND gets what the tool has inherited, low and high, and nothing of the tool's" {
	list='for n in /proc/$$/fd/*; do echo "${n##*/}"; done'
	sh -c "$list" >expected 7>seven 40>forty 3>&-
	spawn fdexec -o s sh -c "$list" 7>seven 40>forty
	for _ in 1 2 3 4 5 6; do
		exits 0 fdsend -w 5 s 1 >seen           # taken: COMMAND's output comes later
		eventually cmp expected seen || diff expected seen
	done
}

@test "a process that is killed before it takes its set: that is closed, and the next is served" {
	need_strace
	spawn fdexec -q s sh -c 'echo here' 2>err
	worker=$pid
	await_socket s
	spawn strace -qq -f -o trace -e trace=close_range -e inject=close_range:signal=KILL -p "$worker"
	tracer=$pid
	traced() { ! grep -q '^TracerPid:[[:space:]]0$' "/proc/$worker/status"; }
	eventually traced
	# What was sent is the only writer of the pipe: end of file shows that nobody has it any more.
	timeout 10 cat < <(fdsend -n s 1) >out
	[ ! -s out ]
	grep -q 'killed by SIGKILL' trace
	kill "$tracer"
	ended "$tracer"
	here 1
	here 2
	here 3
}

# ---- the plain way ----

# served_by_both: fdexec and fdserve, with the words of $wrapper before each, begin their commands, say why one cannot be
# begun, and end.
served_by_both() {
	spawn "${wrapper[@]}" fdexec -v s /bin/sh -c 'echo "here, $FDKIT_FDS"' 2>err
	for _ in 1 2 3; do [ "$(timeout 60 fdsend -w 30 s 1)" = 'here, 0 1 2' ]; done
	kill "$pid"
	ended "$pid" 0
	spawn "${wrapper[@]}" fdserve -q -A addr 127.0.0.1:0 -- /bin/sh -c 'echo "here, $PROTO"'
	for _ in 1 2 3; do [ "$(talk "$(bound addr)" </dev/null)" = 'here, TCP' ]; done
	kill "$pid"
	ended "$pid" 0
	cp /bin/true gone
	spawn "${wrapper[@]}" fdexec -q t ./gone 2>why
	await_socket t
	rm gone
	fdsend t 0
	eventually grep -q 'fdexec: ./gone: No such file' why
	kill "$pid"
	ended "$pid" 0
}

@test "where clone without vfork is refused, commands are begun by fork" {
	need_strace
	wrapper=(strace -D -qq -o trace -e trace=clone -e 'inject=clone:error=EINVAL:when=1')
	served_by_both
	[ "$(grep -c 'clone(.*CLONE_VM' trace)" -eq 1 ] # then no more
}

@test "where a table cannot be left, commands are begun by fork" {
	need_strace
	wrapper=(strace -D -qq -o trace -e trace=close_range -e inject=close_range:error=ENOSYS)
	served_by_both
	grep -q 'ENOSYS.*INJECTED' trace
}

@test "where too many descriptors are on their way, commands begin with a copy of the table" {
	need_strace
	wrapper=(strace -f -D -qq -o trace -e trace=sendmsg -e inject=sendmsg:error=ETOOMANYREFS)
	served_by_both
	grep -q 'ETOOMANYREFS.*INJECTED' trace
}

@test "valgrind: each way to begin a command, without an error in any process" {
	need_valgrind fdexec
	! grep -qa ld-musl "$(type -P fdexec)" || skip "valgrind cannot replace musl's malloc"
	wrapper=(valgrind -q --error-exitcode=99 --log-file=valgrind.%p)
	served_by_both
	ends_with_3() { exits 3 "${wrapper[@]}" "$@" sh -c "[ -n \"\$${variable:-HOME}\" ] && exit 3"; }
	ends_with_3 fdexec -q -S 7
	ends_with_3 fdserve -q -L unix:u --
	variable=a_PORT ends_with_3 fdserve -q --lease a=127.0.0.1:0 --
	variable=a_PORT ends_with_3 fdhold -q held a=127.0.0.1:0 --
	variable=FDKIT_FDS ends_with_3 fdrecv 'exec:fdsend fd:1 0'
	spawn "${wrapper[@]}" fdexec -q --args r sh -c
	exits 3 "${wrapper[@]}" fdrun -w 20 r 'exit 3'
	kill "$pid"
	ended "$pid" 0
	mkfifo wait
	spawn "${wrapper[@]}" fdserve -q -L -k kept=unix:k -- sh -c 'echo $$ >>begun; trap "exit 0" TERM; while :; do read -r _ <wait; done'
	eventually lines begun 1
	kill -HUP "$pid"
	eventually lines begun 2
	eventually gone "$(head -n 1 begun)"
	kill "$pid"
	ended "$pid" 0
	! grep -E '^==[0-9]+== ' valgrind.* || false
}

@test "qemu's user emulation: fdexec and fdserve begin commands" {
	command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64"
	cc='clang --target=aarch64-linux-gnu'
	echo 'int main(void) { return 0; }' >none.c
	$cc -static -o none none.c 2>/dev/null || skip "clang cannot link for aarch64"
	# It warns of getaddrinfo and the like, which want glibc's own files.
	make -s -C "$BATS_TEST_DIRNAME/.." BUILD="$PWD/arm" SANITIZE= STATIC=1 CC="$cc" "$PWD/arm/bin/fdexec" \
		"$PWD/arm/bin/fdserve" 2>warnings || { cat warnings; return 1; }
	mkdir emulated
	for tool in fdexec fdserve; do
		printf '#!/bin/sh\nexec qemu-aarch64 "%s" "$@"\n' "$PWD/arm/bin/$tool" >"emulated/$tool"
		chmod +x "emulated/$tool"
	done
	PATH=$PWD/emulated:$PATH
	wrapper=()
	served_by_both
}

@test "TERM ends fdserve though no process can be made for the connection that it has" {
	need_strace
	spawn strace -D -qq -o trace -e trace=clone,clone3,fork,vfork -e inject=clone,clone3,fork,vfork:error=EINVAL \
		fdserve -A addr 127.0.0.1:0 -- true 2>err
	at=$(bound addr)
	exec 8<>"/dev/tcp/${at%:*}/${at#*:}"
	eventually grep -q 'fdserve: true: ' err
	kill "$pid"
	ended "$pid" 0
	grep -q 'closed a connection' err
}
