#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A fleet: three hosts, which are network and pid namespaces, with fdserve -L -k and gunicorn on each, and HAProxy in front.
# And the files that fdkit-cookbook(7) has for service managers.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

HOSTS=(1 2 3)
enter=()        # what nsenter(1) needs to get into a namespace of ours
declare -gA net  # the process that keeps the network of the front, and of each host
declare -gA host # fdserve there, process 1 of the host

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

# ---- what fdkit-cookbook(7) has for service managers ----

# recipes: the files that it shows, as N/NAME, in the directory recipes.
recipes() {
	mkdir recipes
	(cd recipes && manifests.py extract "$BATS_TEST_DIRNAME/../man/fdkit-cookbook.7.scd")
}

# shown NAME: the one file of that name.
shown() {
	local found=(recipes/*/"$1")
	[ ${#found[@]} -eq 1 ] && echo "${found[0]}"
}

# fetched TEXT PORT: that is what a server in the network of the front answers.
fetched() { [ "$(inside front curl -s -m 10 "http://127.0.0.1:$2/")" = "$1" ]; }

# an_app DIRECTORY: one that gunicorn finds there; it answers with the version.
an_app() {
	mkdir -p "$1"
	printf 'text = open("version", "rb").read()\ndef app(environ, start):\n    start("200 OK", [])\n    return [text]\n' >"$1/app.py"
	echo one >"$1/version"
}

@test "systemd has nothing to say about the units" {
	need systemd-analyze systemd
	recipes
	for unit in recipes/*/*.service; do
		sed -i "s,/usr/local/bin/\([a-z]*\),$(dirname "$(type -P fdserve)")/\1," "$unit"
		run systemd-analyze verify --man=no "./$unit"
		[ "$status" -eq 0 ]
		sed '/Unit .*\.target not found/d' <<<"$output" >complaints     # where systemd has none of its own
		[ "$(cat complaints)" = "" ] || { cat complaints >&2 && false; }
	done
	[ "$(cat recipes/*/*.service | grep -c '^ExecStart=')" -eq 5 ]
}

# unit FILE: start its service as systemd would, as far as that goes, with what lies under / below $pub.
unit() {
	local user command become=()
	user=$(sed -n 's/^User=//p' "$1")
	command=$(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$1" | sed -n "s,/usr/local/bin/,,; s,\([ \t]\)/run/,\1$pub/run/,g; s/^ExecStart=//p")
	[ -z "$user" ] || become=(setpriv --reuid "$user" --regid "$user" --init-groups)
	# shellcheck disable=SC2086
	NOTIFY_SOCKET=$pub/notify spawn_inside front env -C "$pub/srv" "${become[@]}" $command 2>>"$pub/log"
	unit=$pid
}

# said_ready N: READY=1 has come so many times.
said_ready() { [ "$(grep -o READY=1 notices | wc -l)" -eq "$1" ]; }

@test "the services of the units run, get ready, and are reloaded" {
	need gunicorn gunicorn
	id www-data >/dev/null 2>&1 || skip "no user www-data"
	recipes
	files=$PWD/recipes
	second_uid
	fleet_front
	an_app srv
	mkdir -p run/fdhold run/echo
	umask 000
	spawn socat -u "UNIX-RECV:$pub/notify" CREATE:notices
	umask 022
	eventually test -S notify

	unit "$files"/*/fdhold.service
	eventually said_ready 1
	hold=$unit
	for file in "$files"/*/web.service; do
		if grep -q fdrecv "$file"; then from_hold=$file; else kept=$file; fi
	done
	unit "$from_hold"
	eventually said_ready 2
	fetched one 80
	kill "$unit"
	ended "$unit" 0
	kill "$hold"
	ended "$hold" 0

	unit "$files"/*/echo.service
	eventually said_ready 3
	unit "$files"/*/echo-worker@.service
	eventually said_ready 4
	[ "$(echo hello | inside front nc -N 127.0.0.1 7)" = hello ]

	unit "$kept"
	eventually said_ready 5
	fetched one 80
	echo two >srv/version
	sh -c "$(sed -n 's/^ExecReload=//p' "$kept" | sed "s/\$MAINPID/$unit/")"
	eventually said_ready 6
	grep -q RELOADING=1 notices
	eventually fetched two 80
	kill "$unit"
	ended "$unit" 0
}

# fleet_front: a network alone, with a loopback interface.
fleet_front() {
	HOSTS=()
	fleet
}

@test "s6 supervises the service directories, and says HUP and restart to them" {
	need s6-supervise s6
	need gunicorn gunicorn
	recipes
	fleet_front
	for n in kept hold web; do
		an_app "$n"
		[ $n = web ] || echo 3 >"$n/notification-fd"
	done
	cp "$(shown hold.run)" hold/run
	for file in recipes/*/web.run; do
		if grep -q fdrecv "$file"; then cp "$file" web/run; else cp "$file" kept/run; fi
	done
	sed -i "s,/run/hold,$PWD/hold," hold/run web/run
	chmod +x ./*/run

	spawn_inside front s6-supervise kept 2>log
	eventually s6-svok kept
	s6-svwait -t 10000 -U kept
	fetched one 8000
	echo two >kept/version
	s6-svc -h kept
	eventually fetched two 8000
	s6-svc -d kept
	s6-svwait -t 10000 -D kept

	spawn_inside front s6-supervise hold 2>log.hold
	spawn_inside front s6-supervise web 2>log.web
	eventually s6-svok hold
	eventually s6-svok web
	s6-svwait -t 10000 -U hold
	eventually fetched one 8000
	echo two >web/version
	s6-svc -r web
	eventually fetched two 8000
}

# pod NETWORK NAME: start the container of fleet.yaml that has this NAME in NETWORK, with $pub/run for the node's /run.
pod() {
	local pod uid dir mounts=()
	manifests.py pods "$yaml" | grep "^$2 " | sed "s,/run/,$pub/run/,g" >"pod.$2"
	eval "pod=($(cat "pod.$2"))"
	uid=${pod[1]} dir=${pod[2]}
	if [ "$2" = web ] && unshare -m true 2>/dev/null; then
		mounts=(unshare -m sh -c 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"' - "$dir")
	fi
	spawn_inside "$1" "${mounts[@]}" env -C srv setpriv --reuid "$uid" --regid "$uid" --clear-groups --bounding-set=-all --no-new-privs \
		"${pod[@]:3}" 2>>log
}

@test "Kubernetes: the manifest is well formed, and a rolling update of its pods fails no request" {
	"$PYTHON" -c 'import yaml' 2>/dev/null || skip "no python3-yaml"
	need gunicorn gunicorn
	recipes
	yaml=$PWD/$(shown fleet.yaml)
	manifests.py check "$yaml"
	second_uid
	fleet_front
	network pod
	an_app srv
	mkdir -p run/fdkit
	chown "$(manifests.py pods "$yaml" | sed -n 's/^hold \([0-9]*\) .*/\1/p')" run/fdkit
	pod front hold
	eventually test -S run/fdkit/hold.sock
	pod pod web
	former=$pid
	eventually fetched one 8080
	under_load 8080 nsenter -n -t "${net[front]}" --
	echo two >srv/version
	pod pod web
	eventually grep -q two good
	kill "$former"
	ended "$former" 0
	more 50
	load_ended
	[ "$failures" -eq 0 ] || { cat bad >&2 && false; }
	[ "$(tail -n 1 good)" = two ]
}

@test "the balancer's configuration is one that HAProxy takes" {
	need haproxy haproxy
	recipes
	haproxy -c -f "$(shown haproxy.cfg)"
}
