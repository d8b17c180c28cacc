#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Completions, in the shells themselves, as they find what `make install` has installed. The shells stand on a terminal,
# where tmux types; bash and zsh insert all that they offer into the line.
# What stands in '...' is for these shells; the helper sets pid.
# shellcheck disable=SC2016,SC2154
load helper

# Where completions are installed: beside installed commands or, for a build, in a tree of this file's own.
setup_file() {
	local bin
	bin=$(dirname "$(type -P fdsend)")
	share=$bin/../share
	if [ ! -e "$share/fish/vendor_completions.d/fdsend.fish" ]; then
		share=$BATS_FILE_TMPDIR/share
		make -s -C "$BATS_TEST_DIRNAME/.." install BUILD="$(realpath "$bin/..")" PREFIX="$BATS_FILE_TMPDIR" >&2
	fi
	export share HOME=$BATS_FILE_TMPDIR XDG_CONFIG_HOME=$BATS_FILE_TMPDIR XDG_DATA_HOME=$BATS_FILE_TMPDIR
	export XDG_DATA_DIRS=$share:/usr/local/share:/usr/share
}

# terminal SHELL: on a terminal, with its usual settings: bash, bare (bash without bash-completion), zsh, fish. It works in
# the directory "here"; `all WORD...` there writes its words to the file "all", one a line.
terminal() {
	local start='bash --norc --noprofile' all='all() { printf "%s\n" "$@" >../all.new && mv ../all.new ../all; }' begin
	shell=$1
	case $1 in
	bash)
		[ -e /usr/share/bash-completion/bash_completion ] || skip "no bash-completion"
		begin='. /usr/share/bash-completion/bash_completion; complete -W "apple avocado" qq-one'
		;;
	bare) begin=". $share/bash-completion/completions/fdkit" ;;
	zsh)
		start='zsh -f'
		begin="fpath=($share/zsh/site-functions \$fpath); autoload -Uz compinit; compinit -u -d $BATS_FILE_TMPDIR/dump
			zstyle ':completion:*' completer _all_matches _complete; zstyle ':completion:*' insert yes
			bindkey -e; bindkey '\\e*' complete-word; bindkey '\\t' complete-word; _qq() { compadd apple avocado }; compdef _qq qq-one"
		;;
	fish)
		start='fish --init-command "function fish_prompt; echo \"> \"; end"'
		all='function all; printf "%s\n" $argv >../all.new; and mv ../all.new ../all; end'
		begin='complete -c qq-one -f -a "apple avocado"'
		;;
	esac
	command -v tmux >/dev/null || skip "no tmux"
	command -v "${start%% *}" >/dev/null || skip "no ${start%% *}"
	mkdir -p here bin
	printf '#!/bin/sh\n' | tee bin/qq-one >bin/qq-two
	chmod +x bin/*
	PATH=$PWD/bin:$PATH
	printf '%s\n' "$begin" "$all" 'cd here' >begin
	TMUX='' tmux -S tmux -f /dev/null new-session -d -x 200 -y 50 "PS1='> ' $start" 3>&-
	PIDS+=("$(tmux -S tmux display -p '#{pid}')")
	eventually sh -c "tmux -S tmux capture-pane -p | grep -q '>'"
	keys '. ./begin; all begun'
	eventually test -e all
}

# keys LINE: typed, and Enter.
keys() {
	tmux -S tmux send-keys -l "$1"
	tmux -S tmux send-keys Enter
}

# types BEFORE BEHIND KEY: BEFORE and BEHIND, and KEY where the cursor stands between them; the words of the line are in
# "all" then.
types() {
	rm -f all
	tmux -S tmux send-keys -l "$1$2"
	[ -z "$2" ] || tmux -S tmux send-keys -N ${#2} Left
	tmux -S tmux send-keys "$3" C-a
	keys 'all '
	eventually test -e all || { tmux -S tmux capture-pane -p && false; } >&2
}

# offered LINE: what is offered for LINE's last word is in "offered", one a line.
offered() {
	if [ "$shell" = fish ]; then
		fish -C '. ./begin' -c 'complete -C $argv[1]' "$1" | cut -f 1 | sed 's,/$,,' >offered
	else
		types "$1" '' 'M-*'
		# The words before the last stand there as they were. One that takes a value with = says so.
		tail -n "+$(($(wc -w <<<"${1% *} ") + 1))" all | sed 's/^\(--.*\)=$/\1/; s,/$,,; /^$/d' >offered
	fi
}

# offers LINE [WORD...]: these and no other are offered.
offers() {
	offered "$1"
	printf '%s\n' "${@:2}" | sed '/^$/d' | sort | diff - <(sort offered) >differ || { echo "$1" && head differ && false; } >&2
}

# completes BEFORE WORD [BEHIND]: the word where the cursor stands, at BEFORE's end, becomes WORD.
completes() {
	types "$1" "${3:-}" Tab
	[ "$(paste -sd ' ' all | tr -s ' ')" = "${1% *} $2${3:-}" ] || { echo "$1|${3:-}: $(cat all)" && false; } >&2
}

# ---- options ----

# every_option SHELL: it offers each that --help shows, once, and no other; short or long.
every_option() {
	terminal "$1"
	for tool in "${TOOLS[@]}"; do
		"$tool" --help | sed -nE 's/^  (-., |    )(--[^ ]+) .*/\1\2/p' | tr -d ',' | tr -s ' ' '\n' | grep . >named
		mapfile -t words <named
		offers "$tool -" "${words[@]}"
		mapfile -t words < <(grep -e -- <named | grep -vx -e --allow)
		offers "$tool -a root --" "${words[@]}"
		completes "$tool -q --verb" --verbose ' s'
	done
	completes 'fdsend --verb' --verbose ' --version s'
	offers 'fdsend -f 0 --fd' --fds             # these may be repeated
	offers 'fdrun -E A --env B --en' --env
	completes 'fdrecv s qq-two --verb' --verb   # behind SOCKET stand COMMAND's own
}

@test "bash, with bash-completion, offers every option of every tool, once" { every_option bash; }
@test "bash alone offers every option of every tool, once" { every_option bare; }
@test "zsh offers every option of every tool, once" { every_option zsh; }
@test "fish offers every option of every tool, once" { every_option fish; }

@test "a completion knows every kind of value that the table has" {
	for tool in "${TOOLS[@]}"; do
		"$tool" --help | sed -nE 's/^  (-., |    )--[^ ]+ ([^ ]+)  .*/\2/p'
	done | sort -u | grep -vxE 'N|TEXT' >kinds
	[ "$(wc -l <kinds)" -gt 8 ]
	while read -r kind; do
		for file in bash/fdkit zsh/_fdkit fish/fdkit; do
			grep -qE "^\s*(case )?(.*[ |])?'?$kind'?( [A-Z]+|\)|\||$)" "$BATS_TEST_DIRNAME/../.pkg/completions/${file#*/}"* ||
				{ echo "$kind: $file"; return 1; } >&2
		done
	done <kinds
}

# ---- values and operands ----

# every_kind SHELL: it offers the values of each kind, and operands.
every_kind() {
	terminal "$1"
	mkdir here/dir
	touch here/a.sock here/other.txt
	spawn fdhold -q here/held web=unix:@abstract-fdkit
	await_socket here/held

	for option in -T --type; do offers "fdsend $option " stream dgram seqpacket; done
	completes 'fdsend --type=d' --type=dgram ' s'
	completes 'fdsend -Td' -Tdgram ' s'
	completes 'fdsend -vTd' -vTdgram ' s'
	offers 'fdrecv -M ' 600 660 666
	offers 'fdrecv -t '
	offers 'fdsend -t 5' 5ms 5s 5m 5h
	offers 'fdrun -w 0.5' 0.5ms 0.5s 0.5m 0.5h
	completes 'fdsend --message-file ot' other.txt ' s'
	completes 'fdhold --address-file=ot' --address-file=other.txt ' s'
	completes 'fdexec -a nobod' nobody ' s true'
	completes 'fdexec -a 0,nobod' 0,nobody ' s true'
	completes 'fdexec --allow=0,:nogr' --allow=0,:nogroup ' s true'
	completes 'fdexec -u nobody:nogr' nobody:nogroup ' s true'
	completes 'fdexec -a an' any ' s true'
	completes 'fdrun -E TERM,BATS_FILE_TMPD' TERM,BATS_FILE_TMPDIR ' s'
	offered 'fdsend -p '
	grep -qx "$pid" offered
	offers 'fdrecv -N '

	offers 'fdrelay ' a.sock dir held
	offers 'fdrelay s '
	completes 'fdsend @abstract-f' @abstract-fdkit
	completes 'fdrun exe' exec:
	completes 'fdrun held oth' other.txt
	offers 'fdsend s ' 0 1 2
	offers 'fdsend -f 0,' 0,0 0,1 0,2
	# shellcheck disable=SC2046  # words on purpose
	offers "fdsend -p $pid s " $(open_fds "$pid")
	offers 'fdhold s ' '127.0.0.1:' '[::1]:' '*:' unix: udp: fd:
	offers 'fdserve :80 ' '127.0.0.1:' '[::1]:' '*:' unix: udp: fd: a.sock dir held
	completes 'fdhold s web=unix:a.s' web=unix:a.sock
	completes 'fdhold s a=:80 web=un' web=unix:
	offers 'fdhold --list ' a.sock dir held
	offers 'fdhold --list s '

	for before in 'fdrecv s' 'fdexec -j 5 s' 'fdexec -S 7' 'fdserve :80 --' 'fdserve -L a=:80 s --' 'fdhold s a=:80 --'; do
		offers "$before qq-" qq-one qq-two
		[ "$shell" = bare ] || offers "$before qq-one a" apple avocado
	done
}
@test "bash, with bash-completion, offers values, operands and commands of every kind" { every_kind bash; }
@test "bash alone offers values, operands and commands of every kind" { every_kind bare; }
@test "zsh offers values, operands and commands of every kind" { every_kind zsh; }
@test "fish offers values, operands and commands of every kind" { every_kind fish; }

# ---- the store ----

# store_names SHELL: it offers what a store holds, and asks nobody else; what others have named is no shell's code.
store_names() {
	mkdir -p here/far
	spawn env -C here fdhold -q far/env.sock log=unix:log web=unix:web
	spawn env -C here fdhold -q line.sock www=unix:www
	await_socket here/line.sock
	await_socket here/far/env.sock
	fdsend here/far/env.sock '$(touch${IFS}ran)=0'
	FDKIT_SOCKET=far/env.sock terminal "$1"
	export FDKIT_SOCKET=far/env.sock # for fish
	completes 'fdrecv -c -w 5 -f w' web
	completes 'fdrecv --connect --fds=log,w' --fds=log,web ' -w 5'
	completes 'fdhold --drop w' web
	offers 'fdrecv -f '
	types 'fdhold --drop ' '' 'M-*'
	[ ! -e here/ran ]
	if [ "$shell" != fish ]; then # which shows nothing behind the cursor
		completes 'fdrecv -c -w 5 -f w' www ' -t 5 line.sock cat'
		completes 'fdrecv --connect --fds=log,w' --fds=log,www ' line.sock cat'
		completes 'fdhold --drop w' www ' -t 5 line.sock'
	fi
	unset FDKIT_SOCKET
	spawn fdsend -l here/sender.sock 0
	await_socket here/sender.sock
	if [ "$shell" = fish ]; then keys 'set -e FDKIT_SOCKET'; else keys 'unset FDKIT_SOCKET'; fi
	completes 'fdhold --drop w' www             # those here
	completes 'fdrecv -c -f z' z ' sender.sock'
	exits 0 fdrecv -c here/sender.sock
	ended "$pid" 0
}

@test "bash, with bash-completion, offers the names in a store, and asks nobody else" { store_names bash; }
@test "bash alone offers the names in a store, and asks nobody else" { store_names bare; }
@test "zsh offers the names in a store, and asks nobody else" { store_names zsh; }
@test "fish offers the names in a store, and asks nobody else" { store_names fish; }

# ---- installed under other names ----

@test "PROGRAM_PREFIX stands before every command in the completions" {
	make -s -C "$BATS_TEST_DIRNAME/.." completions BUILD="$PWD/other" PROGRAM_PREFIX=x-
	[ "$(head -n 1 other/completions/zsh/_x-fdkit)" = "#compdef ${TOOLS[*]/#/x-}" ]
	[ "$(cd other/completions/fish && ls)" = "$(printf 'x-%s.fish\n' "${TOOLS[@]}" | sort)" ]
	(exits 1 grep -rE '(^|[^a-z_-])fd(send|recv|serve|exec|hold|run|relay)	' other/completions/*/)
	terminal bare
	keys '. ../other/completions/bash/x-fdkit'
	completes 'x-fdsend --verb' --verbose ' s'
}
