#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The models of model/: that they hold, and that they are still models of this code. make model looks at more states.
# bats file_tags=heavy

load helper

SOURCE=$BATS_TEST_DIRNAME/..
MODELS=$BATS_TEST_DIRNAME/model

# steps: each FILE and FUNCTION that a model names as FILE.c: FUNCTION, FUNCTION; FILE.c: FUNCTION.
steps() {
	cat "$MODELS"/*.pml | grep -oE '[a-z_]+\.c: [a-z_]+(, [a-z_]+)*' | sort -u |
		while IFS=': ,' read -r file functions; do
			for function in $functions; do echo "$file ${function%,}"; done
		done
}

# words_of_records: those of lib/record.c, each with its name there.
words_of_records() { grep -oE '\[RECORD_[A-Z]+\] = "[a-z]+"' "$SOURCE/lib/record.c" | tr -d '[]="' | tr -s ' ' | sort; }

# specified: each word of fdkit-protocol(7), and who sends it.
specified() {
	sed -n '/^\[\[ \*record\*/,/^The fields:/p' "$SOURCE/man/fdkit-protocol.7.scd" |
		sed -n '/^|/{N;s/^|  \*\([a-z]*\).*\n:  \([a-z]*\)$/\1 \2/p}' | sort -u
}

# spoken MODEL: the words that it has.
spoken() { grep -E '^mtype = \{ RECORD_' "$MODELS/$1.pml" | grep -oE 'RECORD_[A-Z]+' | sort -u; }

# named WORD...: their names in lib/record.c.
named() {
	local word
	for word; do words_of_records | awk -v word="$word" '$2 == word { print $1 }'; done | sort -u
}

@test "each step of a model names functions that are there" {
	local count=0 file function
	while read -r file function; do
		count=$((count + 1))
		grep -qE "^[a-z_].*[ *]$function\(" "$SOURCE"/{cmd,lib}/"$file" 2>/dev/null ||
			{ echo "no function $function in $file"; return 1; }
	done < <(steps)
	[ "$count" -gt 90 ]
}

@test "the record form has the same words in its code, its page and its models" {
	local word
	words_of_records | while read -r name word; do [ "$name" = "RECORD_${word^^}" ]; done
	[ "$(words_of_records | wc -l)" -gt 10 ]
	diff <(words_of_records | cut -d' ' -f2 | sort -u) <(specified | cut -d' ' -f1 | sort -u)
	# The channel has all that dispatchers and workers say; set, taken and refused are everybody's.
	# shellcheck disable=SC2046 # words on purpose
	diff <(spoken channel) <(named set taken refused $(specified | awk '$2 == "dispatcher" || $2 == "worker" { print $1 }'))
	# So has fdrun's all that servers say, and run and signal.
	# shellcheck disable=SC2046 # words on purpose
	diff <(spoken run) <(named taken refused run signal $(specified | awk '$2 == "server" { print $1 }'))
}

@test "the models hold in all interleavings, and each error put in is found" {
	PATH=$PATH:/usr/bin
	sh "$MODELS/run.sh" "$PWD/models" short
}
