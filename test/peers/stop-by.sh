#!/bin/sh
# SPDX-License-Identifier: ISC
# stop-by.sh SIGNAL COMMAND...: run COMMAND, and give it SIGNAL when TERM comes; for servers that finish their requests only then.
signal=$1
shift
child=
trap 'kill -s "$signal" $child' TERM
LISTEN_PID='' sh -c 'LISTEN_PID=$$ exec "$@"' - "$@" &
child=$!
wait $child
status=$?
while kill -0 $child 2>/dev/null; do
	wait $child
	status=$?
done
exit $status
