#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What README.md and the DESCRIPTION and EXAMPLES sections of the manual pages show is run as it stands: each
# block in an empty directory of its own, with sh -e (bash -e where that is its first line), which must succeed within 20 seconds. What
# it prints must be what the document says: in an ```output block after it, or in lines that
# begin with "# prints: ".
# shellcheck disable=SC2154  # the helper sets status
load helper

ROOT=$BATS_TEST_DIRNAME/..

# extract FILE: write every block of FILE to N.sh, N being its line, and what is to come of it to N.out.
extract() {
	# shellcheck disable=SC2016
	awk -v markdown="$([[ $1 == *.md ]] && echo 1)" '
		inside && /^```/ { if (out) close(out); out = ""; inside = 0; next }
		inside { if (out) print >out; next }
		/^```/ {
			inside = 1
			if (markdown && $0 == "```output") out = (after ? after ".out" : "")
			else if (markdown ? $0 == "```sh" : examples) { after = NR; out = NR ".sh" }
			else after = ""
			if (out) printf "" >out
			next
		}
		/^# / { examples = $0 == "# EXAMPLES" || $0 == "# DESCRIPTION" }
		NF { after = "" }' "$1"
	# In the source of a manual page a backslash stands before what is meant literally.
	[[ $1 == *.md ]] || sed -i 's/\\\(.\)/\1/g' ./*.sh
	for block in *.sh; do
		[ -e "${block%.sh}.out" ] || ! grep -q '^# prints: ' "$block" ||
			sed -n 's/^# prints: //p' "$block" >"${block%.sh}.out"
	done
}

# alone GROUP: nothing of this process group runs any more.
alone() { ! cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | awk -v g="$1" '$3 == g && $1 != "Z" { f = 1 } END { exit !f }'; }

# run_block N: its status is in $status; nothing that it started is left.
run_block() {
	local group shell=sh
	mkdir "$1"
	[ "$(head -n 1 "$1.sh")" != '#!/bin/bash' ] || shell=bash
	(cd "$1" && exec setsid timeout 20 "$shell" -e "../$1.sh" </dev/null >"../$1.got" 2>"../$1.err" 3>&-) &
	group=$!
	status=0
	wait "$group" || status=$?
	alone "$group" || kill -- "-$group" 2>/dev/null || true
	eventually alone "$group" || kill -KILL -- "-$group"
}

# runs_as_it_stands FILE
runs_as_it_stands() {
	local file=$1 n failed=0
	# The programs that the documents mean, whatever else has their names here.
	mkdir bin blocks
	ln -s "$PYTHON" bin/python3
	ln -s "$(command -v nc.openbsd)" bin/nc
	PATH=$PWD/bin:$PATH
	cd blocks || return
	extract "$file"
	ls ./*.sh >/dev/null || { echo "$file: no example found" >&2; return 1; }
	for block in *.sh; do
		n=${block%.sh}
		if grep -q '^enable -f fdread' "$block" && ! has_fdread; then
			echo "# ${file##*/}:$n: left out, fdread is not built here" >&3
			continue
		fi
		run_block "$n"
		if [ "$status" -ne 0 ]; then
			echo "${file##*/}:$n: this example ended with status $status:"
		elif [ -e "$n.out" ] && [ "$(cat "$n.got")" != "$(cat "$n.out")" ]; then
			echo "${file##*/}:$n: this example does not print what it says, but:"
			cat "$n.got"
		else
			continue
		fi
		failed=1
		sed 's/^/    /' "$block"
		sed 's/^/  stderr: /' "$n.err"
	done >&2
	return "$failed"
}

@test "README.md: the examples run as they stand" {
	runs_as_it_stands "$ROOT/README.md"
}

# recipe COMMAND: run it in an empty directory, with programs of its names; it must do what the table says.
recipe() {
	local command=${1//:80 /127.0.0.1:0 } sleeper
	command=${command/ date / date >unused }
	[[ $command != *./handler* ]] || command=${command/fdserve /fdserve -A addr }
	# shellcheck disable=SC2016
	program worker 'eval "exec cat <&${FDKIT_FDS%% *}"'
	# shellcheck disable=SC2016
	program server 'echo server $LISTEN_FDS'
	program tests 'env | grep -E "_PORT=[1-9]"'
	program handler 'echo handled'
	printf 'test:\n\t@echo made\n' >Makefile
	echo content >file
	spawn sleep 100 <file
	sleeper=$pid
	if [[ $command == *app.sock* ]]; then
		spawn fdrecv app.sock cat
		await_socket app.sock
	fi
	# shellcheck disable=SC2016
	PID=$sleeper spawn setsid timeout 20 sh -c "$command"$'\necho "$addr"\nwait' <file >out 2>err
	case $command in
	*addr=*) eventually grep -q '^127.0.0.1:' out ;;
	*./handler*) [ "$(talk "$(bound addr)" </dev/null)" = handled ] ;;
	*./worker*) eventually grep -qx content out ;;
	*./server*) eventually grep -qx 'server 1' out ;;
	*./tests*) eventually grep -q 'PORT=' out ;;
	*app.sock*)
		fdsend -w 5 box.sock <file || return
		eventually grep -q 'descriptor: file' err
		;;
	*make*) eventually grep -qx made out ;;
	*) eventually grep -q "$(date +%Y)" out ;;
	esac || { echo "$1: does not do what README says:" && cat err && return 1; } >&2
	alone "$pid" || kill -- "-$pid" || true
}

program() { printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod +x "$1"; }

# shellcheck disable=SC2016  # what sed reads
@test "README.md: each recipe of its table runs" {
	local command n=0
	while IFS= read -r command <&4; do
		mkdir "$((++n))"
		cd "$n"
		recipe "$command"
		cd "$BATS_TEST_TMPDIR"
	done 4< <(sed -nE '/^## I want to/,/^fdkit-cookbook/s/^\| [^`]*\| `([^`]*)`.*/\1/p' "$ROOT/README.md")
	[ "$n" -ge 14 ]
}

@test "README.md: what it links to is there; its picture comes from the output of the bench" {
	local link
	while read -r link; do
		[ -e "$ROOT/$link" ]
	done < <(grep -oP '\]\(\K[^)#]+' "$ROOT/README.md")
	cat >run.md <<-'END'
		2026-01-02: a machine

		Copying 512 MiB from a pipe to a pipe

		|           | GB/s |    × | own CPU ms/GB |    × | spread |
		| ---       | ---: | ---: |          ---: | ---: |   ---: |
		| C: splice | 2.14 | 1.00 |          75.3 | 1.00 |  ±37 % |
		| fdrecv    | 1.01 | 0.51 |           238 | 3.16 |   ±6 % |
		| cat <&> ~ | 1.01 | 0.51 |         1,431 | 10.0 |  ±36 % |
	END
	"$ROOT/test/bench/chart" run.md out.svg
	"$PYTHON" "$BATS_TEST_DIRNAME/peers/dots.py" out.svg >got
	diff got - <<-'END'
		C: splice 0.00
		fdrecv 0.50
		cat <&> ~ 1.00
	END
	grep -q '>2026-01-02: a machine<' out.svg
	exits 1 "$ROOT/test/bench/chart" "$ROOT/README.md" none.svg
	[ ! -e none.svg ]
	"$PYTHON" "$BATS_TEST_DIRNAME/peers/dots.py" "$ROOT/test/bench/chart.svg" >got
	grep -q 'fdkit: fdsend, fdrecv' got
}

@test "fdsend(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdsend.1.scd"
}

@test "fdrecv(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdrecv.1.scd"
}

@test "fdexec(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdexec.1.scd"
}

@test "fdserve(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdserve.1.scd"
}

@test "fdhold(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdhold.1.scd"
}

@test "fdrun(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdrun.1.scd"
}

@test "fdrelay(1): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdrelay.1.scd"
}

# Its examples are for bash, with the fdread of this build.
@test "fdread(1): the examples run as they stand" {
	need_fdread
	runs_as_it_stands "$ROOT/man/fdread.1.scd"
}

@test "fdkit(7): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdkit.7.scd"
}

@test "fdkit-protocol(7): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdkit-protocol.7.scd"
}

@test "fdkit-cookbook(7): the examples run as they stand" {
	runs_as_it_stands "$ROOT/man/fdkit-cookbook.7.scd"
}

@test "every manual page has its examples run above" {
	for page in "$ROOT"/man/*.scd; do
		grep -qF "man/${page##*/}\"" "$BATS_TEST_FILENAME" || { echo "${page##*/} is not run" >&2; return 1; }
	done
}
