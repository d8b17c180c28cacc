#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What COMMAND starts with: descriptors at their numbers and no others, the environment,
# signals, limits.
# What stands in '...' is for the shell that COMMAND is; the helper sets pid and status.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
# shellcheck disable=SC2086  # calls are words on purpose
load helper

# Where the descriptors N... of COMMAND lead, one a line.
links='found=$(for n; do readlink /proc/$$/fd/$n; done); echo "$found"'

# Files a to e at 5 to 9 for the commands that follow.
five() { exec 5>a 6>b 7>c 8>d 9>e; }

# placed LIST: of five descriptors sent, those that -f LIST wants are where it says.
placed() {
	local -a numbers files=(a b c d e)
	IFS=, read -ra numbers <<<"$1"
	spawn fdrecv -f "$1" s sh -c "$links >seen" - "${numbers[@]}"
	exits 0 fdsend -w 5 s 5 6 7 8 9
	ended "$pid" 0
	printf "$PWD/%s\n" "${files[@]:0:${#numbers[@]}}" >expected
	cmp expected seen || { echo "-f $1:" && cat seen; return 1; } >&2
}

# only NUMBER...: what spawn started has become sleep(1), with what its caller has open and these.
only() {
	eventually asleep "$pid" sleep
	open_fds "$pid" >found
	kill "$pid"
	ended "$pid"
	spawn sleep 100
	eventually asleep "$pid" sleep
	{ open_fds "$pid" | tr ' ' '\n'; printf '%s\n' "$@"; } | sort -nu | xargs >expected
	kill "$pid"
	ended "$pid"
	diff expected found >&2
}

# How a tool begins COMMAND, with a descriptor that COMMAND's output does not go to.
WAYS=('fdrecv s' 'fdrecv -c s' 'fdexec -q -i s' 'fdserve -q -i unix:s --' 'fdserve -q -L unix:s --')

# begun WAY COMMAND [ARG...] -- [PREFIX...]: COMMAND was begun that way, by a tool run by PREFIX; its output is in the file found.
begun() {
	local way=$1 command=()
	shift
	while [ "$1" != -- ]; do
		command+=("$1")
		shift
	done
	rm -f s
	if [[ $way == *-c* ]]; then
		spawn fdsend -l s
		await_socket s
	fi
	spawn "${@:2}" $way "${command[@]}" >found
	case $way in
	*-L* | *-c*) ;;
	fdserve*)
		await_socket s
		socat -u /dev/null UNIX-CONNECT:s
		;;
	*) exits 0 fdsend -w 5 s ;;
	esac
	[[ $way == fdrecv* || $way == *-L* ]] || kill -"${ends_by:-TERM}" "$pid"     # what has begun is waited for
	ended "$pid"
}

# ---- numbers ----

@test "swapped placements are right" {
	five
	for list in 4,3 3,4 5,3,4 4,5,3; do
		placed $list
	done
}

@test "every order of four neighbours" {
	five
	for list in {3..6},{3..6},{3..6},{3..6}; do
		case $list in
		*3*3* | *4*4* | *5*5* | *6*6*) ;;
		*) placed "$list" ;;
		esac
	done
}

@test "numbers at which they may have arrived, in another order" {
	five
	for n in {3..12}; do
		placed $((n + 4)),$((n + 3)),$((n + 2)),$((n + 1)),"$n"
		placed $((n + 1)),$((n + 2)),$((n + 3)),$((n + 4)),"$n"
	done
}

@test "any numbers: 0, 1, 2, high ones, those that the caller has open" {
	five
	for list in 2,0,1 1,2,0,4,3 0,9,1,8,2 200,3,100,4,0 9,8,7,6,5 14,13,12,11,10 4,1023 255,254; do
		placed $list
	done
}

@test "what stands in the way is replaced, the caller's other descriptors stay" {
	five
	echo mine >mine
	spawn fdrecv -f 10,4 s sh -c "$links >seen" - 10 4 12 10<mine 4<mine 12<mine
	exits 0 fdsend -w 5 s 5 6
	ended "$pid" 0
	[ "$(cat seen)" = "$(printf "$PWD/%s\n" a b mine)" ]
}

@test "closed standard descriptors stay closed, and what comes goes where it should" {
	five
	for closed in '0<&-' '0<&- 1>&-' '0<&- 1>&- 2>&-' '1>&-' '2>&-'; do
		spawn sh -c "exec fdrecv s sleep 100 $closed"
		exits 0 fdsend -w 5 s 5
		eventually asleep "$pid" sleep
		for n in 0 1 2; do
			if [[ $closed == *"$n"[\<\>]* ]]; then [ ! -e "/proc/$pid/fd/$n" ]; else [ -e "/proc/$pid/fd/$n" ]; fi
		done
		[ "$(readlink "/proc/$pid/fd/3")" = "$PWD/a" ]
		kill "$pid"
	done
}

# ---- no other descriptor ----

@test "COMMAND has the received descriptors and the caller's" {
	for options in '' '-v -t 9 -a any -M 640' '-N 3' '-B --no-pid'; do
		spawn fdrecv $options s sleep 100 2>err
		exits 0 fdsend -w 5 s 0 0 0
		only 3 4 5
	done
}

@test "COMMAND has nothing more for -i, -o, -e" {
	for options in -i -o -io -ioe; do
		spawn fdrecv $options s sleep 100
		exits 0 fdsend -w 5 s
		only
	done
	spawn fdrecv -io s sleep 100
	exits 0 fdsend -w 5 s 0 0 0 0
	only 3 4
}

@test "COMMAND does not get surplus" {
	spawn fdrecv -f 9,7 s sleep 100
	exits 0 fdsend -w 5 s 0 0 0 0 0 0 0 0
	only 7 9
	spawn fdrecv -N 2 s sleep 100
	exits 0 fdsend -w 5 s 0 0 0 0 0 0 0 0
	only 3 4
}

@test "COMMAND does not get connections of other peers, nor the -R descriptor" {
	spawn fdrecv -R 20 s sleep 100 20>ready
	await_socket s
	spawn meet.py connect s silent
	eventually asleep "$pid" meet.py
	spawn meet.py connect s silent
	eventually asleep "$pid" meet.py
	exits 0 fdsend s
	pid=${PIDS[0]}
	only 3
}

@test "COMMAND gets no socket: -c, other types, an abstract name, a long path" {
	spawn fdsend -l s
	spawn fdrecv -w 5 -c s sleep 100
	only 3
	for type in dgram seqpacket; do
		spawn fdrecv -T $type s sleep 100
		exits 0 fdsend -T $type -w 5 s
		only 3
	done
	long=$(printf '%0200d' 0)
	mkdir "$long"
	for socket in "@fdkit-$$" "$long/s"; do
		spawn fdrecv "$socket" sleep 100
		exits 0 fdsend -w 5 "$socket"
		only 3
	done
}

@test "COMMAND does not get fd:N, unless that is 0, 1 or 2" {
	spawn with.py pair 8 9 sh -c 'fdsend fd:8 9>&- & exec 8>&-; exec fdrecv fd:9 sleep 100'
	only 3
	spawn with.py listener 20 s fdrecv fd:20 sleep 100
	await_socket s
	exits 0 fdsend s
	only 3
	spawn with.py listener 0 s2 fdrecv fd:0 sleep 100
	await_socket s2
	exits 0 fdsend s2
	eventually asleep "$pid" sleep
	[[ $(readlink "/proc/$pid/fd/0") == socket:* ]]
	only 3
}

@test "COMMAND gets neither the socket nor the child of exec:" {
	spawn fdrecv 'exec:fdsend fd:1 && exec sleep 100' sleep 100
	eventually asleep "$pid" sleep
	childless "$pid"
	only 3
}

# ---- the environment ----

# Variables of COMMAND, one a line, without those that sh(1) sets itself.
variables='env | grep -vE "^(_|PWD|OLDPWD|SHLVL)=" | sort'

@test "a sender in another pid namespace has a uid and a gid, and no pid" {
	need_root
	unshare -fp true || skip "may not make a pid namespace"
	spawn unshare -fp fdrecv s env >vars
	exits 0 fdsend -w 5 s 1
	ended "$pid" 0
	grep -qx "FDKIT_PEER_UID=$(id -u)" vars
	grep -qx "FDKIT_PEER_GID=$(id -g)" vars
	run ! grep ^FDKIT_PEER_PID vars
}

@test "the environment is the caller's, and what tells of the descriptors" {
	export LISTEN_FDS=9 LISTEN_PID=$$ LISTEN_FDNAMES=stale LISTEN_PIDFDID=1 \
		FDKIT_FDS=stale FDKIT_MESSAGE=stale FDKIT_PEER_PID=stale FDKIT_PEER_UID=stale FDKIT_PEER_GID=stale \
		PROTO=stale TCPREMOTEIP=stale TCPREMOTEPORT=stale TCPLOCALIP=stale TCPLOCALPORT=stale \
		UNIXREMOTEPID=stale UNIXREMOTEEUID=stale UNIXREMOTEEGID=stale UNIXLOCALPATH=stale \
		REMOTE_ADDR=stale REMOTE_PORT=stale \
		NOTIFY_SOCKET=/no/such/socket MINE='two words' EMPTY=
	sh -c "$variables" | grep -vE '^(LISTEN_|FDKIT_|PROTO|TCP|UNIX|REMOTE_)' >mine
	environment_is() {
		local expected=$1
		shift
		spawn fdrecv "$@" s sh -c "echo \$\$ >id; $variables" >found
		local receiver=$pid
		spawn fdsend -w 5 s 0 0
		ended "$receiver" 0
		{ cat mine && printf '%b\n' "$expected" && printf 'FDKIT_PEER_%s\n' "PID=$pid" "UID=$(id -u)" "GID=$(id -g)"; } |
			sed "s/SELF/$(cat id)/" | sort | diff - found >&2
	}
	listen='LISTEN_FDS=2\nLISTEN_FDNAMES=unknown:unknown'
	environment_is "FDKIT_FDS=3 4\nLISTEN_PID=SELF\n$listen"
	environment_is "FDKIT_FDS=3 4\nLISTEN_PID=SELF\n$listen" -f 3,4
	environment_is "FDKIT_FDS=3 4\n$listen" --no-pid
	environment_is 'FDKIT_FDS=5 6' -f 5,6
	environment_is 'FDKIT_FDS=4 5' -f 4-5
	environment_is 'FDKIT_FDS=0 3' -i
	environment_is 'FDKIT_FDS=0 2' -ie
	environment_is 'FDKIT_FDS=3\nLISTEN_PID=SELF\nLISTEN_FDS=1\nLISTEN_FDNAMES=unknown' -N 1
}

@test "no FDKIT_PEER_ variables from exec:, whose peer is the caller's own" {
	exits 0 fdrecv 'exec:fdsend -m text fd:1' env >found
	run ! grep FDKIT_PEER found
	grep -x FDKIT_MESSAGE=text found
}

@test "variables of the tools' families that were there before are removed, others stay" {
	stale=(PROTO=x TCPREMOTEIP=x TCPREMOTEPORT=x TCPREMOTEHOST=x TCPREMOTEINFO=x TCPLOCALIP=x TCPLOCALPORT=x TCPLOCALHOST=x
		UNIXREMOTEPID=x UNIXREMOTEEUID=x UNIXREMOTEEGID=x UNIXLOCALPATH=x REMOTE_ADDR=x REMOTE_PORT=x
		LISTEN_FDS=x LISTEN_PID=x LISTEN_FDNAMES=x FDKIT_MESSAGE=x FDKIT_FDS=x FDKIT_PEER_PID=x FDKIT_PEER_UID=x FDKIT_PEER_GID=x)
	for way in "${WAYS[@]}"; do
		begun "$way" env -- env "${stale[@]}" TCP=stays REMOTE_USER=stays FDK=stays
		[ "$(grep -c '=stays$' found)" -eq 3 ]
		run ! grep '=x$' found
		case $way in
		*exec* | *-i\ unix*) run ! grep ^LISTEN_ found ;;
		*) grep -qx LISTEN_FDS=1 found ;;
		esac
	done
}

# Variables of the families that ucspi and systemd have.
family='^(PROTO|TCP|UNIX|REMOTE_)'

@test "the variables that inetd's children expect, with -i or -o, from a TCP or Unix connection itself" {
	for where in 127.0.0.1 ::1 local; do
		[ $where != ::1 ] || grep -q . /proc/net/if_inet6 || continue
		for call in 'fdrecv -i' 'fdrecv -o' 'fdrecv -io' fdexec; do
			rm -f local found
			spawn $call s sh -c 'env >found.new; mv found.new found' 2>err
			exits 0 with.py accepted 0 $where fdsend -w 5 s >expected
			eventually test -e found
			kill "$pid" || true
			ended "$pid"
			sort expected | diff - <(grep -E "$family" found | sort)
		done
	done
	for options in '' -e; do
		spawn fdrecv $options s sh -c 'env >found'
		exits 0 with.py accepted 0 127.0.0.1 fdsend -w 5 s >expected
		ended "$pid" 0
		run ! grep -E "$family" found
	done
}

@test "the same from fdserve, of its client, whether COMMAND is its own or fdexec's; no brackets, and IPv4 of a dual socket is IPv4" {
	need_ipv6
	spawn fdexec w env
	await_socket w
	for command in '-- env' w; do
		rm -f addr
		spawn fdserve -A addr :0 $command
		port=$(bound addr | sed 's/.*://')
		for host in 127.0.0.1 '[::1]'; do
			ip=${host//[\[\]]/}
			meet.py connect "$host:$port" tell >vars
			printf '%s\n' PROTO=TCP "TCPREMOTEIP=$ip" "TCPREMOTEPORT=$(value OWN_PORT vars)" "TCPLOCALIP=$ip" "TCPLOCALPORT=$port" \
				"REMOTE_ADDR=$ip" "REMOTE_PORT=$(value OWN_PORT vars)" | sort | diff - <(grep -E "$family" vars | sort)
			[ "$command" != w ] || [ "$(value FDKIT_PEER_PID vars) $(value FDKIT_PEER_UID vars)" = "$pid $(id -u)" ]
		done
	done
}

@test "peer variables of a Unix connection, by path and abstract" {
	spawn fdserve -A addr unix:s "unix:@fdkit-$$" -- env
	bound addr
	for s in s "@fdkit-$$"; do
		meet.py connect "$s" tell >vars
		[ "$(value PROTO vars)" = UNIX ]
		[ "$(value UNIXREMOTEPID vars)" = "$(value OWN_PID vars)" ]
		[ "$(value UNIXREMOTEEUID vars)" = "$(id -u)" ]
		[ "$(value UNIXREMOTEEGID vars)" = "$(id -g)" ]
		[ "$(value UNIXLOCALPATH vars)" = "$s" ]
		run ! grep ^TCP vars
	done
}

@test "a path with control characters or other bytes that are no text is in no variable" {
	for path in $'s\e[7m' $'s\n' $'s\xff' $'s\xc2\x9b'; do
		spawn fdserve -q "unix:$path" -- env
		eventually test -S "$path"
		socat -t 20 - "UNIX-CONNECT:$path" </dev/null >vars
		grep -q ^PROTO=UNIX vars
		grep -q ^UNIXREMOTEEUID= vars
		run ! grep -a ^UNIXLOCALPATH vars
	done
}

@test "directory and umask are the caller's" {
	long=$(printf '%0200d' 0)
	mkdir "$long"
	for socket in s "$long/s"; do
		spawn sh -c 'umask 027; exec fdrecv -M 666 "$1" sh -c "pwd; umask" >found' - "$socket"
		exits 0 fdsend -w 5 "$socket"
		ended "$pid" 0
		[ "$(cat found)" = "$(printf '%s\n0027' "$PWD")" ]
	done
}

# ---- signals and limits ----

@test "signal mask and dispositions: none blocked, SIGPIPE default, the rest as the caller's" {
	dispositions_are() {
		local ignored=$1 way
		shift
		for way in "${WAYS[@]}"; do
			begun "$way" grep -E '^Sig(Blk|Ign)' /proc/self/status -- "$@"
			printf 'SigBlk:\t%016x\nSigIgn:\t%016x\n' 0 "$((ignored | internal))" | diff - found || { echo "$way" && false; } >&2
		done
	}
	bit() { echo $((1 << ($(kill -l "$1") - 1))); }
	clean=(env --default-signal)
	# Signals that the C library keeps for itself, and that env cannot reset: make leaves some ignored.
	internal=$((0x$("${clean[@]}" sed -n 's/^SigIgn:\t//p' /proc/self/status)))
	dispositions_are 0 "${clean[@]}"
	dispositions_are 0 "${clean[@]}" --ignore-signal=PIPE
	dispositions_are 0 "${clean[@]}" --block-signal
	dispositions_are $(($(bit HUP) | $(bit USR1))) "${clean[@]}" --ignore-signal=HUP,USR1,PIPE --block-signal=TERM,CHLD,USR2
	dispositions_are "$(bit CHLD)" "${clean[@]}" --ignore-signal=CHLD
	ends_by=HUP dispositions_are $(($(bit INT) | $(bit QUIT) | $(bit TERM))) "${clean[@]}" --ignore-signal=INT,QUIT,TERM
}

@test "the limit of open descriptors is the caller's" {
	for limits in '300 500' '64 64' "$(ulimit -Sn) $(ulimit -Hn)"; do
		read -r soft hard <<<"$limits"
		for way in "${WAYS[@]}"; do
			begun "$way" sh -c 'ulimit -S -n; ulimit -H -n' -- sh -c 'ulimit -S -n "$0" && ulimit -H -n "$1" && shift && exec "$@"' "$soft" "$hard"
			[ "$(paste -sd ' ' found)" = "$soft $hard" ]
		done
	done
}
