#!/bin/sh
# SPDX-License-Identifier: ISC
# dist.sh VERSION DIRECTORY PART...: make release files of the source in . (a git checkout or an unpacked source tarball)
# in DIRECTORY, with their SHA256SUMS: a source tarball and, built from what is in it, each PART: a static tarball for the
# machine x86_64 or aarch64; deb; rpm; apk (an APKBUILD). The same source gives the same bytes, wherever it is built, but
# for rpm, which writes down where and when.
# DEPS_TEST: the packages that the tests need.
set -eu

name=fdkit-$1 version=$1
mkdir -p "$2"
out=$(cd "$2" && pwd) here=$(cd "$(dirname "$0")" && pwd)
shift 2
work=$out/work source=$out/$name.tar.gz
rm -rf "$work"
mkdir "$work"
export LC_ALL=C TZ=UTC
umask 022
# What somebody gave to the make that called us would go into every build.
unset MAKEFLAGS MFLAGS MAKELEVEL CFLAGS CPPFLAGS LDFLAGS

# All dates are the last commit's; in a source tarball all files have that date.
[ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(if [ -e .git ]; then git log -1 --format=%ct; else stat -c %Y NEWS; fi)
export SOURCE_DATE_EPOCH

# archive FILE PREFIX: FILE.gz, of the files in . that standard input names, under PREFIX, as anybody would make it.
archive() {
	sort >"$work/files"
	tar --no-recursion --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" \
		--transform="flags=r;s,^,$2/," -cf "$1" -T "$work/files"
	gzip -9nf "$1"
}

# need COMMAND PACKAGE: say now if it is missing.
need() { command -v "$1" >/dev/null || { echo "dist: $1 is missing (Debian's package: $2)" >&2; exit 1; }; }

# unpacked DIRECTORY: the source tarball, in a new DIRECTORY/$name.
unpacked() { mkdir -p "$1" && tar -xzf "$source" -C "$1"; }

# filled FILE: FILE, a template of .pkg, with this release's version and date.
filled() {
	sed "s/@VERSION@/$version/g; s/@DATE@/$(date -R -d "@$SOURCE_DATE_EPOCH")/; s/@DAY@/$(date +'%a %b %d %Y' -d "@$SOURCE_DATE_EPOCH")/
		s/@SHA512@/$(sha512sum <"$source" | cut -d ' ' -f 1)/; s/@DEPS_TEST@/$(echo "${DEPS_TEST:-}" | sed 's/[[:space:]]\{1,\}/, /g')/" "$1"
}

# compiler MACHINE: one that makes static programs for it: musl's for our own, else a cross compiler, or clang.
compiler() {
	if [ "$1" = "$(uname -m)" ]; then
		command -v musl-gcc || echo cc
	else
		command -v "$1-linux-musl-gcc" || command -v "$1-linux-gnu-gcc" || echo "clang --target=$1-linux-gnu"
	fi
}

static() {
	strip=$([ "$1" = "$(uname -m)" ] || echo "$1-linux-gnu-")strip
	need "$strip" "binutils-$1-linux-gnu"
	unpacked "$work/$1"
	in=$work/$1/$name to=$work/$1/to
	make -j"$(nproc)" -C "$in" STATIC=1 CC="$(compiler "$1")" CPPFLAGS="-ffile-prefix-map=$in=." STRIP="$strip" \
		PREFIX= DESTDIR="$to" install-strip
	cp "$in/LICENSE" "$in/NEWS" "$in/README.md" "$to"
	cd "$to"
	find . -mindepth 1 -printf '%P\n' | archive "$out/$name-linux-$1.tar" "$name-linux-$1"
}

deb() {
	need dpkg-buildpackage dpkg-dev
	need dh debhelper
	need scdoc scdoc
	unpacked "$work/deb"
	cp "$source" "$work/deb/fdkit_$version.orig.tar.gz"
	cp -R "$here/debian" "$work/deb/$name"
	for file in changelog tests/control; do
		filled "$here/debian/$file" >"$work/deb/$name/debian/$file"
	done
	# -d: build-essential has a C++ compiler, too.
	(cd "$work/deb/$name" && dpkg-buildpackage -d -us -uc -j"$(nproc)")
	mv "$work"/deb/fdkit_*.deb "$work"/deb/*.dsc "$work"/deb/*.debian.tar.xz "$out"
	ln -s "$name.tar.gz" "$out/fdkit_$version.orig.tar.gz"
}

rpm() {
	need rpmbuild rpm
	mkdir -p "$work/rpm"
	filled "$here/fdkit.spec" >"$work/rpm/fdkit.spec"
	# --nodeps: Debian's rpm knows nothing of Debian's packages.
	rpmbuild -bb --nodeps --define "_topdir $work/rpm" --define "_sourcedir $out" --define "_rpmdir $work/rpm" \
		--define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' "$work/rpm/fdkit.spec"
	mv "$work/rpm"/fdkit-[0-9]*.rpm "$out"
}

apk() { filled "$here/APKBUILD" >"$out/APKBUILD"; }

# Shown only if something fails.
log=
trap '[ -z "$log" ] || cat "$log" >&2' EXIT

[ ! -e .git ] || git diff --quiet HEAD || echo "dist: some files differ from the last commit, which gives the date" >&2
if [ -e .git ]; then git ls-files; else find . -type f ! -path './build*' -printf '%P\n'; fi | archive "$out/$name.tar" "$name"
for part; do
	echo "making: $part"
	log=$work/$part.log
	case $part in
	x86_64 | aarch64) (static "$part") >"$log" 2>&1 ;;
	deb | rpm | apk) ("$part") >"$log" 2>&1 ;;
	*) echo "dist: $part: no such part" >&2 && exit 125 ;;
	esac
	log=
done
cd "$out"
find . -maxdepth 1 -type f -printf '%P\n' | sort | xargs sha256sum >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" .
rm -rf "$work"
cat SHA256SUMS
