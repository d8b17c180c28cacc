#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Clients of a store that ask and do not read, and one that waits for the end.

asks.py PATH RECORD COUNT     COUNT times RECORD, on one connection, as far as they can be sent; say "asked", read nothing
asks.py PATH                  say "there", and "end" at end of file"""
import signal
import socket
import sys


def say(*words):
    print(*words, flush=True)


sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
if len(sys.argv) == 2:
    say("there")
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    say("end")
    sys.exit()
sock.settimeout(1)
try:
    for _ in range(int(sys.argv[3])):
        sock.sendall(b"fdkit/1 " + sys.argv[2].encode() + b"\n")
except OSError:
    pass
say("asked")
signal.pause()
