#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# make dist, what it makes, and make install under a prefix. make check TESTS=.pkg/packages.bats runs these; the tests of the
# commands are in test/.

load ../test/helper

top=$BATS_TEST_DIRNAME/..
one=$BATS_FILE_TMPDIR/one/dist two=$BATS_FILE_TMPDIR/two
version=$(sed -n 's/^#define FDKIT_VERSION "\(.*\)"/\1/p' "$top/cmd/options.h")
name=fdkit-$version

# What somebody gave to the make that runs us is not for those that we run.
unset MAKEFLAGS MFLAGS MAKELEVEL

# links MACHINE: can static programs for it be made here?
links() {
	[ "$1" != "$(uname -m)" ] || return 0
	clang --target="$1-linux-gnu" -static -o "$BATS_FILE_TMPDIR/none" -x c - <<<'int main(void) { return 0; }' 2>/dev/null
}

# Two releases of the same source: from here and, by somebody else, from the source tarball of the first.
setup_file() {
	local parts='deb apk' machine
	for machine in x86_64 aarch64; do
		if links "$machine"; then parts+=" $machine"; else echo "# without $machine: clang makes no programs for it" >&3; fi
	done
	mkdir "$two"
	make -s -C "$top" BUILD="$BATS_FILE_TMPDIR/one" DIST="$parts" dist >&2
	tar -xzf "$one/$name.tar.gz" -C "$two"
	umask 077
	TZ=Asia/Tokyo LC_ALL=C.UTF-8 make -s -C "$two/$name" DIST="$parts" dist >&2
}

# names_in DIRECTORY: the files there, as .deb and .rpm have them: pages may be .gz.
names_in() { (cd "$1" && find . ! -type d -printf '%P\n' | sed 's/\.gz$//' | sort); }

# installed [VARIABLE...]: what make install puts under /usr, in installed/ and a list of that name.
installed() {
	make -s -C "$top" BUILD="$BATS_FILE_TMPDIR/build" PREFIX=/usr DESTDIR="$PWD/installed" "$@" install
	names_in installed >installed.list
}

# same_as_installed: the list on standard input, but for documentation, is what make install installs.
same_as_installed() { grep -v '^usr/share/\(doc\|licenses\)/' | diff installed.list -; }

@test "the same source gives the same release, whoever makes it and where" {
	(cd "$one" && sha256sum -c SHA256SUMS)
	(cd "$one" && ls -I SHA256SUMS -I '*.orig.*') | diff - <(cut -c 67- "$one/SHA256SUMS")
	diff "$one/SHA256SUMS" "$two/$name/build/dist/SHA256SUMS"
	grep -q "  $name-linux-$(uname -m).tar.gz$" "$one/SHA256SUMS"
	[ "$(grep -c '_.*deb$\|_.*dsc$\|APKBUILD$\|tar.xz$' "$one/SHA256SUMS")" -eq 4 ]
}

@test "the source tarball has git's files and no other" {
	[ -e "$top/.git" ] || skip "no git checkout"
	git -C "$top" ls-files | sort >files
	tar -tzf "$one/$name.tar.gz" | sed "s|^$name/||" | sort | diff files -
}

@test "the static programs need no library, have no names of the builder's directories, and work" {
	echo 'buy milk' >notes
	for machine in x86_64 aarch64; do
		[ -e "$one/$name-linux-$machine.tar.gz" ] || continue
		tar -xzf "$one/$name-linux-$machine.tar.gz"
		bin=$PWD/$name-linux-$machine/bin
		[ "$(cd "$bin" && echo *)" = "$(printf '%s\n' "${TOOLS[@]}" | sort | paste -sd ' ')" ]
		for tool in "${TOOLS[@]}"; do
			readelf -lW "$bin/$tool" >segments
			grep -q LOAD segments || false
			! grep INTERP segments || false
			readelf -SW "$bin/$tool" >sections
			! grep '\.debug\|\.symtab' sections || false
			! grep -a "$BATS_FILE_TMPDIR" "$bin/$tool" || false
		done
		[ -e "$name-linux-$machine/LICENSE" ]
		[ -e "$name-linux-$machine/share/man/man7/fdkit.7" ]
		run=
		if [ "$machine" != "$(uname -m)" ]; then
			command -v "qemu-$machine" || continue
			run=qemu-$machine
		fi
		[ "$($run "$bin/fdsend" -V)" = "fdsend (fdkit) $version" ]
		spawn $run "$bin/fdrecv" s >got
		exits 0 $run "$bin/fdsend" -w 5 s 0 <notes
		# shellcheck disable=SC2154  # the helper sets it
		ended "$pid" 0
		diff notes got
	done
}

@test "the deb has what make install installs, hardened, and lintian finds nothing" {
	installed
	dpkg-deb -x "$one"/fdkit_*.deb deb
	names_in deb | same_as_installed
	[ -s deb/usr/share/doc/fdkit/copyright ]
	[ "$(dpkg-deb -f "$one"/fdkit_*.deb Version)" = "$version-1" ]
	for tool in "${TOOLS[@]}"; do
		readelf -hldsW "deb/usr/bin/$tool" >elf
		for word in 'DYN (Position-Independent' BIND_NOW GNU_RELRO __stack_chk_fail '__.*_chk@'; do
			grep -q "$word" elf || { echo "$tool: no $word" && false; }
		done
	done
	command -v lintian >/dev/null || skip "no lintian"
	# Debian would want the number of a bug.
	lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$one"/*.dsc "$one"/fdkit_*.deb
}

@test "the deb installs, and its own tests test the installed commands" {
	need_root
	mkdir layer root
	# In a mount namespace: this machine's files under a layer of our own.
	cat >install.sh <<-'END'
		set -e
		mount -t tmpfs none layer
		mkdir layer/upper layer/work
		mount -t overlay none -o lowerdir=/,upperdir=layer/upper,workdir=layer/work root || { echo cannot && exit 77; }
		for dir in /dev /proc /sys; do mount --rbind $dir root$dir; done
		mount -t tmpfs none root/tmp
		cp "$1"/fdkit* root/tmp
		exec chroot root sh -ec '
			cd /tmp
			dpkg -i fdkit_*.deb
			dpkg -V fdkit
			dpkg-source --no-check -x fdkit_*.dsc src
			PATH=/nowhere:$PATH
			src/debian/tests/suite -s -C src TESTS=test/calls.bats BATSFLAGS="--tap -f help"'
	END
	status=0
	unshare -m sh install.sh "$one" >log 2>&1 || status=$?
	[ "$status" -ne 77 ] || skip "may not mount an overlay"
	cat log
	[ "$status" -eq 0 ]
	grep -q '^ok ' log
}

@test "rpmbuild makes of the spec what make install installs" {
	command -v rpmbuild >/dev/null || skip "no rpmbuild"
	installed
	make -s -C "$two/$name" BUILD="$PWD/build" rpm
	rpm -qlp build/dist/*.rpm | sed -n '/build-id/d; s/\.gz$//; s/^.//p' | same_as_installed
	[ "$(rpm -qp --qf '%{VERSION} %{LICENSE}' build/dist/*.rpm)" = "$version ISC" ]
}

# With what abuild gives to a build.
@test "the APKBUILD names the tarball and its checksum, and its functions build and install" {
	installed
	cp "$one/APKBUILD" "$one/$name.tar.gz" .
	cat >abuild.sh <<-'END'
		set -eu
		startdir=$PWD CFLAGS=-Os CPPFLAGS= LDFLAGS=-Wl,--as-needed pkgdir=$PWD/pkg
		. ./APKBUILD
		echo "$sha512sums" | sha512sum -c
		tar -xzf "$source"
		builddir=$startdir/$pkgname-$pkgver
		for variable in pkgname pkgver pkgrel pkgdesc url arch license makedepends checkdepends subpackages; do
			eval ": \${$variable:?}"
		done
		for step in build check package; do
			(cd "$builddir" && $step)
		done
	END
	busybox sh abuild.sh >log 2>&1 || { cat log && false; }
	names_in pkg | same_as_installed
}

@test "PROGRAM_PREFIX: every command, every page and each name in a page has it; uninstall removes all" {
	installed PROGRAM_PREFIX=my_
	for tool in "${TOOLS[@]}"; do
		[ "$("installed/usr/bin/my_$tool" -V)" = "my_$tool (fdkit) $version" ]
	done
	! grep -v '/[^/]*my_fd' installed.list || false
	cd installed/usr/share/man || return
	for page in man*/*; do
		! grep -wE "$(IFS='|' && echo "${TOOLS[*]}")" "$page" || false
		grep -oE '\\fB[a-z_-]*fd[a-z_-]*\\fR\([17]\)' "$page" | sed -E 's/^\\fB(.*)\\fR\((.)\)/man\2\/\1.\2/' | sort -u >references
		[ -s references ]
		while read -r file; do
			[ -e "$file" ] || { echo "$page: $file" && false; }
		done <references
		rm references
		grep -q "^\.TH \"$(basename "$page" ".${page##*.}")\" \"${page##*.}\"" "$page"
		grep -qE '^my_fd[a-z-]* - ' <(sed 's/\\-/-/g' "$page")
	done
	cd "$BATS_TEST_TMPDIR" || return
	make -s -C "$top" BUILD="$BATS_FILE_TMPDIR/build" PREFIX=/usr DESTDIR="$PWD/installed" PROGRAM_PREFIX=my_ uninstall
	[ -z "$(names_in installed)" ]
}

@test "apropos descriptor, apropos socket and man fdkit find the installed pages" {
	command -v mapropos >/dev/null || skip "no mandoc"
	installed
	makewhatis installed/usr/share/man
	found() { mapropos -M installed/usr/share/man "$1" | sed 's/[(,].*//' | sort; }
	basename -a -s .1 installed/usr/share/man/man1/* >pages
	basename -a -s .7 installed/usr/share/man/man7/* >>pages
	found socket | diff <(sort pages) -
	found descriptor | diff <(sort pages | grep -vxE 'fdrun|fdserve') -
	mman -M installed/usr/share/man fdkit | grep -qi '^fdkit(7)'
}

@test "make dist says which program is missing, and which part is none" {
	run -2 make -s -C "$two/$name" BUILD="$PWD/build" DIST=none dist
	[[ $output == *'dist: none: no such part'* ]]
	mkdir bin
	for tool in sh make rm mkdir dirname pwd sed git stat date find sort tar gzip cat cut sha512sum; do
		ln -s "$(type -P "$tool")" bin
	done
	PATH=$PWD/bin run -2 make -s -C "$two/$name" BUILD="$PWD/build" DIST=deb dist
	[[ $output == *'dist: dpkg-buildpackage is missing'* ]]
	[ ! -e build/dist/SHA256SUMS ]
}
