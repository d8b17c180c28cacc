#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The real programs on a held socket, restarted under load; and what a killed dispatcher costs.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# Each server answers every request with its generation, $1, and is started in $PWD by
#   start_NAME GENERATION PORT [PREFIX...]
# through PREFIX, which becomes its arguments with the socket at 3; without, it listens at PORT itself.

start_nginx() {
	local user=
	[ "$(id -u)" -ne 0 ] || user='user root;'
	mkdir -p "nginx$1"
	cat >"nginx$1/nginx.conf" <<-END
		$user
		daemon off;
		worker_processes 1;
		pid nginx.pid;
		error_log error.log;
		events { }
		http {
		  access_log off;
		  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
		  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
		  server { listen 127.0.0.1:$2; location / { return 200 "$1\n"; } }
		}
	END
	local inherit=(env)
	[ $# -eq 2 ] || inherit=(env 'NGINX=3;')
	spawn "${@:3}" "${inherit[@]}" nginx -p "$PWD/nginx$1" -c nginx.conf -e error.log 2>>"nginx.log"
}

start_gunicorn() {
	local bind=()
	[ $# -gt 2 ] || bind=(-b "127.0.0.1:$2")
	GENERATION=$1 spawn "${@:3}" gunicorn "${bind[@]}" --worker-tmp-dir . --pid "gunicorn$1.pid" \
		--log-file "gunicorn$1.log" --pythonpath "$BATS_TEST_DIRNAME/peers" app:app
}

start_uvicorn() {
	local bind=(--fd 3)
	[ $# -gt 2 ] || bind=(--port "$2")
	GENERATION=$1 spawn "${@:3}" uvicorn --no-access-log --lifespan off --app-dir "$BATS_TEST_DIRNAME/peers" "${bind[@]}" app:asgi 2>>uvicorn.log
}

start_haproxy() {
	local at=fd@3
	[ $# -gt 2 ] || at=127.0.0.1:$2
	cat >"haproxy$1.cfg" <<-END
		global
		  nbthread 1
		defaults
		  mode http
		  timeout client 20s
		  timeout server 20s
		  timeout connect 20s
		frontend web
		  bind $at
		  http-request return status 200 content-type text/plain string "$1 "
	END
	spawn "${@:3}" haproxy -db -f "haproxy$1.cfg" >>haproxy.log 2>&1
}

start_node() {
	local where='{"fd": 3}'
	[ $# -gt 2 ] || where="{\"host\": \"127.0.0.1\", \"port\": $2}"
	spawn "${@:3}" node "$BATS_TEST_DIRNAME/peers/app.js" "$1" "$where" 2>>node.log
}

start_lighttpd() {
	local activation=disable
	[ $# -eq 2 ] || activation=enable
	mkdir -p "lighttpd$1"; echo "$1" >"lighttpd$1/index.html"
	cat >"lighttpd$1.conf" <<-END
		server.document-root = "$PWD/lighttpd$1"
		server.bind = "127.0.0.1"
		server.port = $2
		server.systemd-socket-activation = "$activation"
		server.errorlog = "$PWD/lighttpd$1.log"
		index-file.names = ( "index.html" )
	END
	spawn "${@:3}" lighttpd -D -f "lighttpd$1.conf"
}

# answers_as GENERATION PORT: that one answers now.
answers_as() { [ "$(curl -s -m 20 "http://127.0.0.1:$2/")" = "$1" ] || [ "$(curl -s -m 20 "http://127.0.0.1:$2/" | tr -d ' \n')" = "$1" ]; }

# stop NAME PID: end it gracefully.
declare -gA graceful=([nginx]=QUIT [gunicorn]=TERM [uvicorn]=TERM [haproxy]=USR1 [node]=TERM [lighttpd]=INT)
stop() {
	kill -"${graceful[$1]}" "$2"
	ended "$2"
}

# $most requests may fail, 0 unless set. restarts NAME [OPTION...]: the server NAME on a socket held by fdhold OPTION..., restarted three times,
# the second time with a gap in which none runs.
restarts() {
	local name=$1 port old get=(fdrecv -c -f web hold)
	spawn fdhold "${@:2}" -A addr hold web=127.0.0.1:0
	port=$(bound addr | sed 's/.*://')
	"start_$name" 1 "$port" "${get[@]}"
	old=$pid
	eventually answers_as 1 "$port"
	under_load "$port"
	"start_$name" 2 "$port" "${get[@]}"     # both serve for a while
	eventually grep -q 2 good
	stop "$name" "$old"
	more 50
	stop "$name" "$pid"
	eventually queued "$port"               # none serves
	"start_$name" 3 "$port" "${get[@]}"
	old=$pid
	more 50
	"start_$name" 4 "$port" "${get[@]}"
	eventually grep -q 4 good
	stop "$name" "$old"
	more 50
	load_ended
	echo "# $name on a held socket: three restarts, $requests requests, $failures failed" >&3
	[ "$failures" -le "${most:-0}" ] || { sort bad | uniq -c && false; }
	[ "$(sort -u good | tr -d ' ' | paste -sd ' ')" = '1 2 3 4' ]
}

# save COMMAND...: instead of running it, write it to the file start, whole at once.
save() {
	printf 'export GENERATION=%q\nexec' "${GENERATION-}" >start.new
	printf ' %q' "$@" >>start.new
	mv start.new start
}

# next NAME GENERATION PORT: that is started from now on, with another end than by TERM where it wants that.
next() {
	local by=(save)
	[ "${graceful[$1]}" = TERM ] || by+=(stop-by.sh "${graceful[$1]}")
	"start_$1" "$2" "$3" "${by[@]}"
	ended "$pid" 0
}

# formers_ended N: so many have ended.
formers_ended() { [ "$(grep -c 'ended with status' err)" -ge "$1" ]; }

# replaced NAME [OPTION...]: the server NAME under fdserve -L -k OPTION..., replaced three times by HUP.
replaced() {
	local name=$1 port keeper generation
	spawn fdserve -L -k -v --ready-after 500ms "${@:2}" -A addr 127.0.0.1:0 -- \
		bash -c 'until [ -e start ]; do sleep 0.02; done; . ./start' 2>err
	keeper=$pid
	port=$(bound addr | sed 's/.*://')
	next "$name" 1 "$port"
	eventually answers_as 1 "$port"
	under_load "$port"
	for generation in 2 3 4; do
		next "$name" "$generation" "$port"
		kill -HUP "$keeper"
		eventually grep -q "$generation" good
		eventually formers_ended $((generation - 1))
		more 50
	done
	load_ended
	kill "$keeper"
	ended "$keeper"
	echo "# $name under fdserve -L -k: three HUPs, $requests requests, $failures failed" >&3
	[ "$failures" -le "${most:-0}" ] || { sort bad | uniq -c && cat err && false; }
	[ "$(sort -u good | tr -d ' ' | paste -sd ' ')" = '1 2 3 4' ]
}

# control NAME: the same without a holder, as far as it goes: the next cannot listen while the last does.
control() {
	local name=$1 port old
	spawn fdserve -L -A addr 127.0.0.1:0 -- true    # a free port
	port=$(bound addr | sed 's/.*://')
	ended "$pid"
	"start_$name" 1 "$port"
	old=$pid
	eventually answers_as 1 "$port"
	under_load "$port"
	for generation in 2 3 4; do
		stop "$name" "$old"
		[ "$generation" -ne 3 ] || eventually test -s bad       # the gap
		"start_$name" "$generation" "$port"
		old=$pid
		eventually answers_as "$generation" "$port"
		more 50
	done
	load_ended
	echo "# $name without a holder: three restarts, $requests requests, $failures failed" >&3
	[ "$failures" -gt 0 ]
}

@test "nginx on a held socket is restarted three times under load, and no request fails" {
	need nginx nginx
	restarts nginx --nonblock
}

@test "nginx under fdserve -L -k is replaced three times under load, and no request fails" {
	need nginx nginx
	replaced nginx --nonblock
}

@test "nginx without a holder: the same restarts lose requests" {
	need nginx nginx
	control nginx
}

@test "gunicorn on a held socket is restarted three times under load, and no request fails" {
	need gunicorn gunicorn
	restarts gunicorn
}

@test "gunicorn under fdserve -L -k is replaced three times under load, and no request fails" {
	need gunicorn gunicorn
	replaced gunicorn
}

@test "gunicorn without a holder: the same restarts lose requests" {
	need gunicorn gunicorn
	control gunicorn
}

# At TERM uvicorn closes the connections whose request it has not read yet: of each of eight clients one, three times.
@test "uvicorn on a held socket is restarted three times under load, and only requests that it had accepted fail" {
	need uvicorn uvicorn
	most=24
	restarts uvicorn
}

@test "uvicorn under fdserve -L -k is replaced three times under load, and only requests that it had accepted fail" {
	need uvicorn uvicorn
	most=24
	replaced uvicorn
}

@test "uvicorn without a holder: the same restarts lose requests" {
	need uvicorn uvicorn
	control uvicorn
}

@test "haproxy on a held socket is restarted three times under load, and no request fails" {
	need haproxy haproxy
	restarts haproxy
}

@test "haproxy under fdserve -L -k is replaced three times under load, and no request fails" {
	need haproxy haproxy
	replaced haproxy
}

@test "haproxy without a holder: the same restarts lose requests" {
	need haproxy haproxy
	control haproxy
}

@test "node on a held socket is restarted three times under load, and no request fails" {
	need node nodejs
	restarts node
}

@test "node under fdserve -L -k is replaced three times under load, and no request fails" {
	need node nodejs
	replaced node
}

@test "node without a holder: the same restarts lose requests" {
	need node nodejs
	control node
}

@test "lighttpd on a held socket is restarted three times under load, and no request fails" {
	need lighttpd lighttpd
	restarts lighttpd
}

@test "lighttpd under fdserve -L -k is replaced three times under load, and no request fails" {
	need lighttpd lighttpd
	replaced lighttpd
}

@test "lighttpd without a holder: the same restarts lose requests" {
	need lighttpd lighttpd
	control lighttpd
}

@test "fdserve on a held listener, killed and started again under load, loses at most its worker's slots a kill" {
	kills=20 slots=4
	spawn fdhold -A addr hold web=127.0.0.1:0
	port=$(bound addr | sed 's/.*://')
	spawn fdexec -q -j $slots w sh -c 'read -r a && read -r b && printf "HTTP/1.0 200 OK\r\n\r\n1\n"' 2>worker.log
	await_socket w
	dispatcher() {
		rm -f ready
		spawn fdrecv -c -f web=3 hold fdserve -q -A ready fd:3 w
		dispatcher=$pid
		eventually test -s ready
	}
	dispatcher
	under_load "$port"
	for ((i = 0; i < kills; i++)); do
		more 25
		kill -9 "$dispatcher"
		ended "$dispatcher" 137
		dispatcher
	done
	more 25
	load_ended
	echo "# fdserve killed $kills times: $requests requests, $failures lost, at most $((kills * slots)) could be" >&3
	[ "$failures" -le $((kills * slots)) ] || { sort bad | uniq -c && false; }
	[ "$requests" -ge $((kills * 25)) ]
}
