#!/bin/sh
# SPDX-License-Identifier: ISC
# run.sh DIR [short]: have spin look at each model of this directory in all interleavings, and at each with an error put
# in, which it must find. DIR gets what it makes. Called by make model; short, of a smaller size, by model.bats.
set -eu

models=$(cd "$(dirname "$0")" && pwd) dir=$1 size=${2:-full}
mkdir -p "$dir"
cd "$dir"

# pan NAME MODEL CFLAGS SETTING...: build the program that looks at MODEL with these settings, and run it; NAME.out
# gets what it says.
pan() {
	name=$1 model=$2 cflags=$3
	shift 3
	rm -rf "$name"
	mkdir "$name"
	cycles=
	case $cflags in *-DNP*) cycles=-l ;; esac
	# shellcheck disable=SC2086 # words on purpose
	(cd "$name" && spin -a "$@" "$models/$model.pml" >pan.log && cc $cflags -w -DCOLLAPSE -DMEMLIM=16000 -o pan pan.c &&
		./pan -m100000 $cycles) >"$name.out" 2>&1 || true
	rm -rf "$name/pan" "$name"/pan.?
}

# figure NAME PATTERN: the first number of the line in NAME.out.
figure() { sed -n "s/^ *\([0-9]*\) $2.*/\1/p; s/.*$2 \([0-9]*\).*/\1/p" "$1.out" | head -n 1; }

# holds NAME MODEL CFLAGS SETTING...: no error, and everything was looked at.
holds() {
	pan "$@"
	if ! grep -q 'errors: 0$' "$1.out" || grep -Eq 'max search depth too small|Search not completed|out of memory' "$1.out"; then
		cat "$1.out"
		echo "$1: FAILED; for the steps: cd $dir/$1 && spin -t -p -g $2.pml, with $*"
		exit 1
	fi
	printf '%-24s %11s states, depth %4s: holds\n' "$1" "$(figure "$1" 'states, stored')" "$(figure "$1" 'depth reached')"
}

# finds MODEL ERROR SETTING...: that the model has that error.
finds() {
	model=$1 error=$2
	shift 2
	pan "$model-$error" "$model" '-O0 -DSAFETY' "-D$error" "$@"
	if ! grep -Eq '^pan:1: (assertion violated|invalid end state)' "$model-$error.out"; then
		cat "$model-$error.out"
		echo "$model: $error is not found"
		exit 1
	fi
	printf '%-24s %s: found\n' "$model" "$error"
}

# Cycles: none, so every run comes to an end, without any fairness but that time passes; what must happen at last is
# asserted there.
if [ "$size" = short ]; then
	holds channel-cycles channel '-O0 -DNP' -DCONNECTIONS=2 -DFAULTS=1
	holds channel-3-1 channel '-O1 -DSAFETY' -DCONNECTIONS=3 -DFAULTS=1
	holds keep keep '-O1 -DNP' -DHUPS=2 -DFAULTS=1
	holds run run '-O1 -DNP' -DFAULTS=3
else
	holds channel-cycles channel '-O1 -DNP' -DCONNECTIONS=3 -DFAULTS=1
	holds channel-half channel '-O2 -DSAFETY' -DCONNECTIONS=2 -DFAULTS=2 -DHALVES
	holds channel-full-queue channel '-O2 -DSAFETY' -DCONNECTIONS=3 -DFAULTS=1 -DQUEUE=1
	holds channel-3-2 channel '-O2 -DSAFETY' -DCONNECTIONS=3 -DFAULTS=2
	holds keep-cycles keep '-O1 -DNP' -DHUPS=2 -DFAULTS=2
	holds keep keep '-O2 -DSAFETY' -DHUPS=3 -DFAULTS=2
	holds run run '-O1 -DNP' -DFAULTS=4
fi

for error in ACKNOWLEDGES_ITSELF CLOSED_AT_ONCE ENDS_AT_TAKEN EXECUTES_ANYWAY ID_COMES_BACK NOT_DOUBLED NOT_DRAINED NO_SHUTDOWN \
	OFFERS_ALL READ_LOST REFUSED_IS_OVER SLOT_AT_TAKEN WAITS_FOR_EVER; do
	finds channel $error -DCONNECTIONS=2 -DFAULTS=1
done
for error in ENDS_EARLY HUP_LOST NO_RESTART READY_UNSEEN RELOADING_STAYS STARTING_FORGOTTEN TERM_FIRST; do
	finds keep $error -DHUPS=2 -DFAULTS=2
done
for error in ENDED_AT_STOP EXECUTES_ANYWAY KEEPER_STAYS NOT_TOLD NO_CONT NO_DEATH_SIGNAL NO_HANG_UP RAW_STAYS RAW_WHILE_STOPPED; do
	finds run $error -DFAULTS=3
done
