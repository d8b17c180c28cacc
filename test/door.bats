#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Coming in: every tool that listens accepts in the same way, whoever floods it, and whatever becomes of the socket.
# What stands in single quotes is for another shell; the helper sets pid and status.
# shellcheck disable=SC2016,SC2046,SC2094,SC2154
load helper

# over_soon PID: TERM ends it within a few seconds.
over_soon() {
	kill "$1"
	ended "$1"
}

# ---- a listening socket that somebody shut down ----

@test "a listening socket that somebody shuts down is said once, and ends a tool that has no other" {
	exits 125 door.py shut unix fdexec -q fd:3 true 2>err
	one_line err 'fdexec: fd:3: accepts no more'
	exits 125 door.py shut unix fdsend -q -lk fd:3 0 2>err
	one_line err 'fdsend: fd:3: accepts no more'
	exits 125 door.py shut unix fdsend -q -l fd:3 0 2>err
	one_line err 'fdsend: fd:3: accepts no more'
	exits 125 door.py shut unix fdrecv -q fd:3 true 2>err
	one_line err 'fdrecv: fd:3: accepts no more'
	exits 125 door.py shut unix fdhold -q fd:3 2>err
	one_line err 'fdhold: fd:3: accepts no more'
	exits 125 door.py shut unix fdserve -q fd:3 -- true 2>err
	one_line err 'fdserve: fd:3: accepts no more'
	exits 125 door.py shut tcp fdserve -q fd:3 -- true 2>err
	one_line err 'fdserve: fd:3: accepts no more'
	exits 125 door.py shut unix fdserve -q -l 127.0.0.1:0 fd:3 2>err
	one_line err 'fdserve: fd:3: accepts no more'
}

@test "fdserve goes on with its other sockets when one is shut down" {
	spawn door.py shut tcp fdserve -A addr fd:3 127.0.0.1:0 -- echo served 2>err
	eventually grep -q 'fd:3: accepts no more' err
	[ "$(talk "$(tail -n 1 addr)" </dev/null)" = served ]
	over_soon "$pid"
	[ "$status" -eq 0 ]
}

# ---- floods ----

# flood ADDRESS: another uid connects there without end, in four processes.
flood() {
	spawn as_other door.py flood "$@" >flooding
	eventually grep -q flooding flooding
}

@test "a flood of refused peers holds up no other address of fdserve, nor TERM, and is said once" {
	need_root
	public
	spawn fdserve -M 666 -A addr "unix:$pub/s" 127.0.0.1:0 -- echo served 2>err
	server=$pid
	eventually lines addr 2
	flood "$pub/s"
	for _ in 1 2 3 4 5; do
		[ "$(talk "$(tail -n 1 addr)" </dev/null)" = served ]
	done
	over_soon "$server"
	[ "$(grep -c 'refused uid 65534' err)" -eq 1 ]
}

@test "a flood of refused peers holds up no other peer of fdexec, fdsend -l -k and fdserve -l, and is said once" {
	need_root
	public
	for tool in "fdexec -M 666 $pub/s true" "fdsend -lk -M 666 $pub/s 0" "fdserve -l -M 666 127.0.0.1:0 $pub/s"; do
		# shellcheck disable=SC2086
		spawn $tool 2>err
		service=$pid
		await_socket "$pub/s"
		flood "$pub/s"
		flood=$pid
		for _ in 1 2 3; do
			case $tool in
			fdexec*) quick fdsend "$pub/s" 0 ;;
			fdsend*) quick fdrecv -c -w 5 "$pub/s" true ;;
			esac
		done
		over_soon "$service"
		[ "$(grep -c 'refused uid 65534' err)" -eq 1 ]
		kill "$flood"
		rm -f "$pub/s"
	done
}

@test "another uid's refusal is said while one's flood is not" {
	need_root
	public
	spawn fdexec -M 666 "$pub/s" true 2>err
	await_socket "$pub/s"
	for uid in 65533 65534 65533 65534; do
		status=0
		setpriv --reuid "$uid" --clear-groups fdsend "$pub/s" 0 2>/dev/null || status=$?
		[ "$status" -eq 125 ]
	done
	[ "$(grep -c refused err)" -eq 2 ]
}

# ---- what one uid may have ----

@test "one uid has 1024 connections at once, and 4 MiB in begun lines; others are served" {
	need_root
	[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 8192 ] || skip "needs a limit of 8192 descriptors"
	public
	spawn fdexec -a any -M 666 "$pub/s" true 2>err
	worker=$pid
	fdsend -w 5 "$pub/s" 0 # from then on numbers are kept for slots
	eventually childless "$worker"
	before=$(open_fds "$worker" | wc -w)
	spawn as_other door.py idle "$pub/s" 2000 1 >idlers
	eventually grep -q connected idlers
	# More than one connection needs a descriptor of epoll(7).
	connections() { [ "$(open_fds "$worker" | wc -w)" -eq $((before + $1 + ($1 > 1))) ]; }
	eventually connections 1024
	one_line err 'uid 65534 is over its quota'
	quick fdsend "$pub/s" 0
	kill "$pid"
	eventually connections 0
	spawn as_other door.py idle "$pub/s" 200 30000 >idlers
	eventually grep -q connected idlers
	bounded() { [ "$(open_fds "$worker" | wc -w)" -lt $((before + 145)) ]; }
	eventually bounded
	quick fdsend "$pub/s" 0
}

# ---- singles ----

@test "fdrecv -T dgram: a uid that is not allowed cannot end it with more descriptors than fit" {
	need_root
	public
	# shellcheck disable=SC2016
	spawn bash -c 'ulimit -n 24; exec fdrecv -T dgram -M 666 "$1" sh -c "cat <&3"' bash "$pub/s" >out 2>err
	eventually test -S "$pub/s"
	mapfile -t many < <(printf '0\n%.0s' {1..30})
	as_other fdsend -T dgram "$pub/s" "${many[@]}"
	echo pears >notes
	fdsend -T dgram "$pub/s" 0 <notes
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	grep -q 'refused uid 65534' err
}

@test "fdsend -l -k serves on where SIGCHLD was ignored when it started" {
	spawn env --ignore-signal=CHLD fdsend -q -lk s 0
	await_socket s
	for _ in {1..70}; do
		quick fdrecv -c s true
	done
}

@test "accepting from an inherited socket leaves the caller's alarm alone, and works where SIGALRM is blocked" {
	spawn door.py alarm fdexec -q fd:3 true
	exits 0 door.py blocked fdexec -q fd:3 true
	ended "$pid" 142
}
