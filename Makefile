# SPDX-License-Identifier: ISC
# Settings: override on the command line, e.g. make CC=clang CFLAGS=-g PREFIX=/usr.
CFLAGS   = -O2 -g
PREFIX   = /usr/local
BINDIR   = $(PREFIX)/bin
# Where bash looks for builtins to load, and where its headers are (Debian's bash-builtins).
LOADDIR  = $(PREFIX)/lib/bash
BASH_H   = $(firstword $(wildcard /usr/include/bash /usr/local/include/bash))
MANDIR   = $(PREFIX)/share/man
# Where the shells look for completions.
BASHDIR  = $(PREFIX)/share/bash-completion/completions
ZSHDIR   = $(PREFIX)/share/zsh/site-functions
FISHDIR  = $(PREFIX)/share/fish/vendor_completions.d
INSTALL  = install
STRIP    = strip
# Before the name of every command and page, where another package has these names.
PROGRAM_PREFIX =
SANITIZE =
STATIC   =
# Runs the tests' commands if CC makes them for another machine, e.g. qemu-aarch64.
EMULATOR =
# Compiles what runs during the build: CC may make programs for another machine.
HOSTCC   = cc
BUILD    = build$(if $(SANITIZE),-sanitized,$(if $(STATIC),-static))
BATS     = bats
TESTS    = test

# What the code needs whatever CFLAGS say.
STD      = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64
WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion
ifneq ($(SANITIZE),)
# Memory that a process has when it ends is no leak; growth while it runs is measured by the tests.
SANOPTS  = ASAN_OPTIONS=detect_leaks=0
SANFLAGS = -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
ifneq ($(STATIC),)
ifneq ($(SANITIZE),)
$(error STATIC and SANITIZE do not go together: the sanitizers are shared libraries)
endif
# One file that runs anywhere: with musl unless CC says otherwise, since glibc, linked so, still wants its
# own files at run time for names of users, groups and hosts (the linker says so).
ifeq ($(origin CC),default)
CC := $(or $(shell command -v musl-gcc),$(CC))
endif
# Small, since starting is what a shell waits for: no code that moves, no tables to unwind, few segments to map.
CFLAGS         = -Os -g
STATIC_CFLAGS  = -fno-pie -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections
STATIC_LDFLAGS = -static -Wl,--gc-sections -Wl,-z,noseparate-code -Wl,-z,norelro
endif
COMPILE  = $(CC) $(STD) $(WARN) $(WERROR) -Ilib -Icmd $(CPPFLAGS) $(STATIC_CFLAGS) $(CFLAGS) $(SANFLAGS)
LINK     = $(CC) $(CFLAGS) $(SANFLAGS) $(STATIC_LDFLAGS) $(LDFLAGS)

TOOLS = fdsend fdrecv fdserve fdexec fdhold fdrun fdrelay
PAGES = $(TOOLS:=.1) fdread.1 fdkit.7 fdkit-protocol.7 fdkit-cookbook.7
LIB   = $(BUILD)/libfdkit.a
OBJ   = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TOOLS:%=cmd/%.c) cmd/fdread.c,$(wildcard lib/*.c cmd/*.c)))
BIN   = $(TOOLS:%=$(BUILD)/bin/%)
MAN   = $(PAGES:%=$(BUILD)/man/$(PROGRAM_PREFIX)%)

# The builtin of bash, which is no part of the archive, needs bash's headers. A sanitizer would have to be in bash as well, a static
# file loads nothing, and another machine's or libc's bash is not this one.
ifneq ($(SANITIZE)$(STATIC)$(EMULATOR)$(findstring musl,$(CC)),)
FDREAD =
else ifeq ($(BASH_H),)
FDREAD = no-fdread
else
FDREAD = $(BUILD)/lib/bash/fdread
endif

all: $(BIN) $(FDREAD) completions

# What the commands share, as an archive: each gets only the files that it calls.
$(LIB): $(OBJ)
	rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/bin/%: $(BUILD)/cmd/%.o $(LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c $(wildcard lib/*.h cmd/*.h) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

BASH_FLAGS = -DSHELL -isystem $(BASH_H) -isystem $(BASH_H)/include -idirafter lib

$(BUILD)/lib/bash/fdread: cmd/fdread.c cmd/option_table.c cmd/options.h lib/peer.h Makefile
	@mkdir -p $(@D)
	$(COMPILE) -fPIC -c -o $@-table.o cmd/option_table.c
	$(CC) $(STD) $(WARN) $(WERROR) $(BASH_FLAGS) $(CPPFLAGS) $(CFLAGS) -fPIC -c -o $@.o $<
	$(LINK) -shared -o $@ $@.o $@-table.o
	rm $@.o $@-table.o

no-fdread:
	@echo 'fdread is not built: there are no headers of bash (bash-builtins)'

man: $(MAN)

# Commands and pages in a page have the names that they are installed under.
# scdoc takes the date from SOURCE_DATE_EPOCH where it is set.
$(BUILD)/man/$(PROGRAM_PREFIX)%: man/%.scd
	@mkdir -p $(@D)
	sed -E -e 's/\<($(subst $() ,|,$(TOOLS)))\>/$(PROGRAM_PREFIX)&/g' -e 's/^(fdkit[a-z-]*|fdread)(\([17]\)| - )/$(PROGRAM_PREFIX)&/' \
		-e 's/\*((fdkit[a-z-]*|fdread)\*\([17]\))/*$(PROGRAM_PREFIX)\1/g' \
		-e 's/enable -f fdread/enable -f $(PROGRAM_PREFIX)fdread/g' $< >$@.scd
	scdoc <$@.scd >$@

# For bash and zsh one file for all commands, for fish one for each; each has the table of which --help is made, too.
COMPLETE = $(BUILD)/completions
.PHONY: completions
completions: $(COMPLETE)/bash/$(PROGRAM_PREFIX)fdkit $(COMPLETE)/zsh/_$(PROGRAM_PREFIX)fdkit \
             $(TOOLS:%=$(COMPLETE)/fish/$(PROGRAM_PREFIX)%.fish)

$(COMPLETE)/table: .pkg/completions/table.c cmd/option_table.c cmd/options.h lib/peer.h
	@mkdir -p $(@D)
	$(HOSTCC) $(STD) $(WARN) $(WERROR) -Ilib -Icmd -o $@ $(filter %.c,$^)

# $(call completion,COMMAND...): from the template, which is the first prerequisite.
define completion
	@mkdir -p $(@D)
	@$(COMPLETE)/table '$(PROGRAM_PREFIX)' $1 >$@.table
	sed -e '/^@TABLE@/{r $@.table' -e 'd;}' -e 's/@PREFIX@/$(PROGRAM_PREFIX)/g' \
		-e 's/@COMMANDS@/$(1:%=$(PROGRAM_PREFIX)%)/g' $< >$@
	@rm $@.table
endef
$(COMPLETE)/bash/$(PROGRAM_PREFIX)fdkit: .pkg/completions/fdkit.bash $(COMPLETE)/table
	$(call completion,$(TOOLS) fdread)
$(COMPLETE)/zsh/_$(PROGRAM_PREFIX)fdkit: .pkg/completions/_fdkit $(COMPLETE)/table
	$(call completion,$(TOOLS))
$(COMPLETE)/fish/$(PROGRAM_PREFIX)%.fish: .pkg/completions/fdkit.fish $(COMPLETE)/table
	$(call completion,$*)

# Harnesses in test/fuzz: what stands between them and the library is theirs to rule.
FUZZ      = record dispatch inbox words relay
FUZZ_CMD  = cmd/fdserve_dispatch.c cmd/fdserve_choice.c cmd/fdrelay_carry.c cmd/messages.c
FUZZ_CC   = clang
FUZZ_TIME = 60
FUZZ_WRAP = $(patsubst %,-Wl$(comma)--wrap=%,clock_gettime poll malloc calloc realloc strdup sendmsg recvmsg \
            vwarnx warnx getaddrinfo closer_close closer_trim closer_hang_up)
REPLAY    = $(FUZZ:%=$(BUILD)/fuzz/replay-%)
comma     = ,

$(BUILD)/fuzz/replay-%: $(BUILD)/test/fuzz/%.o $(BUILD)/test/fuzz/fuzz.o $(BUILD)/test/fuzz/replay.o $(LIB)
	@mkdir -p $(@D)
	$(LINK) $(FUZZ_WRAP) -o $@ $^ $(LDLIBS)

$(patsubst %.c,$(BUILD)/%.o,$(wildcard test/fuzz/*.c)): test/fuzz/fuzz.h

PEERS = $(patsubst test/peers/%.c,$(BUILD)/peers/%,$(wildcard test/peers/*.c))
$(BUILD)/peers/%: $(BUILD)/test/peers/%.o $(LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)

$(BUILD)/fuzz/fuzz-%: test/fuzz/%.c test/fuzz/fuzz.c $(wildcard lib/*.c lib/*.h cmd/*.h) $(FUZZ_CMD) test/fuzz/fuzz.h Makefile
	@mkdir -p $(@D)
	$(FUZZ_CC) $(STD) $(WARN) -Ilib -Icmd -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		$(FUZZ_WRAP) -o $@ $(filter %.c,$^)

# Parsers on every input up to some length, under the sanitizers; SHORT=1 for shorter ones.
EXHAUST = $(wildcard test/exhaust/*.c) $(patsubst %,lib/%.c,record parse set rights wait fd)
exhaust: $(BUILD)/exhaust/exhaust
	ASAN_OPTIONS=detect_leaks=0 $< $(if $(SHORT),,full)

$(BUILD)/exhaust/exhaust: $(EXHAUST) $(wildcard lib/*.h) test/exhaust/exhaust.h Makefile
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(WERROR) -Ilib $(CPPFLAGS) -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all $(LDFLAGS) -o $@ $(EXHAUST)

# Looks for what nobody thought of, FUZZ_TIME seconds with each harness; replay is part of check.
fuzz: $(FUZZ:%=$(BUILD)/fuzz/fuzz-%)
	sh test/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_TIME) $(FUZZ)

# A build for another machine, by EMULATOR, under its commands' own names.
$(BUILD)/emulated/%: $(BUILD)/bin/%
	@mkdir -p $(@D)
	printf '#!/bin/sh\nexec %s "%s" "$$@"\n' '$(EMULATOR)' '$(abspath $<)' >$@
	chmod +x $@

# The models of test/model, with all that may go wrong in them, and with errors that must be found: 10 minutes, 8 GiB.
model:
	sh test/model/run.sh $(BUILD)/model

# The tests send signals that nohup, or a script's &, would have the tools ignore. FDKIT_BIN=/usr/bin tests installed commands.
check: $(if $(EMULATOR),$(TOOLS:%=$(BUILD)/emulated/%),$(if $(FDKIT_BIN),,all) $(REPLAY) $(PEERS))
	$(if $(FDKIT_BIN),@ls $(TOOLS:%=$(FDKIT_BIN)/%) >/dev/null)
	env --default-signal -u FDKIT_BIN PATH="$(abspath $(or $(FDKIT_BIN),$(BUILD)/$(if $(EMULATOR),emulated,bin))):$$PATH" BUILT="$(CURDIR)/$(BUILD)" \
		SANITIZE=$(SANITIZE) $(SANOPTS) $(BATS) $(BATSFLAGS) $(TESTS)

demo: all
	PATH="$(CURDIR)/$(BUILD)/bin:$$PATH" sh test/demo.sh

# What it costs, beside whatever else is installed: this build's, and the static one's where it can be built.
bench: all
	-$(MAKE) --no-print-directory -s STATIC=1 SANITIZE= BUILD=build-static
	test/bench/run -b $(BUILD)/bench "fdkit=$(BUILD)/bin" "fdkit, static=build-static/bin"

# The picture that README shows, from a new run.
bench-chart: all
	@mkdir -p $(BUILD)/bench
	$(MAKE) --no-print-directory -s bench >$(BUILD)/bench/run.md
	test/bench/chart $(BUILD)/bench/run.md test/bench/chart.svg

# How that grows with what there is of everything.
scale: all
	test/bench/scale -b $(BUILD)/bench "fdkit=$(BUILD)/bin"

install: all man
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man7
	$(foreach t,$(TOOLS),$(INSTALL) $(BUILD)/bin/$t $(DESTDIR)$(BINDIR)/$(PROGRAM_PREFIX)$t &&) :
	$(if $(filter-out no-fdread,$(FDREAD)),install -d $(DESTDIR)$(LOADDIR) && $(INSTALL) -m 644 $(FDREAD) $(DESTDIR)$(LOADDIR)/$(PROGRAM_PREFIX)fdread)
	install -m 644 $(filter %.1,$(MAN)) $(DESTDIR)$(MANDIR)/man1
	install -m 644 $(filter %.7,$(MAN)) $(DESTDIR)$(MANDIR)/man7
	install -d $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	install -m 644 $(COMPLETE)/bash/$(PROGRAM_PREFIX)fdkit $(DESTDIR)$(BASHDIR)
	for name in $(patsubst %,$(PROGRAM_PREFIX)%,$(TOOLS) fdread); do ln -sf $(PROGRAM_PREFIX)fdkit $(DESTDIR)$(BASHDIR)/$$name || exit; done
	install -m 644 $(COMPLETE)/zsh/_$(PROGRAM_PREFIX)fdkit $(DESTDIR)$(ZSHDIR)
	install -m 644 $(TOOLS:%=$(COMPLETE)/fish/$(PROGRAM_PREFIX)%.fish) $(DESTDIR)$(FISHDIR)

install-strip:
	$(MAKE) --no-print-directory INSTALL='install -s --strip-program=$(STRIP)' install

uninstall:
	cd $(DESTDIR)$(BINDIR) && rm -f $(TOOLS:%=$(PROGRAM_PREFIX)%)
	rm -f $(DESTDIR)$(LOADDIR)/$(PROGRAM_PREFIX)fdread
	cd $(DESTDIR)$(MANDIR) && rm -f $(TOOLS:%=man1/$(PROGRAM_PREFIX)%.1) man1/$(PROGRAM_PREFIX)fdread.1 $(filter %.7,$(PAGES:%=man7/$(PROGRAM_PREFIX)%))
	rm -f $(patsubst %,$(DESTDIR)$(BASHDIR)/$(PROGRAM_PREFIX)%,fdkit fdread $(TOOLS)) $(DESTDIR)$(ZSHDIR)/_$(PROGRAM_PREFIX)fdkit \
		$(TOOLS:%=$(DESTDIR)$(FISHDIR)/$(PROGRAM_PREFIX)%.fish)

# Release files and their checksums, in $(BUILD)/dist: the source, and DIST of it. The same source gives the same files.
VERSION = $(shell sed -n 's/^.define FDKIT_VERSION "\(.*\)"/\1/p' cmd/options.h)
DIST    = x86_64 aarch64 deb
dist:
	rm -rf $(BUILD)/dist
	DEPS_TEST="$(DEPS_TEST)" sh .pkg/dist.sh $(VERSION) $(BUILD)/dist $(DIST)

deb rpm:
	$(MAKE) --no-print-directory DIST=$@ dist

# How far clang's analyzer follows a function: less than its default, for a third of the time.
TIDY = -Xclang -analyzer-config -Xclang max-nodes=90000

# Warnings are errors here, and only here; in the tests' programs, too.
lint: man
	$(MAKE) --no-print-directory BUILD=build-gcc CC=gcc WERROR=-Werror programs
	$(MAKE) --no-print-directory BUILD=build-clang CC=clang WERROR=-Werror programs
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr -D_GNU_SOURCE -Ilib -Icmd cmd lib
	clang-tidy --quiet $(filter-out cmd/fdread.c,$(wildcard cmd/*.c lib/*.c .pkg/*/*.c)) -- $(STD) -Ilib -Icmd $(TIDY)
	$(if $(BASH_H),clang-tidy --quiet cmd/fdread.c -- $(STD) $(BASH_FLAGS) $(TIDY))
	shellcheck -x .ci/run .pkg/*.sh .pkg/*.bats .pkg/completions/*.bash .pkg/debian/tests/suite test/*.sh test/*.bash test/*.bats
	shellcheck -s sh -e SC2034,SC2154 .pkg/APKBUILD
	sh test/lint-tests.sh .pkg/*.bats test/*.bats test/*.bash
	sh test/lint-pages.sh $(MAN)

programs: all $(REPLAY) $(PEERS) $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/*/*.c))

# What builds, tests and documents; only what is missing is installed. Those after -- are left out where they cannot be had.
DEPS = gcc libc6-dev make scdoc bats bash-builtins
DEPS_LINT = clang clang-tidy cppcheck mandoc shellcheck
DEPS_FUZZ = clang libclang-rt-dev
DEPS_BUILDS = musl-tools gcc-multilib qemu-user binutils-aarch64-linux-gnu libc6-dev-arm64-cross libgcc-12-dev-arm64-cross
DEPS_TEST = bash-completion bsdextrautils bubblewrap busybox curl dbus-daemon fish git gpg gpg-agent gpgconf gunicorn haproxy iproute2 jq less \
	libio-fdpass-perl lighttpd lsof memcached netbase netcat-openbsd nginx nodejs openssh-client openssh-server perl \
	postgresql procps python3 python3-yaml redis-server ruby s6 strace telnet socat spin tmux util-linux uvicorn valgrind vim-tiny weston zsh
DEPS_DIST = debhelper dpkg-dev lintian rpm
deps:
	@sh test/deps.sh $(DEPS) $(DEPS_LINT) $(DEPS_FUZZ) $(DEPS_TEST) $(DEPS_DIST) -- $(DEPS_BUILDS) systemd

clean:
	rm -rf $(BUILD) build-*

.PHONY: all no-fdread man check fuzz model exhaust demo bench bench-chart scale install install-strip uninstall dist deb rpm lint programs deps clean
.SECONDARY:
