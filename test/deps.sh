#!/bin/sh
# SPDX-License-Identifier: ISC
# deps.sh PACKAGE...: install with apt those of Debian's packages that are missing. Called by make deps.
set -eu

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "make deps knows only apt so far. Please install what stands for these Debian packages here:" >&2
	echo "  $*" >&2
	echo "(make alone needs a C compiler; scdoc is for the pages, bats and the rest for make check and lint)" >&2
	exit 1
fi

missing=
for package; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || { echo "nothing is missing"; exit 0; }
echo "installing:$missing"
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
$sudo apt-get update -q
# shellcheck disable=SC2086 # words on purpose
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
