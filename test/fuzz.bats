#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What fuzzing found, and inputs that reach all that it reached, through the same harnesses without a fuzzer: as they
# are, and changed in ways that are the same in every run. make fuzz looks for more.

load helper

# replayed NAME MUTATIONS: the harness NAME finds nothing wrong; else the input is shown.
replayed() {
	local name=$1 files=("$BATS_TEST_DIRNAME/fuzz/corpus/$1"/*)
	PATH=$PATH:${BUILT:-$(dirname "$(type -P fdsend)")/..}/fuzz
	ulimit -c 0
	ASAN_OPTIONS=detect_leaks=1 run timeout 60 "replay-$name" "$2" "${files[@]}"
	echo "$output"
	if [ "$status" -ne 0 ]; then
		[ ! -e replaying ] || { echo "the input, in base64:"; base64 replaying; }
		return 1
	fi
	[ "$output" = "$((${#files[@]} * ($2 + 1))) inputs" ]
}

@test "the record form" { replayed record 10; }

@test "the dispatcher's side of the worker channel" { replayed dispatch 40; }

@test "the receiver's side" { replayed inbox 40; }

@test "what fdrelay carries" { replayed relay 10; }

@test "words in arguments and the environment" { replayed words 100; }
