#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The library's closer (lib/closer.c), through a small program: test/peers/closer.c.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid.
# shellcheck disable=SC2016,SC2154

load helper

closer=${BUILT:-$(dirname "$(type -P fdsend)")/..}/peers/closer

@test "what blocks for ever is closed without waiting: the number is free, others are closed, and all ends" {
	fuse "$PWD/mnt" FLUSH
	exits 0 "$closer" "$stuck" 3 | cat >out
	diff out - <<<$'opened 3\nend of file, 3 free'
}

@test "one uid's descriptors that block hold up nobody else's" {
	fuse "$PWD/mnt" FLUSH
	exits 0 "$closer" "$stuck" 20 | cat >out
	diff out - <<<$'opened 20\nend of file, 8 free'
}

@test "what is kept when a tool ends does not keep it, nor what it has open" {
	fuse "$PWD/mnt" FLUSH
	exits 0 "$closer" -k "$stuck" 5 | cat >out
	diff out - <<<$'opened 5'
}

@test "a helper that is stuck keeps nothing open that COMMAND has, and is no child of COMMAND" {
	fuse "$PWD/mnt" FLUSH
	exits 0 "$closer" -e 'read -r c </proc/$$/task/$$/children; echo "COMMAND $c"' "$stuck" 3 | cat >out
	diff out - <<<$'opened 3\nend of file, 3 free\nCOMMAND '
}

@test "a tool that is killed leaves nothing open" {
	fuse "$PWD/mnt" FLUSH
	mkfifo fifo
	spawn cat fifo >out
	reader=$pid
	spawn "$closer" -w "$stuck" 3 >fifo
	eventually grep -q 'end of file' out
	kill -9 "$pid"
	ended "$reader" 0
}

@test "nothing is left when nothing blocks" {
	exits 0 "$closer" /dev/null 200 | cat >out
	diff out - <<<$'opened 200\nend of file, 200 free'
}
