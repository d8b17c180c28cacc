#!/bin/sh
# SPDX-License-Identifier: ISC
# run.sh DIRECTORY SECONDS NAME...: run each DIRECTORY/fuzz-NAME (libFuzzer) for SECONDS, from the corpus that is kept
# here and what earlier runs found. What crashes is written to DIRECTORY/artifacts. Called by make fuzz.
set -u
dir=$1 seconds=$2
shift 2
here=$(dirname "$0")
failed=0
mkdir -p "$dir/artifacts"

# figure NAME WORD: what the last line of NAME's log that has WORD says after it.
figure() { sed -n "s/.*$2 *\([0-9][0-9]*\).*/\1/p" "$dir/$1.log" | tail -n 1; }

for name; do
	mkdir -p "$dir/found/$name"
	echo "fuzzing $name for $seconds s"
	if ! "$dir/fuzz-$name" -max_total_time="$seconds" -timeout=20 -max_len=2048 -print_final_stats=1 \
		-dict="$here/fuzz.dict" -artifact_prefix="$dir/artifacts/$name-" "$dir/found/$name" "$here/corpus/$name" \
		>"$dir/$name.log" 2>&1; then
		failed=1
		grep -E '^must be|ERROR|SUMMARY|runtime error|Test unit written' "$dir/$name.log"
	fi
done

printf '\n%-10s %12s %8s %8s %8s\n' fuzzer executions edges features inputs
for name; do
	printf '%-10s %12s %8s %8s %8s\n' "$name" "$(figure "$name" number_of_executed_units:)" "$(figure "$name" 'cov:')" \
		"$(figure "$name" 'ft:')" "$(figure "$name" 'corp:')"
done
exit "$failed"
