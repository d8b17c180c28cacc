#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A fleet: three hosts, which are network and pid namespaces, with fdserve -L -k and gunicorn on each, and HAProxy in front.
# And the files that fdkit-cookbook(7) has for service managers.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

HOSTS=(1 2 3)
enter=()        # what nsenter(1) needs to get into a namespace of ours
declare -A net  # the process that keeps the network of the front, and of each host
declare -A host # fdserve there, process 1 of the host

# inside NETWORK COMMAND...: COMMAND there; spawned, it is COMMAND that is spawned.
inside() { nsenter "${enter[@]}" -n -t "${net[$1]}" -- "${@:2}"; }
spawn_inside() { spawn nsenter "${enter[@]}" -n -t "${net[$1]}" -- "${@:2}"; }

# network NAME: an empty one; that of the front first, in whose user namespace the others are.
network() {
	if [ "$1" = front ]; then
		spawn unshare "${make[@]}" sleep 600
	else
		spawn_inside front unshare -n sleep 600
	fi
	net[$1]=$pid
	eventually asleep "$pid" sleep
}

# fleet: the networks; a link from the front to each host, 10.7.N.1 to 10.7.N.2.
fleet() {
	local n make=(-n)
	[ "$(id -u)" -eq 0 ] || make=(-n -r) enter=(-U --preserve-credentials)
	unshare "${make[@]}" true 2>/dev/null || skip "may not make a network namespace"
	network front
	inside front ip link set lo up
	for n in "${HOSTS[@]}"; do
		network "$n"
		inside front ip link add "host$n" type veth peer name eth0 netns "${net[$n]}" 2>/dev/null || skip "this kernel has no veth links"
		inside front ip address add "10.7.$n.1/24" dev "host$n"
		inside front ip link set "host$n" up
		inside "$n" ip address add "10.7.$n.2/24" dev eth0
		inside "$n" ip link set eth0 up
	done
}

# front: HAProxy at 127.0.0.1:8000 of the front; its log has a line for each request: status, host, how it ended, retries.
front() {
	cat >haproxy.cfg <<-'END'
		global
		  log stdout format raw local0
		defaults
		  mode http
		  log global
		  log-format "request %ST %s %ts %rc"
		  option redispatch 1
		  option http-server-close
		  option httpchk
		  retries 3
		  timeout client 20s
		  timeout connect 1s
		  timeout server 4s
		frontend web
		  bind 127.0.0.1:8000
		  default_backend hosts
		backend hosts
		  default-server check inter 200ms fall 2 rise 1
		  server 1 10.7.1.2:8000
		  server 2 10.7.2.2:8000
		  server 3 10.7.3.2:8000
	END
	spawn_inside front haproxy -db -f haproxy.cfg >front.log 2>front.err
	eventually inside front curl -sf http://127.0.0.1:8000/
	mark
}

# The log of the requests since the mark: all; those that had no good answer, or not from the first host that HAProxy tried.
mark() { marked=$(wc -l <front.log); }
since() { tail -n +$((marked + 1)) front.log | grep '^request'; }
failed() { since | awk '$2 != 200 || $4 != "--"'; }
retried() { since | awk '$NF != 0'; }

# all_failed PATTERN: each line of those that failed is one.
all_failed() { [ "$(failed | wc -l)" -eq "$(failed | grep -c "^request $1\$")" ] || { failed >&2 && false; }; }

# report STEP: what it cost; there were requests.
report() {
	echo "# $1: $(since | wc -l) requests, $(failed | wc -l) failed, $(retried | wc -l) were tried elsewhere" >&3
	[ "$(since | wc -l)" -ge 50 ]
}

# boot N [COMMAND...]: the host N with process 1 COMMAND, fdserve -L -k with gunicorn unless given. A version is $PWD/version.
server='GENERATION=$(cat version) DELAY=0.02 exec gunicorn --worker-tmp-dir . --pythonpath "$PEERS" "$@" app:app'
boot() {
	spawn_inside "$1" env PEERS="$BATS_TEST_DIRNAME/peers" unshare --fork --pid --kill-child "${@:2}" 2>"err.$1"
	eventually one_child "$pid"
	host[$1]=$(children "$pid")
	host[$1]=${host[$1]% }
	PIDS+=("${host[$1]}")
}
one_child() { [ "$(children "$1" | wc -w)" -eq 1 ]; }
kept() { boot "$1" fdserve -L -k -v --drain 10s "10.7.$1.2:8000" -- sh -c "$server"; }
plain() { boot "$1" sh -c "$server" - -b "10.7.$1.2:8000"; }

# served N TIMES: a server on the host N was ready so many times.
served() { [ "$(grep -c 'is ready$' "err.$1")" -ge "$2" ]; }
finished() { [ "$(grep -c 'ended with status' "err.$1")" -ge "$2" ]; }

@test "a fleet behind HAProxy: a deploy costs no request, dead workers and a dead host only what they had accepted" {
	need haproxy haproxy
	need gunicorn gunicorn
	fleet
	echo 1 >version
	for n in "${HOSTS[@]}"; do kept "$n"; done
	for n in "${HOSTS[@]}"; do eventually served "$n" 1; done
	front
	under_load 8000 nsenter "${enter[@]}" -n -t "${net[front]}" --

	echo 2 >version
	for n in "${HOSTS[@]}"; do
		kill -HUP "${host[$n]}"
		eventually served "$n" 2
		eventually finished "$n" 1
	done
	more 50
	[ "$(tail -n 20 good | sort -u)" = 2 ]
	report 'a deploy on three hosts'
	[ ! -s bad ] || { cat bad >&2 && false; }
	[ -z "$(failed)$(retried)" ] || { failed; retried; false; } >&2

	mark
	master=$(children "${host[1]}")
	# shellcheck disable=SC2046,SC2086
	kill -9 $master $(children ${master% })
	eventually served 1 3
	more 50
	report 'the workers of a host killed'
	[ -z "$(retried)" ]
	# Its one worker had accepted one request at most.
	[ "$(failed | wc -l)" -le 1 ]
	all_failed '[0-9]* 1 S[HD] 0'

	mark
	inside 2 ip link set eth0 down
	kill -9 "${host[2]}"
	eventually grep -q '^Server hosts/2 is DOWN' front.log
	more 50
	load_ended
	report 'a host killed'
	# It had accepted them, and no answer came; none failed because nobody took the connection.
	all_failed '[0-9]* 2 s[HD] 0'
}

@test "a fleet behind HAProxy without fdserve: the same deploy fails requests" {
	need haproxy haproxy
	need gunicorn gunicorn
	fleet
	echo 1 >version
	for n in "${HOSTS[@]}"; do plain "$n"; done
	front
	under_load 8000 nsenter "${enter[@]}" -n -t "${net[front]}" --
	for ((round = 0; round < 3; round++)); do
		for n in "${HOSTS[@]}"; do
			kill "${host[$n]}"
			eventually gone "${host[$n]}"
			plain "$n"
			more 50
		done
		[ ! -s bad ] || break
	done
	load_ended
	report 'a deploy on three hosts without fdserve'
	[ "$(failed | wc -l)" -gt 0 ]
}
