#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What a client on the network may meet.

nowhere.py names: a name server at 127.0.0.1 that never answers.
nowhere.py full HOST PORT: a server whose queue is full, so that connecting to it takes for ever.
Both say "ready"."""
import socket
import sys

import peer


def names():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    return [s]


def full(host, port):
    s = socket.create_server((host, int(port)), backlog=0)
    kept = [s]
    for _ in range(3):  # more are not answered
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex((host, int(port)))
        kept.append(c)
    return kept


kept = globals()[sys.argv[1]](*sys.argv[2:])
peer.say("ready")
peer.stay()
