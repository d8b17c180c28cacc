#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Programs that know nothing of fdkit, at the other end of its sockets and behind its commands.
# What stands in '...' is for other programs to expand; the helper sets pid and the like.
# shellcheck disable=SC2016,SC2030,SC2031,SC2154
load helper

# ---- Python ----

@test "Python's send_fds and multiprocessing.reduction give to fdrecv" {
	echo apples >a
	echo pears >b
	for how in send_fds sendfds; do
		spawn fdrecv s sh -c 'cat <&3; cat <&4; echo "$FDKIT_MESSAGE"' >got
		await_socket s
		python.py give $how s fruit a b
		ended "$pid" 0
		[ "$(head -n 2 got)" = $'apples\npears' ]
		[ $how != send_fds ] || [ "$(tail -n 1 got)" = fruit ]
	done
}

@test "Python's recv_fds and multiprocessing.reduction take from fdsend; the byte of the latter is the number of descriptors" {
	echo apples >a
	echo pears >b
	spawn python.py take recv_fds s 2 >got
	exits 0 fdsend -w 5 -m fruit s 5 6 5<a 6<b
	ended "$pid" 0
	diff got - <<<$'b\'fruit\'\n[b\'apples\\n\', b\'pears\\n\']'
	rm s
	spawn python.py take recvfds s 2 >got
	exits 0 fdsend -w 5 -m $'\002' s 5 6 5<a 6<b
	ended "$pid" 0
	diff got - <<<$'[b\'apples\\n\', b\'pears\\n\']'
}

# ---- Perl ----

@test "Perl's IO::FDPass gives to fdrecv" {
	echo apples >a
	spawn fdrecv s >got
	await_socket s
	fdpass.pl give s <a
	ended "$pid"
	cmp a got
}

@test "Perl's IO::FDPass takes from fdsend" {
	spawn fdpass.pl take s >got
	echo apples >a
	exits 0 fdsend -w 5 s <a
	ended "$pid"
	cmp a got
}

# ---- Ruby ----

@test "Ruby's send_io gives to fdrecv" {
	echo apples >a
	spawn fdrecv s >got
	await_socket s
	ruby -rsocket -e 'UNIXSocket.open("s") { |s| s.send_io($stdin) }' <a
	ended "$pid"
	cmp a got
}

@test "Ruby's recv_io takes from fdsend, several with -1" {
	echo apples >a
	echo pears >b
	spawn ruby -rsocket -e 'UNIXServer.open("s") { |l| s = l.accept; 2.times { print s.recv_io.read } }' >got
	exits 0 fdsend -1 -w 10 s 5 6 5<a 6<b
	ended "$pid"
	[ "$(cat got)" = $'apples\npears' ]
}

# ---- netcat ----

@test "nc -F gives its connection to fdrecv" {
	spawn fdserve -A addr 127.0.0.1:0 -- sh -c 'read -r name; echo "hello $name"'
	port=$(bound addr | sed 's/.*://')
	[ "$(timeout 10 fdrecv "exec:nc.openbsd -F 127.0.0.1 $port" <<<copying)" = 'hello copying' ]
	timeout 10 fdrecv -B "exec:nc.openbsd -F 127.0.0.1 $port" sh -c 'echo command >&3; cat <&3' >got
	[ "$(cat got)" = 'hello command' ]
}

@test "nc -F leaves O_NONBLOCK set, -B clears it" {
	spawn fdserve -A addr 127.0.0.1:0 -- cat
	port=$(bound addr | sed 's/.*://')
	for opt in -q -B; do
		timeout 10 fdrecv "$opt" "exec:nc.openbsd -F 127.0.0.1 $port" sh -c 'grep flags: /proc/$$/fdinfo/3' >"flags$opt"
	done
	(($(awk '{ print "0" $2 }' flags-q) & 04000))
	((!($(awk '{ print "0" $2 }' flags-B) & 04000)))
}

@test "nc -F gives its connection to fdexec" {
	spawn fdserve -A addr 127.0.0.1:0 -- echo hello
	port=$(bound addr | sed 's/.*://')
	spawn fdexec -B -i "exec:nc.openbsd -F 127.0.0.1 $port" cat >got
	ended "$pid"
	[ "$status" -eq 0 ]
	[ "$(cat got)" = hello ]
}

# ---- ssh ----

# An sshd of our own, as an inetd child; sets $at, and $ssh to a client that knows it. The
# connection is to come by what stands in ProxyCommand.
sshd_served() {
	local sshd user
	sshd=$(command -v sshd)        # it insists on being called by its full path
	user=$(id -un)
	if [ "$(id -u)" -eq 0 ]; then
		! getent shadow root | grep -q '^root:!' || skip "sshd lets nobody in whose account is locked, as root's is"
		# Without systemd nobody makes the directory that sshd, as root, locks itself up in.
		[ -d /run/sshd ] || { mkdir -m 755 /run/sshd; made=/run/sshd; }
	fi
	ssh-keygen -q -t ed25519 -N '' -f host
	ssh-keygen -q -t ed25519 -N '' -f own
	cat >sshd_config <<-END
		HostKey $PWD/host
		AuthorizedKeysFile $PWD/own.pub
		PidFile none
		StrictModes no
		UsePAM no
		PermitRootLogin yes
		PrintMotd no
	END
	echo "fdkit $(cut -d ' ' -f 1,2 host.pub)" >known
	spawn fdserve -io -A addr 127.0.0.1:0 -- "$sshd" -i -E "$PWD/sshd.log" -f "$PWD/sshd_config" 2>err
	at=$(bound addr)
	ssh=(timeout 20 ssh -F none -l "$user" -i own -o HostKeyAlias=fdkit -o UserKnownHostsFile=known -o GlobalKnownHostsFile=none
		-o IdentityAgent=none -o IdentitiesOnly=yes -o BatchMode=yes -o ProxyUseFdpass=yes -p "${at#*:}")
}

sshd_done() { [ -z "${made:-}" ] || rmdir "$made"; }

@test "ssh takes its connection from fdsend in a proxy command (ProxyUseFdpass)" {
	sshd_served
	"${ssh[@]}" -o ProxyCommand='bash -c "exec 3<>/dev/tcp/%h/%p; exec fdsend fd:1 3"' 127.0.0.1 \
		'echo "from ${SSH_CONNECTION% * *} at ${SSH_CONNECTION##* }"' >got || { cat sshd.log; sshd_done; return 1; }
	sshd_done
	grep -E "^from 127\.0\.0\.1 [0-9]+ at ${at#*:}$" got
}

@test "ssh takes the connection that nc -F made, through fdrecv and fdsend" {
	sshd_served
	"${ssh[@]}" -o ProxyCommand='fdrecv "exec:nc.openbsd -F %h %p" fdsend fd:1 3' 127.0.0.1 'echo relayed' \
		>got || { cat sshd.log; sshd_done; return 1; }
	sshd_done
	grep -x relayed got
}

# ---- children of inetd ----

# behind FORM COMMAND...: behind a TCP port, by fdserve alone or by fdserve and fdexec; sets $at.
behind() {
	rm -f addr
	case $1 in
	command) spawn fdserve -io -A addr 127.0.0.1:0 -- "${@:2}" 2>err ;;
	worker)
		spawn fdexec -io w "${@:2}" 2>err
		spawn fdserve -A addr 127.0.0.1:0 w
		;;
	esac
	at=$(bound addr)
}

@test "git daemon --inetd serves a clone" {
	export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
	git init -q repo
	echo 'buy milk' >repo/notes
	git -C repo add notes
	git -C repo -c user.name=A -c user.email=a@example.org commit -q -m first
	for form in command worker; do
		behind "$form" git daemon --inetd --export-all --base-path="$PWD"
		timeout 20 git clone -q "git://$at/repo" "clone-$form"
		cmp repo/notes "clone-$form/notes"
	done
}

@test "busybox httpd -i serves files to curl" {
	mkdir www
	head -c 300000 /dev/urandom >www/data
	for form in command worker; do
		behind "$form" busybox httpd -i -h www
		timeout 20 curl -sf "http://$at/data" >"got-$form"
		cmp www/data "got-$form"
		run -22 timeout 20 curl -sf "http://$at/missing"
	done
}

@test "a shell script serves curl, a request body included" {
	cat >handler <<-'END'
		read -r method path version
		length=0
		while read -r name value && [ "${#name}" -gt 1 ]; do
			case $name in [Cc]ontent-[Ll]ength:) length=${value%?} ;; esac
		done
		printf 'HTTP/1.0 200 OK\r\n\r\n%s %s for %s: ' "$method" "$path" "$REMOTE_ADDR"
		head -c "$length"
	END
	for form in command worker; do
		behind "$form" sh handler
		[ "$(timeout 20 curl -s "http://$at/a?b")" = 'GET /a?b for 127.0.0.1: ' ]
		[ "$(timeout 20 curl -s -d 'milk, bread' "http://$at/list")" = 'POST /list for 127.0.0.1: milk, bread' ]
	done
}
