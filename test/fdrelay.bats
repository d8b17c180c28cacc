#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdrelay: what it carries, how it ends, what it holds, what it shows; and real programs through it.
# shellcheck disable=SC2154  # helper.bash sets pid, status, pub, stuck
load helper

# checks CHECK:KIND...: all of them find what they would find without a relay (peers/relay.py).
checks() {
	local check n=0 pids=() failed=0
	for check; do
		n=$((n + 1))
		timeout 60 relay.py "${check%:*}" "${check#*:}" >"$n.out" 2>"$n.err" 3>&- &
		pids+=($!)
	done
	n=0
	for check; do
		wait "${pids[n]}" || failed=1
		n=$((n + 1))
		if ! grep -qx ok "$n.out"; then
			failed=1
			echo "$check:"
			tail -n 5 "$n.err"
		fi >&2
	done
	[ "$failed" -eq 0 ]
}

# relayed BACK FRONT [OPTION...]: who connects to FRONT is carried to BACK.
relayed() {
	spawn fdserve -q -io "unix:$2" -- fdrelay "${@:3}" "$1"
	await_socket "$2"
}

# as_bytes BACK FRONT: the same by a relay that does not know descriptors.
as_bytes() {
	spawn socat "UNIX-LISTEN:$2,fork" "UNIX-CONNECT:$1"
	await_socket "$2"
}

# ---- what is carried ----

@test "a stream: each descriptor comes with the first byte of its message, and never with another's" {
	checks exact:stream large:stream
}

@test "packets stay packets, the empty and the largest too" {
	checks packets:seqpacket packets:dgram
}

@test "a connection that is no Unix socket carries bytes both ways; a descriptor for it ends fdrelay with 125" {
	checks half:tcp refused:tcp
}

@test "no copy of what has passed stays; of what waits, fdrelay has one message a direction, and slows the writer down" {
	checks stays:stream stays:seqpacket held:stream held:seqpacket
}

@test "too many descriptors in flight for its user: fdrelay waits until some are taken, and all arrive" {
	second_uid
	RELAY="${as_other[*]} prlimit --nofile=64 fdrelay" checks held:stream
}

@test "more descriptors in a message than fdrelay may have open end it with 125, and both sides see the end" {
	RELAY='prlimit --nofile=64 fdrelay' checks unfit:stream unfit:seqpacket
}

# ---- ends ----

@test "the end of one direction is passed on, and the other goes on" {
	checks half:stream half:seqpacket
}

@test "a side that is gone: the other gets all that it sent, end of file and write errors, and fdrelay ends" {
	checks dies:stream dies:seqpacket dies_full:stream dies_full:seqpacket
}

@test "HUP, INT and TERM end it, and it dies of them" {
	for signal in HUP INT TERM; do
		rm -f b
		spawn meet.py listen b silent
		await_socket b
		spawn with.py pair 0 9 env --default-signal fdrelay b
		eventually asleep "$pid" fdrelay
		kill -$signal "$pid"
		ended "$pid" $((128 + $(kill -l $signal)))
	done
}

@test "-t: 124, while connected and while it waits for SOCKET" {
	mkfifo out
	exits 124 with.py pair 0 9 fdrelay -t 0.2 'exec:cat >out' 2>err
	one_line err 'fdrelay: exec:cat >out: timed out'
	timeout 5 cat out               # its shell waits for a reader
	for option in -t -w; do
		exits 124 with.py pair 0 9 fdrelay -w 20 $option 0.2 nobody 2>err
		one_line err 'fdrelay: nobody: timed out (nobody listens there)'
	done
}

@test "-w: fdrelay waits for SOCKET, and carries what the client has sent meanwhile" {
	relayed b f -w 10
	spawn fdsend f 0
	fdrecv b true
	ended "$pid" 0
}

# ---- whom it deals with ----

# carries_nothing WHY COMMAND [ARG...]: it ends with 125 and WHY.
carries_nothing() {
	exits 125 "${@:2}" 2>err
	one_line err "fdrelay: $1"
}

@test "standard input must be a connection, of SOCKET's type; a peer that -a does not name is refused" {
	wrong 'standard input: not a socket' fdrelay s
	carries_nothing 'standard input: it is a listening socket' with.py listener 0 l fdrelay s
	carries_nothing 's: No such file or directory (-w TIME waits)' with.py pair 0 9 fdrelay s
	carries_nothing 'fd:0: that is standard input' with.py pair 0 9 fdrelay fd:0
	carries_nothing '-T: the socket at standard input is of another type' with.py pair 0 9 fdrelay -T seqpacket s
	carries_nothing 'fd:8: the socket at standard input is of another type' with.py -T seqpacket pair 8 7 with.py pair 0 9 fdrelay fd:8
	carries_nothing 'two: one SOCKET is enough' fdrelay s two
	second_uid
	spawn as_other fdrecv -a any -M 666 s
	await_socket s
	carries_nothing 's: refused uid 65534 (-a 65534 allows it)' with.py pair 0 9 fdrelay s
	spawn with.py pair 0 9 fdrelay -a 65534 s
	eventually asleep "$pid" fdrelay
}

# ---- what it shows ----

@test "-v: a line for each message with descriptors, and for each end" {
	cat >show.py <<-'PYTHON'
		import os, socket
		import peer
		s = peer.connect("f")
		s.send(b"plain")
		fd = os.memfd_create("wayland-shm")
		os.ftruncate(fd, 4096)
		socket.send_fds(s, [b"x" * 24], [fd])
		socket.send_fds(s, [b"y"], [os.open("/dev/null", 0), os.open("escape\033", os.O_CREAT | os.O_RDWR), *os.pipe()])
		s.shutdown(socket.SHUT_WR)
		assert s.recv(100) == b""
	PYTHON
	spawn fdserve -q -io unix:f -- fdrelay -v b 2>err
	await_socket f
	spawn socat -u UNIX-LISTEN:b OPEN:got,creat
	await_socket b
	PYTHONPATH=$BATS_TEST_DIRNAME/peers "$PYTHON" show.py
	eventually grep -q '< ' err
	sed -i -E 's/pid [0-9]+/pid N/; s/ pipe:\[[0-9]+\]/ pipe:[N]/g' err
	diff - err <<-END
		fdrelay: b: connected to pid N, uid 0
		fdrelay: b: > 24 bytes, 1 descriptor: memfd wayland-shm 4096 bytes
		fdrelay: b: > 1 byte, 4 descriptors: device /dev/null, file $PWD/escape? 0 bytes, pipe pipe:[N], pipe pipe:[N]
		fdrelay: b: > end of file
		fdrelay: b: < end of file
	END
}

# ---- what cannot be closed ----

@test "descriptors that block who closes or looks at them hold up neither the connection nor the end" {
	fuse "$BATS_TEST_TMPDIR/mnt" FLUSH GETATTR
	mount=$pid
	checks stuck:linger
	spawn relay.py stuck "$stuck" >passed 2>err
	eventually grep -qx ok passed || { cat err && false; } >&2
	kill "$mount" # whoever had the file open can end now
}

# ---- real programs ----

@test "tmux: a client attaches through fdrelay, for its terminal is a descriptor; through socat it cannot" {
	export TERM=xterm
	unset TMUX
	spawn tmux -f /dev/null -S b -D
	await_socket b
	: >drawn
	tmux -S b new-session -d -s shown 'tail -f drawn' # reads no end of input, which script(1) sends
	relayed b f
	as_bytes b g
	spawn script -qfec 'tmux -S f attach' through
	eventually sh -c 'tmux -S b list-clients | grep -q shown'
	echo 'on my terminal' >>drawn
	eventually grep -q 'on my terminal' through
	tmux -S b detach-client -s shown
	ended "$pid" 0
	spawn script -qfec 'timeout 5 tmux -S g attach' bytes
	ended "$pid"
	[ "$status" -ne 0 ]
	run ! grep -q 'on my terminal' bytes
	tmux -S b kill-server
}

@test "D-Bus: a call with a descriptor; through socat the daemon ends the connection" {
	cat >bus.conf <<-END
		<busconfig><type>session</type><listen>unix:path=$PWD/b</listen>
		<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
	END
	spawn dbus-daemon --config-file=bus.conf --nofork --nopidfile
	await_socket b
	relayed b f -v
	as_bytes b g
	echo 'by descriptor' >file
	[ "$(bus.py f file)" = 'by descriptor' ]
	[ "$(bus.py g file)" = 'no descriptor' ]
}

@test "ssh-agent" {
	spawn ssh-agent -D -a b
	await_socket b
	relayed b f
	ssh-keygen -q -t ed25519 -N '' -f key
	SSH_AUTH_SOCK=f ssh-add -q key
	SSH_AUTH_SOCK=f ssh-add -L | diff - key.pub
}

@test "gpg-agent makes a key and signs; gpg --server reads a file that a client has passed, and through socat it gets none" {
	export GNUPGHOME=$PWD/home
	mkdir -m 700 home
	spawn fdserve -q -L "std=unix:$PWD/b" -- gpg-agent --supervised 2>agent.err
	await_socket b
	relayed b f
	printf '%%Assuan%%\nsocket=%s\n' "$PWD/f" >home/S.gpg-agent # where gpg finds its agent
	gpg -q --no-autostart --batch --passphrase '' --quick-gen-key me ed25519
	echo 'buy milk' >notes
	gpg -q --no-autostart --batch --sign notes
	spawn fdserve -q -io unix:v -- env _assuan_connection_fd=0 gpg -q --no-autostart --server 2>verified
	await_socket v
	relayed v r -v 2>trace
	as_bytes v g
	assuan() { printf '%s\n' '/sendfd notes.gpg r' 'INPUT FD' VERIFY /bye | timeout 10 gpg-connect-agent -S "$PWD/$1"; }
	assuan r
	grep 'Good signature from "me"' verified
	grep '> [0-9]* bytes, 1 descriptor: file .*/notes.gpg [0-9]* bytes$' trace
	assuan g >answer
	grep '^ERR .* IPC error' answer
}

@test "Wayland: a client's pictures are memory that it passes; through socat it has none" {
	export XDG_RUNTIME_DIR=$PWD
	spawn weston --backend=headless-backend.so --use-pixman --shell=fullscreen-shell.so --no-config --idle-time=0 --socket=b --log=log
	await_socket b
	relayed b f -v 2>trace
	as_bytes b g
	WAYLAND_DISPLAY=f WAYLAND_DEBUG=1 spawn weston-simple-shm 2>drawn
	# Each frame is asked for after the one before was shown, in memory that the compositor has released.
	shown() { [ "$(grep -c 'wl_callback@.*done' drawn)" -ge 20 ] && grep 'wl_buffer@.*release' drawn; }
	eventually shown
	grep '> [0-9]* bytes, 1 descriptor: memfd .* 250000 bytes$' trace
	WAYLAND_DISPLAY=g timeout 10 weston-simple-shm 2>bytes || true
	grep '^wl_display.*error' bytes
}

# sandbox: ${box[@]} runs a command with the system's programs, ours, $pub/box and nothing else, as $who, in namespaces of its own.
sandbox() {
	local d files=()
	for d in usr bin lib lib32 lib64; do
		files+=(--ro-bind-try "/$d" "/$d")
	done
	box=(bwrap --unshare-all --die-with-parent --setenv PATH /fdkit:/usr/bin:/bin "${files[@]}" --proc /proc
		--ro-bind "$pub/bin" /fdkit --ro-bind "$pub/box" /box --)
	[ "$who" = 0 ] || box=("${as_other[@]}" "${box[@]}")
	exits 0 "${box[@]}" true 2>err || skip "no sandbox here: $(cat err)"
}

@test "a sandbox with namespaces of its own, root's and another uid's: the relay is its only door" {
	second_uid
	mkdir box
	echo 'buy milk' >notes
	echo 'from the box' >box/answer
	chmod 644 box/answer
	spawn fdhold -q store
	await_socket store
	spawn fdsend -q -a any -lk "@$pub" 0
	await_socket "@$pub"
	for who in 0 65534; do
		sandbox
		fdsend store "for$who=0" <notes
		spawn fdserve -q -a 65534 -io unix:box/door -- fdrelay -v store 2>trace
		await_socket box/door
		# In the sandbox each uid outside looks like nobody's.
		[ "$("${box[@]}" fdrecv -c -a any -i -f "for$who" /box/door cat)" = 'buy milk' ]
		grep 'descriptor: file .*/notes 9 bytes' trace
		"${box[@]}" fdsend -a any /box/door "from$who=0" <box/answer
		[ "$(fdrecv -c -i -f "from$who" store cat)" = 'from the box' ]
		for other in "$pub/store" "@$pub"; do
			exits 125 "${box[@]}" fdrecv -c -a any "$other" true
		done
		kill "$pid"
		ended "$pid" 0
		exits 125 "${box[@]}" fdrecv -c -a any /box/door true
	done
}
