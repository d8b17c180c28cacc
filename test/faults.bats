#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# faults.py lets every system call of the tools fail, and judges the outcome; faults.tsv has the exceptions.
# `FAULTS=all make check` tries every errno, every allocation, and last calls too.
# shellcheck disable=SC2154
load helper

@test "no failing system call leads to a hang, a spin, a lost descriptor or a silent end" {
	need_strace
	[ -z "${SANITIZE:-}" ] || skip "a sanitizer's runtime makes calls of its own, and does not survive theirs"
	"$PYTHON" "$BATS_TEST_DIRNAME/faults.py" "$BATS_TEST_DIRNAME/faults.tsv" >out 2>err || { cat out err >&2 && return 1; }
	cat out >&3
}

@test "without memory for more, a wrong word is still named" {
	need_strace
	[ -z "${SANITIZE:-}" ] || skip "a sanitizer's runtime does not survive without memory"
	export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=1
	strace -qq -o trace -e trace=mmap,brk fdsend -V
	exits 125 strace -qq -o trace -e trace=mmap,brk,write -e "inject=brk:error=ENOMEM:when=2+" \
		-e "inject=mmap:error=ENOMEM:when=$(($(grep -c '^mmap(' trace) - 1))+" fdsend s 0 2>err
	one_line err 0 'out of memory'
}

@test "help and version that cannot be printed are a failure with a reason" {
	for option in --help --version; do
		status=0
		fdsend $option >/dev/full 2>err || status=$?
		[ "$status" -eq 125 ]
		one_line err 'standard output' 'No space left'
	done
}

@test "a standard stream that is closed, and no /dev/null to take its place" {
	need_strace
	status=0
	strace -qq -o trace -e trace=openat -P /dev/null -e inject=openat:error=EMFILE fdrecv -c s true <&- 2>err || status=$?
	[ "$status" -eq 125 ]
	one_line err /dev/null 'Too many open files'
}

@test "exec: whose process cannot be made says so, and does not try for ever" {
	need_strace
	exits 125 strace -qq -o trace -e inject=clone,?clone3,?fork,?vfork:error=EAGAIN fdsend exec:true 2>err
	one_line err exec:true 'temporarily unavailable'
}

@test "a process that cannot be made is told of once, however often it is tried; what waits for it is served then" {
	need_strace
	failing=(strace -D -qq -o trace -e 'trace=clone,clone3,vfork' -e 'inject=clone,vfork:error=EAGAIN:when=1..4')
	injected() { [ "$(grep -c INJECTED trace)" -eq "$1" ]; }
	spawn "${failing[@]}" fdserve -q unix:s -- echo served 2>err
	await_socket s
	[ "$(talk unix:s </dev/null)" = served ]
	one_line err fdserve: echo 'temporarily unavailable'
	eventually injected 4
	spawn "${failing[@]}" fdexec -q w true 2>err
	await_socket w
	fdsend -t 10 w 0
	one_line err fdexec: true 'temporarily unavailable'
	eventually injected 4
}

@test "an address that cannot be told is not written" {
	need_strace
	exits 125 strace -qq -o trace -e trace=getsockname -e inject=getsockname:error=ENOBUFS fdserve -A addr 127.0.0.1:0 w 2>err
	one_line err addr 'buffer space'
	[ ! -e addr ]
}
