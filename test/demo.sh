#!/bin/sh
# SPDX-License-Identifier: ISC
# The main job: two unrelated processes serve an HTTP client. One accepts connections, the other
# runs a command for each, and they share nothing but the path of a Unix socket. Status 0 only
# if the client got its page from the command and both processes ended cleanly.
set -u

dir=$(mktemp -d) || exit 1
server='' worker=''
# shellcheck disable=SC2317  # called by trap
clean_up() {
	# shellcheck disable=SC2086  # each is one pid, or nothing
	kill $server $worker 2>/dev/null
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1

say() {
	echo
	printf '# %s\n' "$@"
}
show() { printf '$ %s\n' "$*"; }
die() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# get URL: its page, by whatever HTTP client there is.
get() {
	if command -v curl >/dev/null; then
		curl -sS --max-time 5 "$1"
	elif command -v python3 >/dev/null; then
		python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode(), end="")' "$1"
	else
		rest=${1#http://}
		# shellcheck disable=SC2016  # bash expands them
		bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf "GET $2 HTTP/1.0\r\n\r\n" >&3 && sed "1,/^.\$/d" <&3' \
			"${rest%%:*}" "$(expr "$rest" : '[^:]*:\([0-9]*\)')" "/${rest#*/}"
	fi
}

# stopped PID: ask it to end; its status must be 0.
stopped() {
	show "kill $1"
	kill "$1"
	wait "$1" || die "process $1 did not end with status 0"
}

for tool in fdserve fdexec; do
	command -v $tool >/dev/null || die "$tool is not in PATH: run make demo"
done

cat >handler <<'END'
read -r method path version
while read -r header && [ "${#header}" -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n'
echo "Hello $REMOTE_ADDR, you asked for $path."
echo "Process $FDKIT_PEER_PID accepted your connection; I am process $$ and serve it."
END
say 'A command that serves one HTTP request on its standard input and output.'
show 'cat handler'
cat handler

say 'One process accepts connections on a free TCP port, which it writes to a file, and' \
    'passes each on to whoever listens at the Unix socket w.sock. Nobody does yet.'
show 'fdserve -A addr 127.0.0.1:0 w.sock &'
fdserve -A addr 127.0.0.1:0 w.sock &
server=$!
tries=0
until [ -s addr ]; do
	tries=$((tries + 1))
	[ $tries -lt 50 ] || die 'fdserve wrote no address'
	sleep 0.1
done
show 'cat addr'
cat addr

say 'Another process, that the first knows nothing of, takes connections at w.sock and' \
    'runs the handler for each.'
show 'fdexec w.sock sh handler &'
fdexec w.sock sh handler &
worker=$!

say 'An HTTP client asks.'
url=http://$(cat addr)/index.html
show "curl $url"
page=$(get "$url") || die 'the client got nothing'
printf '%s\n' "$page"
case $page in
*"you asked for /index.html."*"Process $server accepted"*) ;;
*) die 'this is not the page that the handler writes' ;;
esac

say 'The worker ends; a client that comes now waits, and the next worker serves it.'
stopped "$worker"
show "curl $url &"
get "$url" >page &
client=$!
show 'fdexec w.sock sh handler &'
fdexec w.sock sh handler &
worker=$!
wait "$client" || die 'the second client got nothing'
cat page
grep -q "Process $server accepted" page || die 'this is not the page that the handler writes'

say 'Both end when they are told to, say why, and leave nothing behind.'
stopped "$server"
server=
stopped "$worker"
worker=
show ls
ls
[ ! -e w.sock ] || die 'w.sock is still there'
say 'It works.'
