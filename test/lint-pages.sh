#!/bin/sh
# SPDX-License-Identifier: ISC
# lint-pages.sh PAGE...: mandoc's linter over generated pages, less the two remarks that scdoc's own
# way of spacing paragraphs provokes.
set -u
lint=$(mandoc -Tlint -W warning "$@" | grep -v 'skipping paragraph macro: PP \(after SH\|after SS\|empty\)')
[ -z "$lint" ] || { printf '%s\n' "$lint"; exit 1; }
