#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# -u: what root opens, USER serves.
# shellcheck disable=SC2016,SC2154
load helper

nobody='65534 65534 65534'
ids='echo $(id -u) $(id -g) $(id -G)'


# status_of PID: its four uids, four gids and its groups.
status_of() { sed -nE 's/^(Uid|Gid|Groups):[[:space:]]*//p' "/proc/$1/status" | tr '\t\n' '  ' | sed 's/ *$//'; }

@test "fdserve -- COMMAND: bound as root, run as the user, with no way back" {
	second_uid
	spawn fdserve -q -u nobody -A addr -io 127.0.0.1:0 -- sh -c "$ids"
	[ "$(talk "$(bound addr)" </dev/null)" = "$nobody" ]
	[ "$(status_of "$pid")" = '65534 65534 65534 65534 65534 65534 65534 65534 65534' ]
	kill "$pid"
	ended "$pid" 0
}

@test "USER:GROUP, and a uid that nobody has" {
	second_uid
	exits 0 fdserve -L -u nobody:daemon 127.0.0.1:0 -- sh -c "$ids" >out
	[ "$(cat out)" = '65534 1 1' ]
	exits 0 fdserve -L -u 12345:12346 127.0.0.1:0 -- sh -c "$ids" >out
	[ "$(cat out)" = '12345 12346 12346' ]
	exits 0 fdserve -L -u 1 127.0.0.1:0 -- sh -c "$ids" >out
	[ "$(cat out)" = '1 1 1' ]
}

@test "a port that only root may bind is the user's to serve" {
	second_uid
	unshare -n true || skip "cannot make a network namespace"
	run unshare -n sh -c 'ip link set lo up && exec fdserve -L -u nobody 127.0.0.1:80 -- sh -c "$1; ss -Hltn sport = :80"' sh "$ids"
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "$nobody" ]
	[[ ${lines[1]} == *127.0.0.1:80* ]]
}

@test "fdexec: the socket is root's, the commands are the user's" {
	second_uid
	spawn fdexec -q -u nobody -M 0600 s sh -c "$ids"
	eventually listening s
	[ "$(stat -c %U:%a s)" = root:600 ]
	fdsend s 1 >out
	eventually test -s out
	[ "$(cat out)" = "$nobody" ]
	exits 125 as_other fdsend s 1 2>err
	kill "$pid"
	ended "$pid" 0
}

@test "fdexec -u: the user is the own uid of the peer check" {
	second_uid
	spawn fdexec -q -u nobody -M 0666 s true
	eventually listening s
	"${as_other[@]}" fdsend s 0
	exits 125 setpriv --reuid 1 --regid 1 --clear-groups -- fdsend s 0 2>err
	kill "$pid"
	ended "$pid" 0
}

@test "fdhold: holds what root has opened" {
	second_uid
	spawn fdhold -q -u nobody -M 0666 s http=127.0.0.1:0
	eventually listening s
	[[ $(status_of "$pid") == '65534 65534'* ]]
	"${as_other[@]}" fdrecv -c -f http s true
	fdhold --list s | grep -q '^http'
	kill "$pid"
	ended "$pid" 0
}

@test "who is not there, or not root, is told so, and nothing is opened" {
	second_uid
	wrong '-u nosuchuser: no such user' fdserve -u nosuchuser 127.0.0.1:0 s
	wrong '-u nobody:nosuchgroup: no such group' fdserve -u nobody:nosuchgroup 127.0.0.1:0 s
	wrong '-u 12345: a uid without a passwd entry needs a group' fdexec -u 12345 s true
	wrong '-u cannot be combined with -S' fdexec -u nobody -S 3 true
	wrong '-u cannot be combined with --list' fdhold -u nobody --list s
	exits 125 as_other fdhold -u daemon s 2>err
	one_line err fdhold '-u daemon: only root can become another'
	[ ! -e s ]
}
