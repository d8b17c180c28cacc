#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# How every command takes its options: --help and --version, values that are none, options that do not apply.
load helper

# A good call of each tool, without options.
declare -gA good=([fdsend]=s [fdrecv]='s true' [fdserve]='unix:s -- true' [fdexec]='s true' [fdhold]='s web=unix:u' [fdrun]=s [fdrelay]=s)

# By the word that --help shows after an option: what is no such value. The empty string is none either.
declare -gA no_value=(
	[TIME]=$'5x\n-1\n1e\nnan\ninf\nms\n5 s\n1h30\n0x5\n1.2.3\n99999999999999999999'
	[MODE]=$'x\n999\n-1\n1000\n0x1ff\n77777\n10666\nrw'
	[TYPE]=$'tcp\nSTREAM\nstreams\nraw'
	[N]=$'x\n-1\n1x\n99999999999'
	[FD]=$'x\n-1\n7x\n99999999999'
	[PID]=$'x\n-1\n0'
	[WHO,...]=$'no-such-user\n:no-such-group\n:\n,\nroot,\n-1\n99999999999'
	[USER]=$'no-such-user\n99999999999'
)

# options TOOL: what --help shows of each, one a line: -x or else --long, and the word after it.
options() { "$1" --help | sed -nE 's/^  (-., |    )(--[^ ]+)( ([^ ]+))?  .*/\1 \2 \4/p' | awk '/^-/ { print substr($1, 1, 2), $3; next } { print $1, $2 }'; }

@test "-h and --help: every option of the manual page and no other, on standard output; a page for every tool" {
	for tool in "${TOOLS[@]}"; do
		exits 0 "$tool" --help >help 2>err
		[ ! -s err ]
		"$tool" -h | diff help -
		grep -q "^usage: $tool \[options\] " help
		grep -q "^See $tool(1)" help
		sed -nE '/^# OPTIONS/,/^# [^O]/s/^(\*-.*)/\1/p' "$BATS_TEST_DIRNAME/../man/$tool.1.scd" | grep -oE '\*-[^*]+\*' | tr -d '*' | sort -u >page
		sed -nE 's/^  (-., |    )(--[^ ]+) .*/\1\2/p' help | tr -d ',' | tr -s ' ' '\n' | grep . | sort >named
		diff page named || { echo "$tool: page and --help differ" && false; } >&2
	done
}

@test "--help fits into 80 columns, and explains every argument that it names" {
	for tool in "${TOOLS[@]}"; do
		"$tool" --help >help
		awk -v tool="$tool" 'length > 80 { print tool ": " $0; bad = 1 } END { exit bad }' help
		sed -n '/^Arguments:/,/^$/s/^  \([A-Z]*\) .*/\1/p' help >explained
		words=$(sed '/^$/q' help | grep -owE 'SOCKET|COMMAND|ADDRESS|FD')
		words+=$(sed -nE 's/^  .{4}--[^ ]+ (TIME|WHO).*/ \1/p' help)
		for word in $words; do
			[ "$tool $word" = 'fdexec FD' ] || grep -qx "$word" explained || { echo "$tool: $word" && false; }
		done
		[ "$(cut -c 1-25 help | grep -c -- ' --')" -eq "$(cut -c 1-25 help | grep -oE -- '--[a-z-]+' | sort -u | wc -l)" ]
	done
}

@test "--help has one example, in the shell's language, and those of the one-shot commands run as they stand" {
	for tool in "${TOOLS[@]}"; do
		example=$("$tool" --help | sed -n 's/^Example: //p')
		grep -qw "$tool" <<<"$example"
		bash -n <<<"$example"
	done
	echo 'buy milk' >notes.txt
	for tool in fdsend fdrecv; do
		"$tool" --help | sed -n 's/^Example: //p' >"$tool.sh"
		echo wait >>"$tool.sh"
		timeout 10 sh "$tool.sh" >"$tool.out"
	done
	diff notes.txt fdsend.out
	one_line fdrecv.out "$(date +%Y)"
}

@test "-V and --version: all have the version at the top of NEWS" {
	version=$(sed -n '/^[0-9]/{s/ .*//;p;q}' "$BATS_TEST_DIRNAME/../NEWS")
	for tool in "${TOOLS[@]}"; do
		for option in -V --version; do
			exits 0 "$tool" $option >out 2>err
			[ ! -s err ]
			diff out - <<<"$tool (fdkit) $version"
		done
	done
}

@test "messages and --help have the name that a command was called by, and --help its prefix before the others" {
	names=$(IFS='|' && echo "${TOOLS[*]}")
	for tool in "${TOOLS[@]}"; do
		ln -s "$(type -P "$tool")" "my-$tool"
		"$tool" --help | sed -E "1,/^Arguments:/s/\<($names)\>/my-&/g; s/^See /&my-/" >help
		"./my-$tool" --help | diff help -
		wrong "--help" "./my-$tool"
	done
	cp "$(type -P fdsend)" other
	./other --help | diff <(fdsend --help | sed 's/^See fdsend/See other/') -
}

# refuses TOOL: its wrong calls, in a directory of its own.
refuses() {
	local option class value tried=0
	mkdir "$1"
	cd "$1" || return
	wrong "$1" "$1"
	wrong "$1" "$1" -v
	# shellcheck disable=SC2086
	{
		wrong Z "$1" -Z ${good[$1]}
		wrong no-such-option "$1" --no-such-option ${good[$1]}
		while read -r option class; do
			[ "${no_value[${class:-none}]:-}" ] || continue
			while IFS= read -r value; do
				wrong "$option $value" "$1" "$option" "$value" ${good[$1]}
				tried=$((tried + 1))
			done <<<$'\n'"${no_value[$class]}"
			wrong "${option##*-}" "$1" "$option"
			[ "$option" != -R ] || wrong '-R 77' "$1" -R 77 ${good[$1]}         # not open
		done < <(options "$1")
	}
	[ "$tried" -gt 20 ]
}

@test "a wrong option, a value that is none, no operand: 125, one line that names it, nothing created" {
	declare -A running=()
	for tool in "${TOOLS[@]}"; do
		(set -e; refuses "$tool") 2>"$tool.wrong" 3>&- &
		running[$tool]=$!
	done
	for tool in "${TOOLS[@]}"; do
		wait "${running[$tool]}" || { cat "$tool.wrong" && false; } >&2
	done
}

# OPTION does not apply to `TOOL ARG...`.
@test "an option that does not apply is named" {
	exec 5>/dev/null
	while read -r option tool args; do
		# shellcheck disable=SC2086
		wrong "$tool: $option " "$tool" $args
	done <<-'END'
		-k fdsend -k s
		-M fdsend -M 600 s
		-R fdsend -R 5 s
		-w fdsend -l -w 1 s
		-w fdrecv -w 1 s
		-m fdrecv -m text s
		--message-file fdrecv --message-file /dev/null s
		--all fdrecv --all s
		-M fdrecv -c -M 600 s
		-R fdrecv -c -R 5 s
		-i fdrecv -i s
		-o fdrecv -o s
		-B fdrecv -B s
		--no-pid fdrecv --no-pid s
		-f fdrecv -c --all -f web s
		-i fdrecv -c -i -f log=5 s true
		-e fdrecv -e -f 5 s true
		-w fdexec -w 1 s true
		-M fdexec -c -M 600 s true
		-a fdexec -a root -S 7 true
		-c fdexec -c -S 7 true
		-i fdexec -i -S 7 true
		-j fdexec -j 1 -S 7 true
		-B fdexec -B -S 7 true
		-M fdexec -M 600 -S 7 true
		-R fdexec -R 5 -S 7 true
		-i fdserve -i unix:s w
		-B fdserve -B unix:s w
		-j fdserve -j 1 unix:s w
		-l fdserve -l unix:s -- true
		-P fdserve -P unix:s -- true
		-w fdserve -w 1 unix:s -- true
		--ack-timeout fdserve --ack-timeout 5 unix:s -- true
		--ack-timeout fdserve -P --ack-timeout 5 unix:s w
		--ack-timeout fdserve -L --ack-timeout 5 unix:s w
		-L fdserve --lease -L 127.0.0.1:0 -- true
		-j fdserve --lease -j 1 127.0.0.1:0 -- true
		-C fdserve --lease -C 1 127.0.0.1:0 -- true
		-i fdserve --lease -i 127.0.0.1:0 -- true
		-o fdserve --lease -o 127.0.0.1:0 -- true
		-e fdserve --lease -e 127.0.0.1:0 -- true
		-B fdserve --lease -B 127.0.0.1:0 -- true
		-b fdserve --lease -b 1 127.0.0.1:0 -- true
		-a fdserve --lease -a any 127.0.0.1:0 -- true
		-M fdserve --lease -M 600 127.0.0.1:0 -- true
		-l fdserve --lease -l 127.0.0.1:0 -- true
		-P fdserve --lease -P 127.0.0.1:0 -- true
		-w fdserve --lease -w 1 127.0.0.1:0 -- true
		-t fdserve --lease -t 1 127.0.0.1:0 -- true
		--nonblock fdserve --lease --nonblock 127.0.0.1:0 -- true
		--no-pid fdserve --lease --no-pid 127.0.0.1:0 -- true
		--lease fdserve --lease 127.0.0.1:0 s
		--drain fdhold --drain 1 s
		--drain fdhold --list --drain 1 s
		-C fdserve -P -C 1 unix:s w
		-t fdserve -t 1 unix:s w
		-t fdserve -L -t 1 unix:s -- true
		-w fdserve -L -l -w 1 unix:s w
		-M fdserve -M 600 127.0.0.1:0 -- true
		-M fdserve -M 600 127.0.0.1:0 w
		-a fdserve -a root 127.0.0.1:0 -- true
		-a fdserve -L -a root unix:s -- true
		-k fdserve -k unix:s -- true
		-k fdserve -L -k unix:s w
		-k fdserve -L -l -k unix:s w
		--ready-after fdserve -L --ready-after 1 unix:s -- true
		--drain fdserve -L --drain 1 unix:s -- true
		--drain fdexec --drain 1 -S 7 true
		-t fdhold -t 1 s
		-w fdhold -w 1 s
		-b fdhold -b 1 --list s
		-x fdhold -x 1 --list s
		-A fdhold -A addr --drop web s
		-M fdhold -M 600 --list s
		--nonblock fdhold --nonblock --drop web s
		--max fdhold --max 5 --list s
		--max-per-uid fdhold --max-per-uid 5 --list s
		--allow-put fdhold --allow-put root --list s
		--allow-get fdhold --allow-get root --drop web s
		--list fdhold --list --drop web s
	END
	for option in -i -o -e -B -P '-C 1' '-j 1'; do
		# shellcheck disable=SC2086  # words on purpose
		wrong "${option%% *}" fdserve -L $option unix:s -- true
	done
	wrong -l fdserve -L -l unix:s -- true
	wrong -L fdserve --nonblock unix:s -- true
	wrong -L fdserve --no-pid unix:s -- true
}

@test "a forgotten --, and an option behind an operand: the message says so" {
	exits 125 fdserve 127.0.0.1:0 sort -n 2>err
	one_line err 'fdserve: sort: not an address (' '; COMMAND follows --)'
	exits 125 fdserve 127.0.0.1:0 -j 3 -- sort 2>err
	one_line err 'fdserve: -j: not an address (options stand before the first one)'
	exits 127 fdrecv s -i sort 2>err
	one_line err 'fdrecv: -i: ' ' (options stand before the operands)'
	exits 124 fdserve -w 0.01 127.0.0.1:0 sort 2>err
	grep -q '^fdserve: sort: waiting for a worker: .* (if it is a COMMAND, -- stands before it)$' err
}

# shellcheck disable=SC2154  # spawn sets pid
@test "--help says what COMMAND finds in its environment, and the statuses" {
	local variable
	fdrecv --help | sed -n '/^What COMMAND/,/^$/s/^  \([A-Z_]*\).*/\1/p' >named
	spawn fdrecv -i s env >variables
	fdsend -w 5 -m text s 0 0
	ended "$pid" 0
	for variable in FDKIT_FDS FDKIT_MESSAGE FDKIT_PEER_UID; do
		grep -q "^$variable=" variables
		grep -qx "$variable" named
	done
	for tool in "${TOOLS[@]}"; do
		"$tool" --help | grep -q '^  125  '
	done
}

# shellcheck disable=SC2154  # spawn sets pid
@test "-v names each descriptor that is passed, with its kind and target, and who is at the other end" {
	local uid file
	uid=$(id -u)
	file="file $PWD/notes.txt 9 bytes"
	echo 'buy milk' >notes.txt
	spawn fdrecv -v s true 2>received
	fdsend -v -w 5 s notes=0 3 <notes.txt 3</ 2>sent
	ended "$pid" 0
	[ "$(head -n 1 sent)" = "fdsend: s: sent to pid $pid, uid $uid: 2 descriptors: notes $file, directory /" ]
	grep -qxE "fdrecv: s: from pid [0-9]+, uid $uid: 2 descriptors: notes $file, directory /" received
	spawn fdexec -v w.sock true 2>log
	spawn fdsend -v -w 5 w.sock 0 <notes.txt 2>sent
	ended "$pid" 0
	eventually grep -qxE "fdexec: true: pid [0-9]+ started for pid $pid, uid $uid: 1 descriptor: $file" log
	spawn fdrun -v w.sock <notes.txt 2>ran
	ended "$pid" 0
	grep -qE "^fdrun: w.sock: sent to pid [0-9]+, uid $uid: 3 descriptors: $file, .*$PWD/ran [0-9]+ bytes$" ran
	grep -qE "^fdexec: true: pid [0-9]+ started for pid $pid, uid $uid: a client that waits$" log
	# More than a line holds.
	spawn fdrecv -v s true 2>received
	fdsend -w 5 -f "$(copies 250)" s <notes.txt
	ended "$pid" 0
	grep -qE ": 250 descriptors: $file, .*, \.\.\.$" received
	[ "$(wc -c <received)" -le 8300 ]
}

# shellcheck disable=SC2016  # the commands expand them
@test "-v names the client of each connection, and each command by one pid" {
	local server=(fdserve -v -A addr -io) client
	spawn "${server[@]}" 127.0.0.1:0 -- sh -c 'echo $$ $TCPREMOTEPORT' 2>log
	read -r command client <<<"$(talk "$(bound addr)" </dev/null)"
	eventually grep -qx "fdserve: sh: pid $command started for 127.0.0.1:$client" log
	eventually grep -qx "fdserve: sh: pid $command ended with status 0" log
	rm addr
	spawn "${server[@]}" unix:s -- sh -c 'echo $$ $UNIXREMOTEPID' 2>log
	read -r command client <<<"$(talk "$(bound addr)" </dev/null)"
	eventually grep -qx "fdserve: sh: pid $command started for pid $client, uid $(id -u)" log
	rm addr
	spawn "${server[@]}" '*:0' -- sh -c 'echo $$ $TCPREMOTEPORT' 2>mapped
	read -r command client <<<"$(talk "$(bound addr)" </dev/null)"
	eventually grep -qx "fdserve: sh: pid $command started for 127.0.0.1:$client" mapped
	rm addr
	spawn fdserve -v -A addr 127.0.0.1:0 w.sock 2>log
	spawn fdexec -v -io w.sock sh -c 'echo $$ $TCPREMOTEPORT' 2>worker
	read -r command client <<<"$(talk "$(bound addr)" </dev/null)"
	eventually grep -qx "fdserve: 127.0.0.1:0: connection from 127.0.0.1:$client" log
	eventually grep -qE "^fdexec: sh: pid $command started for pid [0-9]+, uid $(id -u): 1 descriptor: tcp-connection 127" worker
	eventually grep -qx "fdexec: sh: pid $command ended with status 0" worker
	fdserve -v --lease 127.0.0.1:0 -- sh -c 'echo $$' >process 2>log
	grep -qx "fdserve: sh: pid $(cat process) has the ports" log
	grep -qx "fdserve: sh: pid $(cat process) ended with status 0" log
	fdhold -v s2 -- sh -c 'echo $$' >process 2>log
	grep -qx "fdhold: sh: pid $(cat process) started" log
}
