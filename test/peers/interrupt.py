#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""interrupt.py COMMAND...: run COMMAND on a terminal of its own, type ^C when it says "ready", and copy what it says.
interrupt.py --hang-up COMMAND...: the terminal hangs up instead.
Without COMMAND: a program that says ready, sends its parent TERM at each INT, and at TERM says how many INT there were."""
import os
import pty
import signal
import sys

import peer

count = 0


def interrupted(*_):
    global count
    count += 1
    os.kill(os.getppid(), signal.SIGTERM)


def ended(*_):
    peer.say("interrupts", count)
    sys.exit(5)


if len(sys.argv) == 1:
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, ended)
    peer.say("ready")
    while True:
        signal.pause()

hangs_up = sys.argv[1] == "--hang-up"
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1 + hangs_up], sys.argv[1 + hangs_up:])
text = b""
try:
    while data := os.read(terminal, 1000):
        if b"ready" in text + data and hangs_up:
            os.close(terminal)
        elif b"ready" not in text and b"ready" in text + data:
            os.write(terminal, b"\x03")
        text += data
        os.write(1, data.replace(b"\r", b""))
except OSError:                         # the terminal is closed
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)
