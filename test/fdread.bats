#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdread, the builtin of bash: descriptors for the running shell.
# What stands in '...' is for that shell; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# shell SCRIPT [ARG...]: run SCRIPT in a bash that has fdread.
shell() {
	bash -c 'enable -f fdread fdread || exit 99; '"$1" bash "${@:2}"
}

# nobody: no process of fdrecv's is left that a shell here started.
nobody() {
	local p
	for p in $(pgrep -x fdrecv); do
		[ "$(readlink "/proc/$p/cwd")" != "$PWD" ] || return 1
	done
}

# ---- what arrives ----

@test "each VAR gets a number from 10 on, open in the shell and in its commands" {
	need_fdread
	echo pears >notes
	spawn fdsend -w 5 s 0 1 2 <notes >to-one 2>to-two
	shell 'fdread s a b c && read -r line <&$a && echo "$line" && cat /proc/self/fd/$a && (echo one >&$b) && echo two >&$c &&
		[ $a -ge 10 ] && [ $b -gt $a ] && [ $c -gt $b ] && exec {a}>&- {b}>&- {c}>&-' >out
	ended "$pid" 0
	printf 'pears\npears\n' | diff - out
	[ "$(cat to-one to-two)" = $'one\ntwo' ]
	# Nothing else is open.
	spawn fdsend -w 5 s 0
	shell 'before=(/proc/$$/fd/*); fdread s a && exec {a}>&-; after=(/proc/$$/fd/*); [ "${before[*]}" = "${after[*]}" ]' 3>&-
	ended "$pid" 0
}

@test "FDKIT_MESSAGE and FDKIT_PEER_* are set, not exported, and unset where there is none" {
	need_fdread
	spawn fdsend -w 5 -m 'hello,  there' s 0
	FDKIT_MESSAGE=old FDKIT_PEER_PID=1 shell 'fdread s a; echo "$FDKIT_MESSAGE $FDKIT_PEER_PID $FDKIT_PEER_UID $FDKIT_PEER_GID"; env' >out
	ended "$pid" 0
	[ "$(head -n 1 out)" = "hello,  there $pid $(id -u) $(id -g)" ]
	! grep ^FDKIT_ out || false
	spawn fdsend -w 5 s 0
	FDKIT_MESSAGE=old shell 'fdread s a; echo "${FDKIT_MESSAGE-unset}"; fdread "exec:exec fdsend fd:1 0" a; echo "${FDKIT_PEER_UID-unset}"' >out
	printf 'unset\nunset\n' | diff - out
	head -c 32768 /dev/zero | tr '\0' x >long
	spawn fdsend -w 5 --message-file long s 0
	shell 'fdread s a; printf %s "$FDKIT_MESSAGE"' | cmp - long
	printf 'a\0b' >nul
	spawn fdsend -w 5 --message-file nul s 0
	[ "$(shell 'fdread --message-to got s a; echo "${FDKIT_MESSAGE-unset}"')" = unset ]
	cmp nul got
}

@test "a conversation on one connection: connect:ADDRESS" {
	need_fdread
	spawn fdserve -q unix:u -- sh -c 'while read -r line; do echo "got $line"; done'
	spawn fdserve -q -A addr 127.0.0.1:0 -- cat
	shell 'fdread -w 5 connect:unix:u peer && for word in one two; do echo $word >&$peer; read -r line <&$peer; echo "$line"; done
		exec {peer}>&-; fdread -m "first
" "connect:$1" peer && echo second >&$peer && read -r a <&$peer && read -r b <&$peer && echo "$a $b"' "$(bound addr)" >out
	diff - out <<-END
		got one
		got two
		first second
	END
}

@test "-c, -f NAME, --all and -N: as with fdrecv" {
	need_fdread
	echo pears >pears
	echo plums >plums
	spawn fdhold h
	exits 0 fdsend -w 5 h b=0 <pears
	exits 0 fdsend h a=0 <plums
	shell 'fdread -c -f b,a h x y && cat <&$x && cat <&$y; fdread -c --all h x y z || echo $?; fdread -c --all h x y && cat /proc/self/fd/$x' >out 2>err
	diff - out <<-END
		pears
		plums
		125
		plums
	END
	one_line err 'fdread: h: too few descriptors came (2 of 3)'
	spawn fdsend -w 5 -1 s 0 0 0 <pears
	shell 'fdread -N 2 s x y && cat <&$y' >out
	diff out pears
}

@test "three hundred descriptors" {
	need_fdread
	spawn fdsend -w 5 -f "$(copies 300)" s
	shell 'fdread s v[{1..300}] && for n in "${v[@]}"; do [ -e /proc/$$/fd/$n ] || echo missing; done; ls -l /proc/self/fd/${v[299]} >/dev/null || echo closed; echo ${#v[@]} $(printf "%s\n" "${v[@]}" | sort -u | wc -l)' >out
	ended "$pid" 0
	[ "$(cat out)" = '300 300' ]
}

@test "QMP: a greeting, commands, and a descriptor with one of them, on one connection" {
	need_fdread
	spawn qmp.py q >seen
	echo pears >notes
	shell '
		ask() { echo "$1" >&$qmp; read -r answer <&$qmp; echo "${answer%?}"; }
		fdread -w 5 connect:unix:q qmp; read -r greeting <&$qmp; echo "${greeting%%:*}"
		ask "{\"execute\":\"qmp_capabilities\"}"
		ask "{\"execute\":\"getfd\"}"
		fdsend -n -m "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"disk\"}}" fd:$qmp 5 5<notes; read -r answer <&$qmp; echo "${answer%?}"' >out
	ended "$pid" 0
	diff - out <<-'END'
		{"QMP"
		{"return": {}}
		{"error": {"class": "GenericError", "desc": "No file descriptor supplied via SCM_RIGHTS"}}
		{"return": {}}
	END
	[ "$(cat seen)" = 'disk pears' ]
}

# ---- failures ----

@test "the statuses and messages are fdrecv's; nothing is open or assigned then" {
	need_fdread
	touch regular
	shell '
		try() { local v=old w=old before after got; before=(/proc/$$/fd/*); fdread "$@"; got=$?; after=(/proc/$$/fd/*); echo "$got $v $w"; [ "${before[*]}" = "${after[*]}" ] || echo "$1: ${after[*]}"; }
		try -t 0.1 s v
		try -c s v
		try -c -w 0.1 s v
		try -t 1x s v
		try -i s v
		try --raw s v
		try --no-pid s v
		try -f 5 -c s v
		try -f a,b -c s v
		try -N 2 s v
		try s
		try
		try --fdread=1 s v
		try regular v
		try connect:127.0.0.1:1 v
		ulimit -Sn 25; try s v{1..20}' >out 2>err 3>&-
	printf '%s old old\n' 124 125 124 125 125 125 125 125 125 125 125 125 125 125 125 125 | diff - out
	diff - <(sed 's|^[a-z]*: line [0-9]*: ||; s|/[^ ]*/bin|$1/bin|' err) <<-'END'
		fdread: s: timed out: no descriptor came in time
		fdread: s: No such file or directory (-w TIME waits)
		fdread: s: timed out (nobody listens there)
		fdread: -t 1x: not a time (its suffix may be ms, s, m or h)
		fdread: invalid option -- 'i'
		fdread: unrecognized option '--raw'
		fdread: unrecognized option '--no-pid'
		fdread: -f 5: the shell chooses the number
		fdread: -f: 2 names for 1 VAR
		fdread: -N 2: there are 1 VAR
		fdread: VAR is missing (--help shows how to call it)
		fdread: SOCKET is missing (--help shows how to call it)
		fdread: unrecognized option '--fdread=1'
		fdread: regular: not a socket
		fdread: connect:127.0.0.1:1: Connection refused (nobody listens there; -w TIME waits)
		fdread: $1/bin/fdrecv: Too many open files
	END
}

@test "too few and too many: the sender is told, and has its descriptors still" {
	need_fdread
	for n in 1 3; do
		spawn fdsend -w 5 -f "$(copies $n)" s 2>sent
		shell 'fdread s a b; echo $? ${a-unset}' >out 2>err
		ended "$pid" 125
		[ "$(cat out)" = '125 unset' ]
		one_line err 'fdread: s: too ' " descriptors came ($n "
		one_line sent 'refused: too '
	done
}

@test "a VAR that cannot be set is said before anything is received" {
	need_fdread
	while IFS='|' read -r before var; do
		shell "$before; fdread -t 0.1 s $var; echo \$?; [ ! -e s ]" >out 2>err
		[ "$(cat out)" = 125 ]
		one_line err ": fdread: "
	done <<-'END'
		:|1x
		:|a-b
		:|''
		readonly r|r
		readonly r|'r[1]'
		:|a a
		:|UID
		:|'a['
	END
	shell 'f() { fdread -t 0.1 s $1; }; f; echo $?' >out 2>err
	[ "$(cat out)" = 125 ]
}

@test "help fdread, --help, --version, and the words of the manual page" {
	need_fdread
	shell 'help fdread' | grep -q 'fdread \[options\] SOCKET VAR'
	shell 'fdread --help; fdread -h | wc -l; fdread --version' >out
	grep -qx 'usage: fdread \[options\] SOCKET VAR...' out
	grep -qx 'fdread (fdkit) [0-9.]*' out
	sed -nE '/^# OPTIONS/,/^# [^O]/s/^(\*-.*)/\1/p' "$BATS_TEST_DIRNAME/../man/fdread.1.scd" | grep -oE '\*-[^*]+\*' | tr -d '*' | sort -u >page
	sed -nE 's/^  (-., |    )(--[^ ]+) .*/\1\2/p' out | tr -d ',' | tr -s ' ' '\n' | grep . | sort >named
	diff page named
	awk 'length > 80 { exit 1 }' out
}

# ---- in the shell's life ----

@test "functions, local variables, arrays, references, subshells, substitutions, coprocesses, loops, set -e" {
	need_fdread
	echo pears >pears
	spawn fdsend -q -l -k s 0 <pears
	shell '
		set -eu
		f() { local v; fdread -c -w 5 s v; [ -e /proc/$$/fd/$v ]; exec {v}>&-; }; f; echo "${v-unset}"
		fdread -c s "a[2]"; echo ${#a[@]}
		declare -A h; fdread -c s "h[x y]"; echo "${!h[@]}"
		declare -n ref=target; fdread -c s ref; [ "$target" -ge 10 ]
		declare -i n; fdread -c s n; [ "$n" -ge 10 ]
		(fdread -c s sub; cat /proc/self/fd/$sub); echo "${sub-unset}"
		echo "$(fdread -c s sub; cat /proc/self/fd/$sub)"
		coproc cat; fdread -c s v; cat /proc/self/fd/$v >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo "$line"
		printf "one\ntwo\n" | while read -r line; do fdread -c s v; echo "$line"; done
		if fdread -t 0.1 none v 2>/dev/null; then echo never; fi
		fdread -t 0.1 none v 2>/dev/null || echo $?
		X=1 fdread -c s v; echo "${X-unset}"
		fdread -t 0.1 none v 2>/dev/null
		echo never' >out && status=0 || status=$?
	[ "$status" -eq 124 ]
	printf '%s\n' unset 1 'x y' pears unset pears pears one two 124 unset | diff - out
}

@test "the status is right whoever reaps: traps on CHLD, CHLD ignored, jobs that end meanwhile" {
	need_fdread
	spawn fdsend -q -l -k s 0
	shell '
		for trap in "trap : CHLD" "trap \"\" CHLD" "trap - CHLD" "set -m" "trap \"echo \\\$? >/dev/null\" CHLD"; do
			$trap
			for i in 1 2 3 4 5; do
				(exit 7) & a=$!
				fdread -c -w 5 s v || echo "status $?"
				exec {v}>&-
				fdread -t 0.01 none v 2>/dev/null && echo 0 || [ $? -eq 124 ] || echo "status $?"
				(exit 9) & b=$!
				fdread -i none v 2>/dev/null; [ $? -eq 125 ] || echo "status $?"
				[ "$trap" = "trap \"\" CHLD" ] || { wait $a; [ $? -eq 7 ] || echo "wait $?"; wait $b; [ $? -eq 9 ] || echo "wait $?"; }
			done
		done 2>/dev/null
		trap "echo child" CHLD; (exit 3) & fdread -t 0.3 none v 2>/dev/null; :' >out 3>&-
	[ "$(cat out)" = child ]
}

# bats test_tags=heavy
@test "a thousand receives and failures leave the shell as it was" {
	need_fdread
	spawn fdsend -q -l -k -m hello s 0 1 2>/dev/null
	shell '
		look() { grep VmRSS /proc/$$/status | tr -dc 0-9; echo; echo /proc/$$/fd/*; }
		round() { fdread -c -w 5 s a b && exec {a}>&- {b}>&- || echo failed; fdread -c s a && echo succeeded; fdread -c s 1 && echo succeeded; }
		for i in {1..50}; do round; done
		look >before
		for i in {1..500}; do round; done
		look >after' 2>/dev/null >out
	[ ! -s out ]
	diff <(tail -n 1 before) <(tail -n 1 after)
	[ "$(head -n 1 after)" -le "$(($(head -n 1 before) + 200))" ]
	nobody
}

# ---- signals ----

@test "a signal with a trap ends the wait with 128+N, and the trap runs" {
	need_fdread
	for sig in TERM:143 USR1:138 INT:130 HUP:129; do
		spawn shell "trap '' TERM; trap 'echo trapped' ${sig%:*}; fdread s v; echo \$?; [ ! -e s ] && echo gone; exit 0" >out 2>err
		await_socket s
		kill -"${sig%:*}" "$(pgrep -P "$pid" -x bash || echo "$pid")"
		ended "$pid" 0
		printf 'trapped\n%s\ngone\n' "${sig#*:}" | diff - out
	done
	nobody
}

@test "a signal that ends the shell ends fdrecv, and no socket file is left; KILL too" {
	need_fdread
	for sig in INT TERM KILL; do
		BASH_LOADABLES_PATH=$BASH_LOADABLES_PATH spawn env --default-signal bash -c 'enable -f fdread fdread; fdread s v; echo never' >out
		await_socket s
		kill -"$sig" "$pid"
		ended "$pid" "$((128 + $(kill -l "$sig")))"
		eventually test ! -e s
		[ ! -s out ]
	done
	eventually nobody
}

@test "what fdrecv had taken when the signal came is not lost" {
	need_fdread
	mkdir -p p/bin p/lib/bash
	cp "$BASH_LOADABLES_PATH/fdread" p/lib/bash
	ln -s "$BATS_TEST_DIRNAME/peers/late.py" p/bin/fdrecv
	echo pears >pears
	BASH_LOADABLES_PATH=p/lib/bash spawn env --default-signal bash -c 'enable -f fdread fdread; cd /; cd - >/dev/null
		trap "echo trapped" TERM; fdread s v; echo "$? $FDKIT_MESSAGE"; cat <&$v' <pears >out
	eventually test -e waits
	kill "$pid"
	ended "$pid" 0
	printf 'trapped\n0 late\npears\n' | diff - out
}

@test "at a terminal ^C returns to the prompt, and ^Z does nothing" {
	need_fdread
	command -v tmux >/dev/null || skip "no tmux"
	TMUX='' tmux -S tmux -f /dev/null new-session -d -x 80 -y 24 "PS1='> ' PS0= bash --norc --noprofile" 3>&-
	PIDS+=("$(tmux -S tmux display -p '#{pid}')")
	keys() { tmux -S tmux send-keys "$@"; }
	shows() { tmux -S tmux capture-pane -p | grep -qxF -- "$1"; }
	eventually shows '>'
	keys -l "enable -f $BASH_LOADABLES_PATH/fdread fdread; v=old"
	keys Enter
	for i in 1 2; do
		keys -l 'fdread s v'
		keys Enter
		await_socket s
		keys C-z
		keys C-c
		eventually test ! -e s
		keys -l "echo $i\$v\$? ; jobs"
		keys Enter
		eventually shows "${i}old130"
	done
	# A signal to the shell's children alone is a failure of fdrecv's.
	keys -l 'fdread s v'
	keys Enter
	await_socket s
	exits 0 fdsend s 0
	keys -l 'echo $?x$((v >= 10))'
	keys Enter
	eventually shows 0x1
	! shows Stopped || false
	eventually nobody
}

# ---- where fdrecv is ----

@test "the fdrecv beside it is run, with the same prefix; else that of PATH" {
	need_fdread
	mkdir -p p/bin p/lib/bash alone
	cp "$BASH_LOADABLES_PATH/fdread" p/lib/bash
	cp "$BASH_LOADABLES_PATH/fdread" p/lib/bash/x-fdread
	cp "$BASH_LOADABLES_PATH/fdread" alone
	for name in fdrecv x-fdrecv; do
		printf '#!/bin/sh\necho %s "$0"\n' $name >p/bin/$name
		chmod +x p/bin/$name
	done
	[ "$(cd p/lib && bash -c 'enable -f ./bash/fdread fdread; cd /; fdread --help')" = "fdrecv $PWD/p/lib/bash/../../bin/fdrecv" ]
	[ "$(bash -c 'enable -f p/lib/bash/x-fdread fdread; fdread --help')" = "x-fdrecv $PWD/p/lib/bash/../../bin/x-fdrecv" ]
	[ "$(bash -c 'enable -f ./alone/fdread fdread; PATH=$PWD/p/bin; fdread --help')" = "fdrecv $PWD/p/bin/fdrecv" ]
	bash -c 'enable -f ./alone/fdread fdread; PATH=/nowhere; fdread s v; echo $?' >out 2>err
	[ "$(cat out)" = 127 ]
	one_line err 'fdread: fdrecv: No such file or directory'
}

@test "fdrecv --fdread without a shell is an error" {
	wrong 'fdrecv: --fdread ' fdrecv --fdread=77 s v
	wrong 'fdrecv: --fdread ' fdrecv --fdread=x s v
}
