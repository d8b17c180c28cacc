#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# SOCKET: its forms, whose file it is and with what mode, and who may be on the other side.
# ADDRESS as fdserve takes it is in fdserve.bats.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2086  # calls are words on purpose
load helper

# Every way to listen at s, one a line; x is another address, w a worker that is not there.
LISTENING=('fdrecv s'
	'fdrecv -T dgram s'
	'fdrecv -T seqpacket s'
	'fdsend -l s'
	'fdsend -lk s'
	'fdexec s true'
	'fdserve unix:s -- true'
	'fdserve unix:s w'
	'fdserve -l unix:x s'
	'fdserve -L unix:s -- sleep 100'
	'fdserve -L -l 127.0.0.1:0 s'
	'fdhold s'
	'fdhold h web=unix:s')

# meet SOCKET: a receiver and a sender meet there, whichever of them listens; no file is left.
meet() {
	echo pears >pears
	spawn fdrecv "$1" >out
	exits 0 fdsend -w 5 -- "$1" <pears || return
	ended "$pid" 0
	[ "$(cat out)" = pears ] || return
	spawn fdsend -l -- "$1" <pears
	exits 0 fdrecv -c -w 5 -- "$1" >out || return
	ended "$pid" 0
	[ "$(cat out)" = pears ] || return
	[ ! -e "$1" ]
}

# name LENGTH: a file name that long.
name() { printf "%0$1d" 0; }

# ---- paths ----

@test "a path: relative, absolute, with odd characters" {
	mkdir 'a dir'
	for path in s ./s "$PWD/s" 'a dir/s' 'a dir/../s' "a'b\"c\\d" $'new\nline' $'\303\244' a=b a:b exec fd ' '; do
		meet "$path"
	done
}

@test "a file whose name looks like another form is written ./" {
	for path in ./fd:3 ./exec:true ./@name ./-x; do
		meet $path
	done
	spawn fdrecv -- -x true
	exits 0 fdsend -w 5 -- -x
	ended "$pid" 0
}

@test "a path of 107 bytes, of 108, and longer ones" {
	dir=$(name 90)
	mkdir -p "$dir/$dir/$dir"
	for path in "$dir/$(name 16)" "$dir/$(name 17)" "$dir/$(name 18)" "$dir/$dir/s" \
		"$PWD/$dir/$dir/$dir/s" "./$dir/../$dir/$dir/$dir/$(name 60)"; do
		meet "$path"
	done
}

@test "a path of 4000 bytes" {
	path=.
	while [ ${#path} -lt 3700 ]; do path=$path/$(name 200); done
	mkdir -p "$path"
	meet "$path/s"
}

@test "a long last part works, or is refused in one line" {
	dir=$(name 100)
	mkdir "$dir"
	for n in 91 92 93 94 107 108 109 255; do
		for path in "$(name $n)" "$dir/$(name $n)"; do
			spawn fdrecv "$path" true >out 2>err
			eventually eval '[ -S "$path" ] || gone "$pid"'
			if [ -S "$path" ]; then
				exits 0 fdsend -w 5 "$path"
				ended "$pid" 0
				[ ! -s err ]
			else
				ended "$pid" 125
				one_line err "fdrecv: $path: "
				wrong "$path" fdsend "$path"
			fi
		done
	done
	wrong 'too long' fdrecv "$(name 256)"
	wrong 'too long' fdsend "$(name 256)"
	wrong 'too long' fdsend -w 5 "$dir/$(name 256)"
	wrong 'too long' fdrecv "$dir/$(name 256)"
}

@test "what cannot be a path is refused in one line" {
	: >file
	for path in '' no/s file/s / . .. no/; do
		wrong "fdrecv: $path: " fdrecv "$path"
		wrong "fdsend: $path: " fdsend -l "$path"
	done
	for path in '' / . file/s; do
		wrong "fdsend: $path: " fdsend "$path"
		wrong "fdsend: $path: " fdsend -w 5 "$path"
		wrong "fdrecv: $path: " fdrecv -c -w 5 "$path"
	done
}

# ---- @NAME ----

@test "@NAME is an abstract socket, without a file" {
	before=$(ls -A)
	spawn fdrecv "@fdkit-$$" true
	eventually grep -q "@fdkit-$$\$" /proc/net/unix
	[ "$(ls -A)" = "$before" ]
	exits 0 fdsend "@fdkit-$$"
	ended "$pid" 0
	meet "@fdkit-$$ and so on"
	meet "@$(name 107)"
	wrong @ fdrecv @
	wrong @ fdsend @
	wrong "@$(name 108)" fdrecv "@$(name 108)"
	wrong "@$(name 108)" fdsend "@$(name 108)"
}

@test "an abstract name in use is refused" {
	spawn fdrecv "@fdkit-$$" true
	await_socket "@fdkit-$$"
	wrong "@fdkit-$$" fdrecv "@fdkit-$$"
	exits 0 fdsend "@fdkit-$$"
	ended "$pid" 0
}

# ---- fd:N ----

@test "fd:N: a tool that would listen accepts from a listening one, and leaves its file" {
	spawn with.py listener 7 s fdrecv fd:7 true 2>err
	await_socket s
	exits 0 meet.py connect s nothing
	exits 0 fdsend s
	ended "$pid" 0
	one_line err fd:7
	[ -S s ]

	spawn with.py listener 7 t fdsend -l fd:7
	await_socket t
	exits 0 fdrecv -c t true
	ended "$pid" 0
}

@test "fd:N: a listening socket cannot be connected from, nor a foreign one used" {
	for tool in 'fdsend fd:7' 'fdrecv -c fd:7'; do
		exits 125 with.py listener 7 "s${tool:2:1}" $tool 2>err
		one_line err fd:7
	done
	: >file
	for tool in fdsend fdrecv 'fdrecv -c' 'fdsend -l'; do
		for fd in 7 77; do
			wrong fd:$fd $tool fd:$fd 7<file
		done
		for kind in 'listener 7 127.0.0.1' 'pair 7 8'; do
			exits 125 with.py -T tcp $kind $tool fd:7 2>err
			one_line err fd:7
		done
		for fd in '' x -1 7x 99999999999; do
			wrong "fd:$fd" $tool "fd:$fd"
		done
	done
}

@test "fd:N: somebody else may accept first from a listening socket that is shared" {
	need_strace
	spawn sleep 100
	eventually grep -q sleep "/proc/$pid/wchan" || skip "/proc does not tell what a process waits in"
	for tool in 'fdsend -l' fdrecv; do
		mkdir ${tool%% *}
		spawn env -C ${tool%% *} door.py shared strace -qq -o trace -e 'trace=?poll,ppoll' -e 'inject=?poll,ppoll:delay_exit=300000' $tool -t 2 fd:7 2>${tool%% *}/err
	done
	for tool in fdsend fdrecv; do
		ended "${PIDS[-2]}" 124
		PIDS+=("${PIDS[-1]}")
		one_line $tool/err fd:7
		grep 'revents=POLLIN.*DELAYED' $tool/trace
	done
}

# ---- exec: ----

@test "exec: is a shell's command with the socket as its input and output" {
	echo pears >pears
	exits 0 fdrecv 'exec:fdsend fd:1 7 7<pears; exit 9' >out
	[ "$(cat out)" = pears ]
	exits 0 fdrecv 'exec:fdsend fd:0 7 7<pears' sh -c 'cat <&3' >out
	[ "$(cat out)" = pears ]
	exits 0 fdrecv -c 'exec:fdsend fd:1 7 7<pears' >out
	[ "$(cat out)" = pears ]
	exits 0 fdsend 'exec:fdrecv fd:0 sh -c "cat <&3" >out2' <pears
	eventually grep pears out2
}

@test "exec: without a descriptor is a failure, and its standard error is ours" {
	exits 125 fdrecv 'exec:true' touch ran 2>err
	one_line err 'fdrecv: exec:true: '
	exits 125 fdrecv 'exec:echo diagnosis >&2' touch ran 2>err
	grep -x diagnosis err
	exits 125 fdrecv 'exec:' touch ran 2>err
	one_line err exec:
	exits 124 fdrecv -t 0.2 'exec:exec sleep 1' touch ran 2>err
	one_line err 'exec:'
	[ ! -e ran ]
}

@test "exec: has the limits and signals that the tool was started with" {
	state='ulimit -S -n; ulimit -H -n; grep -E "^Sig(Blk|Ign)" /proc/self/status'
	start="ulimit -S -n 300 && ulimit -H -n 500 && trap '' HUP"
	exits 0 sh -c "$start; $state" >expected
	for tool in 'fdrecv "exec:sh asked; fdsend fd:1" true' 'fdsend "exec:sh asked; fdrecv fd:0 true"'; do
		echo "{ $state; } >found" >asked
		exits 0 sh -c "$start; $tool"
		diff expected found
	done
}

# ---- stale, live, foreign ----

@test "a stale socket file is replaced by whatever listens" {
	for call in "${LISTENING[@]}"; do
		for type in stream dgram; do
			meet.py -T $type listen s stale
			spawn $call >out 2>err
			if [[ $call == *dgram* ]]; then
				eventually fdsend -q -T dgram s
			else
				await_socket s || { echo "$call: $type" && cat err && false; } >&2
			fi
			kill "$pid" || true
			ended "$pid"
			rm -f s x h
		done
	done
	mkdir "$(name 150)"
	(cd "$(name 150)" && meet.py listen s stale)
	meet "$(name 150)/s"
}

@test "a live one is never taken over, nor a file that is no socket touched" {
	spawn fdrecv s true 2>live.err
	await_socket s
	inode=$(stat -c %i s)
	echo precious >file
	mkdir dir
	mkfifo fifo
	ln -s nowhere dangling
	ln -s file link
	ln -s s to-socket
	for call in "${LISTENING[@]}"; do
		paths=(s file dangling)
		[ "$call" != 'fdrecv s' ] || paths+=("$PWD/s" to-socket dir fifo link)
		for path in "${paths[@]}"; do
			case $call in
			*unix:s*) args=${call/unix:s/unix:$path} ;;
			*' s '*) args=${call/ s / $path } ;;
			*) args=${call% s}' '$path ;;
			esac
			wrong "$path: " $args
		done
	done
	wrong ': s: Address already in use (somebody listens there; -c connects)' fdrecv s
	for path in file dir fifo link; do
		for call in fdsend 'fdsend -w 5' 'fdrecv -c' 'fdsend -T dgram' 'fdserve unix:x' 'fdserve -L unix:x' 'fdhold --list'; do
			wrong ": $path: " $call $path
		done
		wrong ": $path: " fdexec -c $path true
		wrong ": $path: " fdexec -c -w 1 $path true
	done
	[ "$(cat file)" = precious ]
	[ "$(readlink dangling link to-socket | xargs)" = 'nowhere file s' ]
	[ "$(stat -c %i s)" = "$inode" ]
	exits 0 fdsend s
	ended "$pid" 0
}

@test "one that is live though it accepts nobody, or takes datagrams, is not taken over" {
	spawn meet.py listen s full >state
	eventually grep full state
	wrong ': s: ' fdrecv s
	spawn fdrecv -T dgram d true
	eventually test -S d
	wrong ': d: ' fdrecv d
	wrong ': d: ' fdrecv -T dgram d
	exits 0 fdsend -T dgram d
	ended "$pid" 0
}

@test "a symbolic link to a stale socket stays a link" {
	meet.py listen s stale
	ln -s s link
	spawn fdrecv link true 2>err
	ended "$pid" 125
	one_line err 'fdrecv: link: '
	[ "$(readlink link)" = s ]
	[ -S s ]
}

@test "many that find the same stale file: one gets the place, the others are refused" {
	for round in 1 2 3 4 5; do
		meet.py listen s stale
		PIDS=()
		for i in 1 2 3 4 5 6; do
			spawn fdrecv s echo $i >"out$i" 2>"err$i"
		done
		one() { [ "$(for p in "${PIDS[@]}"; do gone "$p" || echo; done | wc -l)" -eq 1 ]; }
		eventually one
		exits 0 fdsend s
		for i in 1 2 3 4 5 6; do
			ended "${PIDS[i - 1]}"
			if [ "$status" -eq 0 ]; then
				echo "$i" | diff - "out$i"
			else
				[ "$status" -eq 125 ]
				one_line "err$i" 'fdrecv: s: '
			fi
		done
		[ "$(cat out? | wc -l)" -eq 1 ]
		[ ! -e s ] || { echo "round $round" && false; }
	done
}

@test "one that is slow to replace a stale file does not remove the file of a faster one" {
	need_strace
	meet.py listen s stale
	spawn strace -qq -o trace -e 'trace=?unlink,unlinkat' -e 'inject=?unlink,unlinkat:delay_enter=500000' fdrecv s echo got it >out1 2>err1
	slow=$pid
	tracee_stopped() { grep -q ') t ' "/proc/$(children "$slow" | xargs)/stat"; }
	eventually tracee_stopped
	spawn fdrecv s echo got it >out2 2>err2
	either_gone() { gone "$slow" || gone "$pid"; }
	eventually either_gone
	exits 0 fdsend -w 5 s
	ended "$slow"
	first=$status
	ended "$pid"
	[ "$first $status" = '0 125' ] || [ "$first $status" = '125 0' ]
	[ "$(cat out1 out2)" = "got it" ]
}

@test "another uid that may read the directory cannot keep a stale file from being replaced" {
	pears
	meet.py listen s stale
	spawn as_other flock "$pub" sh -c 'echo >held; exec sleep 100'
	eventually test -s held
	spawn fdrecv s true
	exits 0 fdsend -w 5 s
	ended "$pid" 0
	[ ! -e s ]
}

@test "what replaces a stale file leaves nothing beside it, and uses what a killed one left" {
	for left in '' s.fdkit-lock; do
		meet.py listen s stale
		[ ! "$left" ] || : >"$left"
		spawn fdrecv s true
		await_socket s
		alone() { [ "$(ls)" = s ]; }
		eventually alone
		exits 0 fdsend s
		ended "$pid" 0
	done
	# A live one is left alone without a lock beside it.
	spawn fdrecv s true
	await_socket s
	wrong 's: Address already in use' fdrecv s true
}

@test "a file that others may have put where the lock would be is neither followed nor removed" {
	pears
	for make in 'ln -s /etc/none s.fdkit-lock' 'mkfifo s.fdkit-lock' 'cp pears s.fdkit-lock' 'as_other touch s.fdkit-lock'; do
		meet.py listen s stale
		$make
		wrong "fdrecv: s: stale, but another user's file" fdrecv s true
		rm s s.fdkit-lock
	done
	[ ! -e /etc/none ]
}

# ---- mode ----

# listens MODE CALL...: CALL makes the file s with MODE.
listens() {
	local mode=$1
	shift
	spawn "$@"
	eventually test -S s
	[ "$(stat -c %a s)" = "$mode" ] || { echo "$*: $(stat -c %a s)" >&2; return 1; }
	kill "$pid" || true
	ended "$pid"
	rm -f s x
}

@test "0600 unless -M says otherwise, whatever the umask" {
	for umask in 000 777; do
		for call in "${LISTENING[@]}"; do
			umask $umask
			listens 600 $call
			listens 640 ${call%% *} -M 640 ${call#* }
			umask 022
		done
	done
	for umask in 022 077; do
		umask $umask
		listens 600 fdrecv s
		listens 666 fdrecv -M 666 s
		listens 640 fdsend -l --mode 0640 s
		listens 777 fdrecv --mode=0777 s
		listens 0 fdrecv -M 0 s
		listens 20 fdrecv -T dgram -M 020 s
		umask 022
	done
}

@test "-a without -M: 0666 where peers are checked, 0600 where nobody checks them" {
	for call in "${LISTENING[@]}"; do
		case $call in
		*web=unix:s* | *-L\ unix:s*) ;;         # whoever has the socket checks, or not
		*) listens 666 ${call%% *} -a 1 ${call#* } ;;
		esac
	done
	listens 600 fdhold -a 1 h web=unix:s
	listens 600 fdrecv -a 1 -M 600 s
	listens 600 fdserve -M 600 -a any unix:s w
	listens 666 fdhold --allow-get 1 s
}

@test "the mode holds from the instant that the file exists" {
	need_strace
	umask 000
	# Slow to return from what can make the name appear: a look in between sees any mode before the last.
	slow='bind,rename,renameat,renameat2,link,linkat,listen,chmod,fchmod,fchmodat'
	for mode in 600 660; do
		for type in stream dgram; do
			spawn strace -qq -o trace -e trace=$slow -e inject=$slow:delay_enter=100000:delay_exit=100000 fdrecv -T $type -M $mode s
			tracer=$pid
			eventually eval 'find . -type s | grep .'
			looks=0
			until [ "$looks" -gt 2 ] && { listening s || [ $type = dgram ]; }; do
				run find . -type s ! -perm $mode
				[ -z "$output" ]
				looks=$((looks + 1))
			done
			[ "$looks" -gt 2 ]
			eventually test -S s
			kill "$(children "$tracer")"
			ended "$tracer"
			rm -f s
		done
	done
}

# ---- our own file alone ----

@test "at the end only the file that is still ours is removed" {
	for tool in fdrecv 'fdsend -l'; do
		spawn $tool s 2>err
		await_socket s
		mv s aside
		spawn fdrecv s true             # somebody else's now
		await_socket s
		kill "${PIDS[-2]}"
		ended "${PIDS[-2]}" 143
		exits 0 fdsend s
		ended "$pid" 0
		rm aside

		spawn $tool s 2>err
		await_socket s
		rm s
		echo precious >s
		kill "$pid"
		ended "$pid" 143
		[ "$(cat s)" = precious ]
		rm s
	done
}

@test "a signal at any moment leaves no socket file" {
	need_strace
	for call in bind listen; do
		for tool in fdrecv 'fdsend -l'; do
			spawn strace -qq -o trace -e trace=$call -e inject=$call:delay_exit=100000 $tool s
			eventually test -S s
			kill "$(children "$pid" | xargs)"
			ended "$pid" 143
			[ ! -e s ]
		done
	done
}

@test "a refused start removes nothing, and a finished one its file" {
	spawn fdrecv s true
	await_socket s
	wrong ': s: ' fdrecv -t 0.1 s
	[ -S s ]
	exits 0 fdsend s
	ended "$pid" 0
	[ ! -e s ]
}

# ---- who may be there ----

# pears: a public directory with a file, and the names of the second uid and its group.
pears() {
	second_uid
	echo pears >pears
	who=$(id -nu 65534) group=$(id -gn 65534)
}

@test "another uid cannot even connect to a 0600 socket" {
	pears
	spawn fdrecv s true
	await_socket s
	exits 125 as_other fdsend s 2>err
	one_line err 'fdsend: s: Permission denied'
	exits 0 fdsend s
	ended "$pid" 0
}

@test "another uid's sender is refused, told so, and the receiver waits on" {
	pears
	for socket in s "@fdkit-$$"; do
		spawn fdrecv -M 666 "$socket" >out 2>receiver.err
		await_socket "$socket"
		exits 125 as_other fdsend "$socket" </dev/null 2>err
		one_line err "fdsend: $socket: " -a
		eventually test -s receiver.err
		one_line receiver.err "fdrecv: $socket: " 65534 -a
		exits 0 fdsend "$socket" <pears
		ended "$pid" 0
		[ "$(cat out)" = pears ]
	done
}

@test "another uid's peer is refused by whatever listens, in a line that names it and -a, which lets it in" {
	pears
	printf '#!/bin/sh\n[ "$(socat -t 10 - UNIX-CONNECT:s </dev/null)" = served ]\n' >served
	printf '#!/bin/sh\nspeak.py connect s until:hello | grep -q hello\n' >greeted
	chmod +x served greeted
	for call in 'fdrecv s true|fdsend s' 'fdsend -l s|fdrecv -c s true' 'fdsend -lk s|fdrecv -c s true' 'fdexec s true|fdsend s' \
		'fdhold s|fdhold --list s' 'fdserve unix:s -- echo served|./served' 'fdserve -l 127.0.0.1:0 s|./greeted' \
		'fdserve -L -l 127.0.0.1:0 s|fdrecv -c s true'; do
		client=${call#*|} call=${call%|*} tool=${call%% *}
		spawn $tool -M 666 ${call#* } 2>err
		await_socket s
		as_other speak.py connect s shut hear >heard
		one_line err "$tool: " 65534 -a
		[ ! -s heard ]
		kill "$pid"
		ended "$pid"
		spawn $tool -M 666 -a nobody ${call#* } 2>err
		await_socket s
		exits 0 as_other $client
		kill "$pid" || true
		ended "$pid"
		[ "$(grep -c 65534 err)" -eq 0 ]
	done
}

@test "another uid's socket is refused by whatever connects, in a line that names it and -a, which lets it in" {
	pears
	for call in 'fdsend s|fdrecv s true' 'fdrecv -c s true|fdsend -lk s' 'fdhold --list s|fdhold s' 'fdserve -L unix:x s|fdrecv s true'; do
		service=${call#*|} call=${call%|*} tool=${call%% *}
		spawn as_other $service
		await_socket s
		exits 125 $tool ${call#* } 2>err
		one_line err "$tool: s: " 65534 -a
		exits 0 $tool -a nobody ${call#* }
		kill "$pid" || true
		ended "$pid"
		rm -f s x
	done
	spawn as_other fdserve -q -l 127.0.0.1:0 s
	await_socket s
	spawn fdexec -c s true 2>err
	one_line err 'fdexec: s: ' 65534 -a
	spawn fdexec -v -c -a nobody s true 2>err
	eventually grep -q connected err
}

@test "-a lets in: a name, a uid, a group, any, several" {
	pears
	for allow in "$who" 65534 any ":$group" :65534 "root,$who" "1,2,65534" ":0,$who"; do
		spawn fdrecv -M 666 -a "$allow" s >out 2>err
		await_socket s
		exits 0 as_other fdsend s <pears
		ended "$pid" 0
		[ "$(cat out)" = pears ]
		[ ! -s err ]
	done
	for allow in root 1 :0 :1 65533 1,2; do
		spawn fdrecv -M 666 --allow "$allow" s >out 2>err
		await_socket s
		exits 125 as_other fdsend s 2>sender.err
		eventually test -s err
		one_line err 65534
		kill "$pid"
		ended "$pid"
	done
	# -a may come several times.
	spawn fdrecv -M 666 -a 1 --allow="$who" s true
	await_socket s
	exits 0 as_other fdsend s
	ended "$pid" 0
}

@test ":GROUP counts supplementary groups" {
	pears
	named=$(getent group 1 | cut -d: -f1)
	member=(setpriv --reuid 65534 --regid 65534 --groups '4,1,5' --)
	for allow in ":$named" :1; do
		spawn fdrecv -M 666 -a "$allow" s true 2>err
		await_socket s
		exits 125 as_other fdsend s 2>sender.err
		eventually test -s err
		exits 0 "${member[@]}" fdsend s
		ended "$pid" 0
	done
	# And the sender asks the same of its receiver.
	spawn "${member[@]}" fdrecv s true
	await_socket s
	exits 125 fdsend -a :2 s 2>err
	exits 0 fdsend -a :1 s
	ended "$pid" 0
}

@test "another uid's receiver is refused before anything is sent" {
	pears
	spawn as_other meet.py listen s report >seen
	await_socket s
	exits 125 fdsend -m secret s 2>err
	one_line err 'fdsend: s: ' 65534 -a
	ended "$pid" 0
	[ ! -s seen ]
	rm s
	for allow in "$who" 65534 any ":$group"; do
		spawn as_other fdrecv s >out
		await_socket s
		exits 0 fdsend -a "$allow" s <pears
		ended "$pid" 0
		[ "$(cat out)" = pears ]
	done
}

@test "two of the same uid need no -a, and root is let in everywhere" {
	pears
	spawn as_other fdrecv s true
	await_socket s
	exits 0 as_other fdsend s
	ended "$pid" 0
	spawn as_other fdsend -l s <pears
	await_socket s
	exits 0 fdrecv -c -a "$who" s >out
	ended "$pid" 0
	[ "$(cat out)" = pears ]
}

@test "-l: another uid's receiver is refused, the next is served; -c: another uid's sender is refused" {
	pears
	for keep in '' -k; do
		spawn fdsend -l $keep -M 666 s <pears 2>sender.err
		await_socket s
		exits 125 as_other fdrecv -c s touch ran 2>err
		one_line err 'fdrecv: s: '
		[ ! -e ran ]
		eventually test -s sender.err
		one_line sender.err 'fdsend: s: ' 65534 -a
		exits 0 fdrecv -c s >out
		[ "$(cat out)" = pears ]
		[ "$keep" ] || ended "$pid" 0
		kill "$pid" || true
		ended "$pid"
	done
	spawn fdsend -l -M 666 -a "$who" s <pears
	await_socket s
	exits 0 as_other fdrecv -c s >out
	ended "$pid" 0
	[ "$(cat out)" = pears ]

	spawn as_other fdsend -l s
	await_socket s
	exits 125 fdrecv -c s touch ran 2>err
	one_line err 'fdrecv: s: ' 65534 -a
	[ ! -e ran ]
}

@test "a datagram of another uid is refused by its credentials" {
	pears
	spawn fdrecv -T dgram -M 666 s >out 2>err
	eventually test -S s
	echo apples >apples
	exits 0 as_other fdsend -T dgram s <apples
	eventually test -s err
	one_line err 'fdrecv: s: ' 65534 -a
	exits 0 fdsend -T dgram s <pears
	ended "$pid" 0
	[ "$(cat out)" = pears ]
	spawn fdrecv -T dgram -M 666 -a "$who" s sh -c 'echo $FDKIT_PEER_UID' >out
	eventually test -S s
	exits 0 as_other fdsend -T dgram s <apples
	ended "$pid" 0
	[ "$(cat out)" = 65534 ]
}

# namespaced UIDS GIDS: COMMAND after "${namespaced[@]}" runs in a user namespace that maps so many.
namespaced() {
	namespaced=(namespace.py "$1" "$2")
	"${namespaced[@]}" true || skip "cannot make a user namespace"
}
ALL=4294967295

@test "uids that the user namespace does not map are nobody's: only any lets them in" {
	pears
	for uids in 0 1 65535; do
		namespaced $uids $uids
		for allow in root 65534 :65534 root,65534; do
			spawn "${namespaced[@]}" fdrecv -M 666 -a "$allow" s touch ran 2>err
			await_socket s
			exits 125 as_other fdsend s 2>sender.err
			eventually test -s err
			one_line err 'fdrecv: s: refused uid 65534 (-a any allows it)'
			kill "$pid"
			ended "$pid"
			spawn "${namespaced[@]}" fdrecv -T dgram -M 666 -a "$allow" s touch ran 2>err
			eventually test -S s
			exits 0 as_other fdsend -T dgram s
			eventually test -s err
			kill "$pid"
			ended "$pid"
		done
		[ ! -e ran ]
		spawn "${namespaced[@]}" fdrecv -M 666 -a any s true
		await_socket s
		exits 0 as_other fdsend s
		ended "$pid" 0
	done
}

@test "in a user namespace that maps no uid fdsend shows as its receiver does, and sends nothing" {
	pears
	namespaced 0 0
	spawn as_other fdrecv -M 666 s touch ran
	await_socket s
	exits 125 "${namespaced[@]}" fdsend -a 65534 s 2>err
	one_line err 'fdsend: s: refused uid 65534 (-a any allows it)'
	[ ! -e ran ]
}

@test "gids that the user namespace does not map are nobody's" {
	pears
	namespaced $ALL 1
	for ids in '--regid 65534 --clear-groups' '--regid 0 --groups 65534'; do
		spawn "${namespaced[@]}" fdrecv -M 666 -a :65534 s touch ran 2>err
		await_socket s
		exits 125 setpriv --reuid 1 $ids fdsend s 2>sender.err
		eventually test -s err
		[ ! -e ran ]
		kill "$pid"
		ended "$pid"
	done
}

@test "65534 is a uid and a gid as any other in a user namespace that maps all" {
	pears
	namespaced $ALL $ALL
	for allow in 65534 :65534; do
		spawn "${namespaced[@]}" fdrecv -M 666 -a $allow s true
		await_socket s
		exits 0 as_other fdsend s
		ended "$pid" 0
	done
}

@test "an inherited connected socket and exec: are not checked" {
	pears
	exits 0 with.py pair 7 8 sh -c '
		setpriv --reuid 65534 --regid 65534 --clear-groups -- fdrecv fd:8 true 7>&- &
		fdsend fd:7 8>&- && wait $!'
	exits 0 fdrecv 'exec:exec setpriv --reuid 65534 --regid 65534 --clear-groups -- fdsend fd:1 7 7<pears' >out
	[ "$(cat out)" = pears ]
}

@test "a directory that may not be written is named" {
	pears
	mkdir dir
	exits 125 as_other fdrecv dir/s 2>err
	one_line err 'fdrecv: dir/s: Permission denied'
	chmod 700 dir
	exits 125 as_other fdsend dir/s 2>err
	one_line err 'fdsend: dir/s: Permission denied'
}
