#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Workers that do not keep to fdkit-protocol(7), for fdserve -l.

workers.py promise PATH COUNT     COUNT channels, each of which says again and again that it takes 2147483647 sets, and
                                  takes none; where one is closed, another comes
workers.py linger PATH            takes one connection, which it gives SO_LINGER and fills, says taken, has no copy of it

Each says what it has done, and keeps what it has until TERM."""
import re
import select
import socket
import sys

import peer
from peer import say


def promise(path, count):
    channels = []
    while True:
        while len(channels) < int(count):
            sock = peer.connect(path)
            try:
                for _ in range(3):
                    sock.sendall(b"fdkit/1 slots n=2147483647\n")
            except OSError:
                continue
            channels.append(sock)
        say("promised")
        poll = select.poll()
        for sock in channels:
            poll.register(sock, 0)
        gone = {fd for fd, _ in poll.poll()}
        for sock in [sock for sock in channels if sock.fileno() in gone]:
            channels.remove(sock)
            sock.close()


def linger(path):
    sock = peer.connect(path)
    sock.sendall(b"fdkit/1 slots n=1\n")
    while True:
        text, fds = peer.receive(sock)
        if fds:
            break
    client = socket.socket(fileno=fds[0])
    peer.linger(client, 3600)
    peer.fill(client)
    client.close()
    sock.sendall(b"fdkit/1 taken " + re.search(rb"id=\d+", text)[0] + b"\n")
    say("taken")
    peer.stay()


peer.run({f.__name__: f for f in (promise, linger)}, sys.argv[1:])
