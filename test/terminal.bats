#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# fdrun and fdrecv --raw on a real terminal: tmux types, and shows what comes of it. A shell with job control is there.
# What stands in '...' is for that shell or for COMMAND; the helper sets pid and status.
# shellcheck disable=SC2016,SC2154
load helper

# terminal: one of 80 columns and 24 lines with an interactive bash, and a fdexec at s that runs a client's words in his directory.
terminal() {
	command -v tmux >/dev/null || skip "no tmux"
	TMUX='' tmux -S tmux -f /dev/null new-session -d -x 80 -y 24 "PS1='> ' bash --norc --noprofile" 3>&-
	PIDS+=("$(tmux -S tmux display -p '#{pid}')")
	spawn fdexec -q --args --cwd --accept-env TERM s env 2>server.err
	server=$pid
	await_socket s
	eventually shows '>'
}

# keys KEY...: typed, as tmux names them; enter LINE: typed, and Enter.
keys() { tmux -S tmux send-keys "$@"; }
enter() {
	keys -l "$1"
	keys Enter
}

# shows TEXT: it stands on the screen, anywhere; lacks TEXT: nowhere; last TEXT: it is the last line that is not empty.
shows() { tmux -S tmux capture-pane -p | grep -qF -- "$1"; }
lacks() { ! shows "$1"; }
last() { [ "$(tmux -S tmux capture-pane -p | grep . | tail -n 1)" = "$1" ]; }

# clean: as after clear(1), with a prompt alone.
clean() {
	enter clear
	eventually last '>'
}

# cooked: the terminal's modes are those that a command finds.
cooked() {
	rm -f modes
	enter 'stty -a >modes.new; mv modes.new modes'
	eventually test -e modes
	[ "$(grep -cE -- '-(icanon|echo|isig|opost|icrnl)\b' modes)" -eq 0 ]
}

# in_state PATTERN STATES: all processes whose command line matches are in one of these states, and there is one.
in_state() {
	local found=0 p stat
	for p in $(pgrep -f -- "$1"); do
		{ read -r stat <"/proc/$p/stat"; } 2>/dev/null || continue
		[[ $stat == *") "[$2]" "* ]] || return
		found=1
	done
	((found))
}

# gone_all PATTERN: no process has such a command line.
gone_all() { ! pgrep -f -- "$1"; }

@test "^C and ^\\ reach COMMAND, and the shell sees the signal" {
	terminal
	for key in C-c C-\\; do
		enter 'fdrun s sh -c "r=unning; echo r\$r; sleep 1000"'
		eventually shows running
		keys $key
		eventually last '>'
		enter 'echo status $?'
		eventually shows "status $([ $key = C-c ] && echo 130 || echo 131)"
		clean
	done
	eventually childless "$server"
}

@test "^Z stops COMMAND and fdrun, fg and bg continue them" {
	terminal
	enter 'fdrun s sh -c "r=unning; echo r\$r; sleep 1.9999; echo slept; read -r line; echo got \$line"'
	eventually shows running
	keys C-z
	eventually shows Stopped
	eventually in_state 'sleep 1.9999' T
	enter 'jobs'
	eventually shows '[1]+  Stopped'
	clean
	enter bg
	eventually shows slept # and it goes on in the background
	enter fg
	eventually shows 'fdrun s sh'
	enter 'a line'
	eventually shows 'got a line'
	cooked
}

@test "less and vi work, stop at ^Z and go on at fg; WINCH tells them of a new size" {
	terminal
	seq 1000 >numbers
	enter 'fdrun -E TERM s less numbers'
	eventually last numbers
	keys G
	eventually shows 1000
	keys C-z
	eventually shows Stopped
	enter fg
	eventually shows 1000
	tmux -S tmux resize-window -x 60 -y 10
	keys g
	eventually shows 9
	eventually lacks 11
	keys q
	eventually last '>'
	cooked
	clean
	vi=$(type -P vim || echo vim.tiny)
	enter "fdrun -E TERM s $vi -u NONE -N file"
	eventually shows '~'
	keys i
	enter 'first line'
	keys Escape C-z
	eventually shows Stopped
	enter fg
	eventually shows 'first line'
	enter ':wq'
	eventually last '>'
	[ "$(head -n 1 file)" = 'first line' ]
	cooked
}

@test "--pty: a shell with job control, its own terminal, the window's size, and our modes afterwards" {
	terminal
	enter 'fdrun --pty s env PS1="in> " bash --norc --noprofile; echo status $?'
	eventually last 'in>'
	enter 'test -t 0 && : </dev/tty && stty size'
	eventually shows '24 80'
	tmux -S tmux resize-window -x 70 -y 20
	enter 'stty size'
	eventually shows '20 70'
	enter 'sleep 1000'
	keys C-z
	eventually shows 'Stopped                 sleep 1000'
	enter fg
	keys C-c
	eventually last 'in>'
	enter 'exit 7'
	eventually shows 'status 7'
	cooked
}

@test "--pty: what COMMAND writes last is shown, and a redirected stream is not the terminal" {
	terminal
	echo input >in
	enter 'fdrun --pty s sh -c "cat; test -t 0 || echo file; test -t 1 && stty size </dev/tty; seq 500" <in 2>err'
	eventually shows 500
	eventually last '>'
	clean
	enter 'fdrun --pty s sh -c "cat; test -t 0 || echo file; test -t 1 && stty size </dev/tty" <in'
	eventually shows '24 80'
	shows input
	shows file
	cooked
}

@test "--pty: COMMAND that stops itself stops fdrun with our modes; killed, it leaves them too" {
	terminal
	enter 'fdrun --pty s sh -c "echo one; kill -STOP \$\$; echo two; read -r x; echo got \$x"'
	eventually shows Stopped
	cooked
	enter fg
	eventually shows two
	enter word
	eventually shows 'got word'
	for sig in TERM HUP INT ALRM ABRT; do
		clean
		enter 'fdrun --pty s sh -c "r=unning; echo r\$r; exec sleep 1.8888e3"'
		eventually shows running
		kill -$sig "$(pgrep -f 'fdrun --pty s sh -c r=unning')"
		eventually last '>'
		cooked
	done
	clean
	enter 'fdrun --pty s sh -c "r=unning; echo r\$r; exec sleep 1.8888e3"'
	eventually shows running
	kill -KILL "$server" # nobody tells how it ends
	eventually shows 'closed without saying'
	cooked
	eventually gone_all 'sleep 1.8888e3'
}

@test "--pty in the background leaves the terminal alone, and takes it in the foreground" {
	terminal
	enter 'fdrun --pty s sh -c "r=unning; echo r\$r; read -r x; echo got \$x; read -r y" &'
	eventually shows running
	cooked
	clean
	enter fg
	eventually shows 'fdrun --pty'
	enter word
	eventually shows 'got word'
	keys C-d
	eventually last '>'
	cooked
}

@test "a closed terminal is a hang-up for COMMAND, --pty or not" {
	for pty in '' --pty; do
		terminal
		enter "fdrun $pty s sh -c 'r=unning; echo r\$r; exec sleep 1.7777e3'"
		eventually shows running
		tmux -S tmux kill-server
		eventually gone_all 'sleep 1.7777e3'
		eventually childless "$server"
		kill "$server"
		ended "$server" 0
	done
}

@test "fdrecv --raw shows a console's master with its size and modes, until its other side hangs up or a signal comes" {
	terminal
	enter 'fdrecv --raw c; echo status $?'
	await_socket c
	spawn env --default-signal console.py c env PS1='in> ' bash --norc --noprofile
	eventually last 'in>'
	enter 'stty size; sleep 1000'
	eventually shows '24 80'
	keys C-c
	eventually last 'in>'
	tmux -S tmux resize-window -x 70 -y 20
	enter 'stty size'
	eventually shows '20 70'
	enter exit
	eventually shows 'status 0'
	cooked
	for sig in TERM INT ALRM; do
		clean
		rm -f c
		enter 'fdrecv --raw c'
		await_socket c
		spawn console.py c sleep 1000
		eventually shows 'fdrecv --raw c'
		raw() { stty -a -F "$(tmux -S tmux display -p '#{pane_tty}')" | grep -q -- -isig; }
		eventually raw
		kill -$sig "$(pgrep -f '^fdrecv --raw c')"
		eventually last '>'
		cooked
	done
}
