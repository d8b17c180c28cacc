#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The storm, kept short: `storm.py push 5000` in a scratch directory is the long one.
load helper

storm() {
	timeout -k 1 120 storm.py "$1" 1500 >figures || {
		cat figures
		return 1
	}
	sed 's/^/# /' figures >&3
}

@test "push: 1500 connections while the worker is killed every 100 ms, none lost, none twice" {
	storm push
	grep -q '^push: 1500 connections, .* lost 0, twice 0, logged 1500,' figures
}

@test "pull: 1500 connections while one of four workers is killed every 100 ms, none lost, none twice" {
	storm pull
	grep -q '^pull: 1500 connections, .* lost 0, twice 0, logged 1500,' figures
}
