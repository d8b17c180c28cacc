#!/bin/sh
# SPDX-License-Identifier: ISC
# deps.sh PACKAGE... [-- OPTIONAL...]: install with apt those of Debian's packages that are missing, and the
# OPTIONAL ones where they exist and no other must go for them. Called by make deps.
set -eu

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	echo "make deps knows only apt so far. Please install what stands for these Debian packages here:" >&2
	echo "  $*" >&2
	echo "(make alone needs a C compiler; scdoc is for the pages, bats and the rest for make check and lint)" >&2
	exit 1
fi

# absent PACKAGE...: those that are not installed.
absent() {
	for package; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf ' %s' "$package"
	done
}

required=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	required="$required $1"
	shift
done
[ $# -eq 0 ] || shift
# shellcheck disable=SC2086 # words on purpose
missing=$(absent $required)
optional=$(absent "$@")
[ -n "$missing$optional" ] || { echo "nothing is missing"; exit 0; }
echo "installing:$missing$optional"
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
install() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"; }
$sudo apt-get update -q
# shellcheck disable=SC2086 # words on purpose
[ -z "$missing" ] || install $missing
for package in $optional; do
	install --no-remove "$package" || echo "left out: $package, which is not to be had here; nothing fails without it"
done
