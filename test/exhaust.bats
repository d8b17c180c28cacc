#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Every input up to some length, through the parsers, under the sanitizers; make exhaust takes longer ones.
# bats file_tags=heavy

load helper

@test "parsers: every short input is accepted or rejected as its rule says, and gives that value" {
	run make -s -C "$BATS_TEST_DIRNAME/.." exhaust SHORT=1 BUILD="$PWD/build" SANITIZE=
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(grep -cE '^[a-z]+ +[0-9]{5,}$' <<<"$output")" -eq 8 ]
}
