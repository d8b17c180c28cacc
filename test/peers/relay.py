#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Both ends of what fdrelay carries: a client at its standard input, and the server at its SOCKET.

relay.py CHECK [KIND]    run fdrelay between two sockets of KIND (stream), and say "ok" if CHECK, a function below, found all as it
                         would be without a relay"""
import fcntl
import os
import random
import select
import socket
import subprocess
import sys
import tempfile

import peer
from peer import say


class Relay:
    """A client and a server, both connected through fdrelay."""

    def __init__(self, kind="stream", *options):
        self.client, inner = peer.pair(kind)
        outer, self.server = peer.pair("stream" if kind == "tcp" else kind)
        self.process = subprocess.Popen(["fdrelay", *options, f"fd:{outer.fileno()}"], stdin=inner, pass_fds=[outer.fileno()],
                                        stderr=subprocess.PIPE, text=True)
        inner.close(), outer.close()
        for sock in self.client, self.server:
            sock.settimeout(10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200000)

    def ends(self, status=0):
        """Its messages, after it has ended so."""
        errors = self.process.communicate(timeout=10)[1]
        assert self.process.returncode == status, (self.process.returncode, errors)
        return errors


def drain(sock, most=65536):
    """Messages (bytes, descriptors' inodes) up to end of file."""
    while True:
        data, fds = peer.receive(sock, most)
        if not data and not fds:
            return
        yield data, [os.fstat(fd).st_ino for fd in fds]
        peer.close(fds)


def temporary():
    fd = os.memfd_create("x")
    return fd, os.fstat(fd).st_ino


def exact(kind):
    """Each descriptor comes with its byte, whatever is queued before and after, in both directions, in pieces of any size."""
    for seed in range(20):
        dice, relay = random.Random(seed), Relay(kind)
        for source, sink in (relay.client, relay.server), (relay.server, relay.client):
            sent, want, position = [], [], 0
            relay.process.send_signal(19)
            for _ in range(30):
                data = bytes([dice.randrange(256)]) * dice.choice((1, 1, 2, 10, 500, 3000))
                fds = [temporary() for _ in range(dice.choice((0, 0, 0, 1, 2)))]
                socket.send_fds(source, [data], [fd for fd, _ in fds])
                if fds:
                    want.append((position, [inode for _, inode in fds]))
                position += len(data)
                sent.append(data)
                peer.close(fd for fd, _ in fds)
            relay.process.send_signal(18)
            source.shutdown(socket.SHUT_WR)
            got, came, position = [], [], 0
            # Byte by byte: a descriptor comes with the first byte of its message.
            for data, inodes in drain(sink, 1):
                if inodes:
                    came.append((position, inodes))
                position += len(data)
                got.append(data)
            assert b"".join(got) == b"".join(sent)
            assert came == want, (seed, came, want)
        relay.ends()


check, kind = (sys.argv[1:] + ["stream"])[:2]
globals()[check](kind)
say("ok")
