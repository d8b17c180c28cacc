#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What --help says, beside the options of the manual page.
load helper

@test "--help fits into 80 columns, and explains every argument that it names" {
	for tool in fdsend fdrecv fdserve fdexec fdhold; do
		"$tool" --help >help
		awk -v tool="$tool" 'length > 80 { print tool ": " $0; bad = 1 } END { exit bad }' help
		sed -n '/^Arguments:/,/^$/s/^  \([A-Z]*\) .*/\1/p' help >explained
		words=$(sed '/^$/q' help | grep -owE 'SOCKET|COMMAND|ADDRESS|FD')
		words+=$(sed -nE 's/^  .{4}--[^ ]+ (TIME|WHO).*/ \1/p' help)
		for word in $words; do
			[ "$tool $word" = 'fdexec FD' ] || grep -qx "$word" explained || { echo "$tool: $word" && false; }
		done
		[ "$(cut -c 1-25 help | grep -c -- ' --')" -eq "$(cut -c 1-25 help | grep -oE -- '--[a-z-]+' | sort -u | wc -l)" ]
	done
}

@test "--help has one example, in the shell's language, and those of the one-shot commands run as they stand" {
	for tool in fdsend fdrecv fdserve fdexec fdhold; do
		example=$("$tool" --help | sed -n 's/^Example: //p')
		grep -qw "$tool" <<<"$example"
		bash -n <<<"$example"
	done
	echo 'buy milk' >notes.txt
	for tool in fdsend fdrecv; do
		"$tool" --help | sed -n 's/^Example: //p' >"$tool.sh"
		echo wait >>"$tool.sh"
		timeout 10 sh "$tool.sh" >"$tool.out"
	done
	diff notes.txt fdsend.out
	one_line fdrecv.out "$(date +%Y)"
}
