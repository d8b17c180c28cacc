#!/bin/sh
# SPDX-License-Identifier: ISC
# lint-tests.sh FILE...: assertions that cannot fail. bash's set -e ignores the failure of `a` in `a && b`, and of a command
# after `!`. Only where that is a condition, goes on with ||, or is its function's or subshell's last does the failure count.
exec awk '
# LINE without comments and without words in quotes; an open quote goes on in the next line.
function unquoted(line,    i, c, out) {
	for (i = 1; i <= length(line); i++) {
		c = substr(line, i, 1)
		if (c == "\\" && quote != "\047")
			i++
		else if (quote)
			quote = c == quote ? "" : quote
		else if (c == "\047" || c == "\"")
			quote = c
		else if (c == "#" && substr(" " line, i, 1) ~ /[ \t]/)
			break
		else
			out = out c
	}
	return out
}

# Is the failure of a list in LINE, which is unquoted, ignored?
function ignored(line) {
	while (gsub(/[$<>]?\([^()]+\)/, "_", line) || gsub(/\[\[ ([^]]|\][^]])* \]\]/, "_", line))
		;
	gsub(/\|\| *\{[^}]*(false|return 1); \}/, "|| _", line)              # it fails all the same
	if (line ~ /^[ \t]*(if|elif|while|until) / || line ~ /^[ \t]*[a-z_]+\(\) \{ [^;]*; \}$/)
		return 0
	return line ~ /&&[^|]*([^|]\|[^|]+)*$/ || (line ~ /(^|;|do|then|else|\{|\))[ \t]*! / && line !~ /\|\|/)
}

FNR == 1 { suspect = quote = here = "" }
here { here = $1 != "END"; next }
{ within = quote; plain = unquoted($0) }
suspect && !/^[ \t]*([}]|#)/ { print suspect; bad = 1 }
suspect && !/^[ \t]*#/ { suspect = "" }
!within && !/^#/ && ignored(plain) { suspect = FILENAME ":" FNR ": a failure here is ignored: " $0 }
/<<-\047?END/ { here = 1 }
END { exit bad }' "$@"
