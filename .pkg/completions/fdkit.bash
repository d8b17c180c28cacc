# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# Completion of fdkit's commands for bash, with bash-completion, which loads it, or without: `. FILE` in ~/.bashrc.

_fdkit_table='
@TABLE@
'

# What a function below shares with those that it calls: words, of which cword is completed and begins in COMP_WORDS at
# at[cword]; head and cur, which it has before the cursor: only cur is completed; given, the long options before it; kind,
# of their values; operands, the words behind all options, from number first on.

# _fdkit_offer PREFIX [WORD...]: each WORD, behind PREFIX, that begins as cur does. The shell would expand what others
# have named with its special characters.
_fdkit_offer() {
	local word
	for word in "${@:2}"; do
		[[ $1$word == "$cur"* && $word != *[!][:alnum:]_.,:=@%/+*[-]* ]] && COMPREPLY+=("$1$word")
	done
}

# _fdkit_files PREFIX [sockets]: files behind PREFIX; or sockets and directories alone.
_fdkit_files() {
	local file real
	compopt -o filenames
	while IFS= read -r file; do
		real=${file/#'~/'/~/}
		[[ ! ${2:-} || -d $real || -S $real || $file == *.sock ]] && COMPREPLY+=("$1$file")
	done < <(compgen -f -- "${cur#"$1"}")
}

# _fdkit_names: what the store at SOCKET holds, or the one at $FDKIT_SOCKET, or those here. A process named fdhold must have it
# among its words: any other that listens there might take us for the one that it waits for.
_fdkit_names() {
	local stores=("${operands[0]:-${FDKIT_SOCKET:-}}") holders store
	[[ ${stores[0]} ]] || stores=(*)
	mapfile -t holders < <(grep -lzE '^(.*/)?@PREFIX@fdhold$' /proc/[0-9]*/cmdline 2>/dev/null)
	for store in "${stores[@]/#'~/'/~/}"; do
		[[ ${holders[*]} && ($store == @* || -S $store) ]] && grep -qzF -e "${store##*/}" "${holders[@]}" 2>/dev/null &&
			@PREFIX@fdhold -q -t 0.3 --list "$store" 2>/dev/null
	done | cut -f 1
}

# _fdkit_numbers PREFIX: the descriptors that a command inherits from this shell; with --pid, those of that process. A
# substitution would show its own.
_fdkit_numbers() {
	local file key value IFS=' '$'\t'
	for file in "/proc/${given[--pid]:-$$}/fdinfo/"*; do
		while read -r key value; do
			[[ $key == flags: ]] && ((${#given[--pid]} || !(8#$value & 8#2000000))) && _fdkit_offer "$1" "${file##*/}"
		done <"$file"
	done 2>/dev/null
}

# _fdkit_kind KIND...: what stands as a value or an operand of these kinds.
# shellcheck disable=SC2046  # words on purpose
_fdkit_kind() {
	local list=${cur%"${cur##*,}"} name=${cur%"${cur#*=}"} k IFS=$'\n'
	for k; do
		case $k in
		FILE | ARG) _fdkit_files '' ;;
		SOCKET)
			_fdkit_files '' sockets
			[[ $cur != [a-z]* ]] || _fdkit_offer '' exec: fd:
			[[ $cur != [a-z]* || ${words[0]} != *@(fdrecv|fdread) ]] || _fdkit_offer '' connect:
			[[ $cur != @* ]] || _fdkit_offer '' $(awk '$8 ~ /^@/ { print $8 }' /proc/net/unix)
			;;
		ADDRESS)
			if [[ ${cur#"$name"} == unix:* ]]; then
				_fdkit_files "${name}unix:" sockets
			else
				_fdkit_offer "$name" '127.0.0.1:' '[::1]:' '*:' unix: udp: fd:
			fi
			;;
		LIST | FD)
			if [[ ${words[0]} == *@(fdrecv|fdread) ]]; then
				[[ ! ${given[--connect]-} ]] || _fdkit_offer "$list" $(_fdkit_names)
			else
				_fdkit_numbers "${cur%"${cur##*[,=]}"}"
			fi
			;;
		NAME) _fdkit_offer '' $(_fdkit_names) ;;
		NAME,...) _fdkit_offer "$list" $(compgen -e) ;;
		VAR) _fdkit_offer '' $(compgen -v) ;;
		PID) _fdkit_offer '' $(cd /proc && printf '%s\n' [0-9]*) ;;
		WHO,...) _fdkit_offer "$list" $(compgen -u) any $(compgen -g -P :) ;;
		USER) if [[ $cur == *:* ]]; then _fdkit_offer "${cur%%:*}:" $(compgen -g); else _fdkit_offer '' $(compgen -u); fi ;;
		MODE) _fdkit_offer '' 600 660 666 ;;
		TYPE) _fdkit_offer '' stream dgram seqpacket ;;
		TIME) [[ $cur != +([0-9.]) ]] || _fdkit_offer "$cur" ms s m h ;;
		esac
	done
	[[ ${COMPREPLY[*]} != *: ]] || compopt -o nospace
}

# _fdkit_read: read the line as words; bash breaks them at :, = and @, too.
_fdkit_read() {
	local line=$COMP_LINE left=$COMP_POINT i word blanks
	for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
		word=${COMP_WORDS[i]}
		blanks=${line%%[^[:blank:]]*}
		if [[ ! $blanks && $i -gt 0 && ($word == [:=@]* || ${COMP_WORDS[i - 1]} == *[:=@]) ]]; then
			words[${#words[@]} - 1]+=$word
		else
			words+=("$word") at+=("$i")
		fi
		line=${line:${#blanks} + ${#word}} left=$((left - ${#blanks} - ${#word}))
		if ((i == COMP_CWORD)); then
			cword=$((${#words[@]} - 1)) cur=${words[cword]}
			((left >= 0)) || cur=${cur:0:(-left < ${#cur} ? ${#cur} + left : 0)}
		fi
	done
}

# _fdkit_sort: go through the options, up to word first. If cword is among them, value is the kind of value that it is,
# or "option".
_fdkit_sort() {
	local word name rest i
	for (( ; first < ${#words[@]}; first++)); do
		word=${words[first]}
		((first != cword)) || word=$cur
		[[ $word == -* ]] || return
		[[ $word != -- || $first -eq $cword ]] || { first=$((first + 1)) && return; }
		name=${word%%=*} i=${#name}
		if [[ $word != --* ]]; then # letters, up to one that wants a value
			for ((i = 1; i < ${#word}; i++)); do
				name=${long[${word:i:1}]:-none}
				[[ ! ${kind[$name]-} ]] || break
				given[$name]=1
			done
		fi
		rest=${word:i + 1}
		if ((first == cword)); then
			value=option
			[[ ${word:i} != =* && ! $rest ]] || { value=${kind[$name]:-none} cur=$rest && head=${word:0:i + 1}; }
			continue
		fi
		given[$name]=${rest:-1}
		[[ ${kind[$name]-} && ! $rest ]] || continue
		first=$((first + 1)) given[$name]=${words[first]-}
		((first != cword)) || value=${kind[$name]}
	done
}

# _fdkit_command N: another command begins at word N.
_fdkit_command() {
	if declare -F _comp_command_offset >/dev/null; then
		_comp_command_offset "${at[$1]}"
	elif declare -F _command_offset >/dev/null; then
		_command_offset "${at[$1]}"
	elif ((cword == $1)); then
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -c -- "$cur")
	else
		compopt -o bashdefault -o default
	fi
}

# _fdkit_operand KIND...: cword is an operand of a call with these.
_fdkit_operand() {
	local n=$((cword - first)) last=${*: -1} i
	for ((i = first; i < cword; i++)); do
		[[ " $* " != *' -- '* || ${words[i]} != -- ]] || { _fdkit_command $((i + 1)) && return; }
	done
	[[ " $* " != *' -- '* ]] || { set -- "${@:1:$# - 2}" && last=${*: -1}; }
	if [[ $last == COMMAND ]] && ((n >= $# - 1)); then
		_fdkit_command $((first + $# - 1))
	elif ((n < $#)) || [[ $last == *... ]]; then
		((n < $#)) || n=$(($# - 1))
		set -- "${@:n + 1:1}"
		IFS=/ read -ra i <<<"${1%...}"
		_fdkit_kind "${i[@]}"
	fi
}

_fdkit() {
	local words=() at=() operands=() cword=0 cur='' head='' value='' first=1 calls='' row c s l k
	local -A given=() kind=() long=()
	COMPREPLY=()
	_fdkit_read
	while IFS= read -r row; do
		IFS='|' read -r c s l k _ <<<"${row//$'\t'/|}"
		[[ $c == "${words[0]##*/}" && $l ]] && kind[$l]=$k && [[ $s ]] && long[${s#-}]=$l
	done <<<"$_fdkit_table"
	_fdkit_sort
	operands=("${words[@]:first}")
	if [[ ${words[cword - 1]} == *[\<\>] ]]; then
		_fdkit_files ''
	elif [[ $value == option ]]; then
		for l in "${!kind[@]}"; do
			[[ ${given[$l]-} && $l != @(--env|--fds) ]] || _fdkit_offer '' "$l"
		done
		for s in "${!long[@]}"; do
			[[ ${given[${long[$s]}]-} ]] || _fdkit_offer '' "-$s"
		done
	elif [[ $value ]]; then
		_fdkit_kind "$value"
	else
		while IFS= read -r row; do
			IFS='|' read -r c s l k _ <<<"${row//$'\t'/|}"
			[[ $c == "${words[0]##*/}" && ! $l ]] && [[ ! $s || ${given[$s]-} ]] && calls=$k
		done <<<"$_fdkit_table"
		# shellcheck disable=SC2086  # words on purpose
		_fdkit_operand $calls
	fi
	# bash completes what follows the last : or =.
	cur=$head$cur
	COMPREPLY=("${COMPREPLY[@]/#/$head}")
	c=${COMP_WORDBREAKS//[!:=]/}
	[[ ! $c ]] || COMPREPLY=("${COMPREPLY[@]#"${cur%"${cur##*["$c"]}"}"}")
	return 0
}

complete -F _fdkit @COMMANDS@
