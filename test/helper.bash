# SPDX-License-Identifier: ISC
# Loaded by every .bats file: a scratch directory with short relative socket
# names, background commands that are always ended, and waiting without sleeping
# for a fixed time.
bats_require_minimum_version 1.5.0

# Debian keeps sshd, nginx and runuser in sbin; a version manager's python3 may
# shadow the one that the peers are tested against.
PATH=$PATH:/usr/sbin:/sbin:$BATS_TEST_DIRNAME/peers
export PYTHON=/usr/bin/python3 PYTHONDONTWRITEBYTECODE=1
TOOLS=(fdsend fdrecv fdserve fdexec fdhold fdrun fdrelay)
PIDS=()

setup() {
	# bats notes where it is before each command, in 0.4 ms: only in the tests, since helpers and bats are half of all.
	# shellcheck disable=SC2064,SC2128
	trap '[ "$BASH_SOURCE" != "$BATS_TEST_SOURCE" ] || bats_debug_trap "$BASH_SOURCE"' DEBUG
	exec </dev/null
	cd "$BATS_TEST_TMPDIR" || return
	unset NOTIFY_SOCKET
}

# Ends what spawn started, by pid: TERM for all, then KILL for what is still there after 10 s.
teardown() {
	local p
	for p in "${PIDS[@]}"; do
		kill "$p" 2>/dev/null || true
	done
	for p in "${PIDS[@]}"; do
		eventually gone "$p" || kill -9 "$p" || true
	done
	wait
	rm -rf "${pub:-}"
}

# spawn COMMAND [ARG...]: run it in the background without bats' own descriptor 3;
# its pid is in $pid. Redirect on the spawn line: spawn fdrecv s >out 2>err
spawn() {
	[ "$1" != as_other ] || set -- "${as_other[@]}" "${@:2}" # a function would be a shell in between, whose end ends nobody
	"$@" <&0 3>&- &
	pid=$!
	PIDS+=("$pid")
}

# gone PID: it runs no more (a zombie that this shell has not reaped counts as gone).
gone() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	[[ $stat == *') Z '* ]]
}

# eventually COMMAND [ARG...]: try until it succeeds, 10 s at most. This waits for a
# condition; it is not for hiding a command that only sometimes works.
eventually() {
	local end=$((SECONDS + 10))
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || { echo "never came true: $*" >&2; return 1; }
		sleep 0.02
	done
}

# listening NAME: the Unix socket at that path, or abstract with an @, accepts connections
# (flag 00010000; the kernel knows a long path by its end only), or, for a number, a TCP port does.
listening() {
	case $1 in
	*[!0-9]*)
		[ "${1#@}" != "$1" ] || [ -S "$1" ] || return
		awk -v n="${1##*/}" '$4 == "00010000" && substr($8, length($8) - length(n) + 1) == n { f = 1 } END { exit !f }' /proc/net/unix
		;;
	*) awk -v p="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }' /proc/net/tcp /proc/net/tcp6 ;;
	esac
}
await_socket() { eventually listening "$1"; }

# open_fds PID: the numbers of its open descriptors, in order, on one line.
open_fds() { (cd "/proc/$1/fd" && printf '%s\n' *) | sort -n | paste -sd ' '; }

# has_open PID FDS: it has just these descriptors open, as open_fds told before; for eventually.
has_open() { [ "$(open_fds "$1")" = "$2" ]; }

# rss PID: the memory that it has, in kB.
rss() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

# copies N [FD]: so many times FD (0), for -f.
copies() { yes "${2:-0}" | head -n "$1" | paste -sd ,; }

# one_line FILE [WORD...]: FILE holds exactly one line, or will, and each WORD is in it.
one_line() {
	local file=$1 word lines
	shift
	eventually test -s "$file"
	mapfile -t lines <"$file"
	[ "${#lines[@]}" -eq 1 ] || { echo "not one line:" && cat "$file"; return 1; } >&2
	for word; do
		[[ ${lines[0]} == *"$word"* ]] || { echo "no '$word' in: ${lines[0]}"; return 1; } >&2
	done
}

# as_other COMMAND [ARG...]: as another uid (65534, nobody) with no groups but its own.
as_other=(setpriv --reuid 65534 --regid 65534 --clear-groups --)
as_other() { "${as_other[@]}" "$@"; }

# need_root: for tests with a second uid.
need_root() { [ "$(id -u)" -eq 0 ] || skip "needs root, to become a second user"; }

# second_uid: in a public directory, for tests with as_other.
second_uid() {
	need_root
	public
	cd "$pub" || return
}

# public: a directory that every uid may enter and write ($pub), with the tools in it
# where as_other finds them (bats' directories are 0700, and so may be the source tree).
public() {
	local tool
	pub=$(mktemp -d /tmp/fdkit.XXXXXX) && chmod 1777 "$pub" && mkdir "$pub/bin" || return
	for tool in "${TOOLS[@]}"; do
		cp "$(type -P "$tool")" "$pub/bin" || return
	done
	PATH=$pub/bin:$PATH
}

# bound FILE: wait until fdserve -A has written FILE, and print it.
bound() { eventually test -s "$1" && cat "$1"; }

# talk ADDRESS: connect to an address as -A writes it (*:PORT by IPv4), send standard
# input, half-close, print what comes until end of file, and that it did not come.
talk() {
	local to=TCP:${1/#\*/127.0.0.1}
	case $1 in
	unix:@*) to=ABSTRACT-CONNECT:${1#unix:@} ;;
	unix:*) to=UNIX-CONNECT:${1#unix:} ;;
	esac
	timeout 10 socat -t 20 - "$to" || echo "talk: status $?"
}

# queued PORT [N]: N connections (some, unless given) wait in the kernel's queue there.
queued() {
	awk -v p="$(printf ':%04X' "$1")" -v n="${2:+$(printf %08X "${2:-0}")}" '$4 == "0A" && substr($2, length($2) - 4) == p {
		sub(/.*:/, "", $5); f = n == "" ? $5 != "00000000" : $5 == n } END { exit !f }' /proc/net/tcp
}

# children PID: its children, zombies included, but for a helper that closes its descriptors.
children() {
	local p name all=()
	read -ra all <"/proc/$1/task/$1/children" || true # no newline ends it
	for p in "${all[@]}"; do
		{ read -r name <"/proc/$p/comm"; } 2>/dev/null || continue
		[ "$name" = fdkit-closer ] || printf '%s ' "$p"
	done
}
childless() { [ -z "$(children "$1")" ]; }

# ended PID [STATUS]: wait until it is gone; its status is in $status (and must be STATUS).
ended() {
	eventually gone "$1" || return
	status=0
	wait "$1" || status=$?
	[ "$status" -eq "${2:-$status}" ] || { echo "status $status, not $2" >&2; return 1; }
}

# quick COMMAND [ARG...]: it succeeds within 5 s, though somebody tries to hold it up.
quick() { timeout 5 "$@"; }

# exits STATUS COMMAND [ARG...]: it ends with STATUS, and within 20 s.
exits() {
	local want=$1
	shift
	[ "$1" != as_other ] || set -- "${as_other[@]}" "${@:2}"
	status=0
	timeout -k 1 20 "$@" || status=$?
	[ "$status" -eq "$want" ] || { echo "status $status, not $want: $*" >&2; return 1; }
}

# asleep PID NAME: it has become the program NAME and waits for something in the kernel.
asleep() {
	local stat
	read -r stat <"/proc/$1/stat" && [[ $stat == *"($2) S "* ]]
}

# need_fuse: for tests with a file system of their own.
need_fuse() {
	need_root
	[ -w /dev/fuse ] || skip "no /dev/fuse"
	unshare -m true 2>/dev/null || skip "may not mount"
}

# fuse DIRECTORY OPERATION...: $stuck is a file there whose server ($pid) does not answer these.
fuse() {
	need_fuse
	spawn stuck.py mount "$1" "${@:2}" >mounted
	eventually grep -q ready mounted
	# shellcheck disable=SC2034  # the tests use it
	stuck=$1/file
}

# need_ipv6: for tests with an address that is not IPv4's.
need_ipv6() { grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null || skip "this machine has no IPv6 loopback"; }

# has_fdread: the builtin of this build can be loaded: it is there where bash's headers are, but not with a sanitizer.
has_fdread() {
	BASH_LOADABLES_PATH=$(dirname "$(dirname "$(type -P fdrecv)")")/lib/bash
	export BASH_LOADABLES_PATH
	[ -e "$BASH_LOADABLES_PATH/fdread" ] || return
	# 32-bit programs are built beside a 64-bit bash.
	! bash -c 'enable -f fdread fdread' 2>&1 | grep 'wrong ELF class'
}

# need_fdread: for tests with it.
need_fdread() { has_fdread || skip "fdread is not built here, or for another bash"; }

# need_strace: for tests that make system calls slow or fail. LeakSanitizer cannot run under it.
need_strace() {
	strace -o /dev/null true 2>/dev/null || skip "strace cannot trace here"
	export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-}
}

# need_valgrind TOOL: for tests under valgrind, which cannot run what a sanitizer was built into.
need_valgrind() {
	command -v valgrind >/dev/null || skip "no valgrind"
	if grep -qa __asan_init "$(type -P "$1")"; then skip "built with a sanitizer"; fi
	# Not every valgrind reads every compiler's debugging information, or has what a 32-bit program needs.
	valgrind -q "$(type -P "$1")" -V >/dev/null 2>&1 || skip "valgrind cannot run this build"
}

# valgrinded COMMAND [ARG...]: COMMAND's status, or 99 after a memory error, and where COMMAND
# succeeds, if it ended with a descriptor open that was not inherited.
valgrinded() {
	local got=0
	timeout 60 valgrind -q --track-fds=yes --child-silent-after-fork=yes --error-exitcode=99 --log-file=valgrind.log "$@" || got=$?
	if [ "$got" -eq 0 ]; then
		awk '/^==[0-9]+== Open / { n++ } /<inherited from parent>/ { n-- } END { exit n }' valgrind.log || got=99
	fi
	[ "$got" -ne 99 ] || cat valgrind.log >&2
	return "$got"
}

# wrong WORD COMMAND [ARG...]: a call that must be refused: status 125, nothing on standard
# output, one line with WORD on standard error, and no file more or less than before.
wrong() {
	local word=$1 before
	shift
	: >out; : >err
	before=$(ls -A)
	status=0
	timeout 5 "$@" </dev/null >out 2>err || status=$?
	[ "$status" -eq 125 ] || { echo "status $status, not 125: $*" && cat err; return 1; } >&2
	[ ! -s out ] || { echo "printed something: $*" && cat out; return 1; } >&2
	one_line err "${1##*/}: " "$word" || { echo "from: $*"; return 1; } >&2
	[ "$(ls -A)" = "$before" ] || { echo "left something behind: $*" && ls -A; return 1; } >&2
}

# value NAME FILE: what NAME is in the output of env(1).
value() { sed -n "s/^$1=//p" "$2"; }

# lines FILE N: FILE has N lines; for eventually.
lines() { [ "$(wc -l <"$1")" -eq "$2" ]; }

# need PROGRAM PACKAGE: it is there.
need() { command -v "$1" >/dev/null || skip "no $1 (Debian: $2)"; }

# under_load PORT [PREFIX...]: eight clients of an HTTP server, begun by PREFIX; the files good and bad have what comes of it.
under_load() {
	: >good; : >bad
	spawn "${@:2}" load.py "127.0.0.1:$1" 8 >good 2>bad
	load=$pid
	eventually grown 20
}

# grown N: the load has had N answers; more N: wait for N more.
grown() { [ "$(wc -l <good)" -ge "$1" ]; }
more() { eventually grown $(($(wc -l <good) + $1)); }

# load_ended: end it; it has made $requests, and $failures of them failed.
load_ended() {
	kill "$load"
	ended "$load" 0
	failures=$(wc -l <bad)
	# shellcheck disable=SC2034  # the tests use it
	requests=$(($(wc -l <good) + failures))
}
