#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""bus.py SOCKET FILE: two clients of the D-Bus daemon at SOCKET; one calls the other with a descriptor of FILE, and what the
other reads from that is printed, or "no descriptor"."""
import os
import socket
import struct
import sys

import peer
from peer import say

CALL, PATH, INTERFACE, MEMBER, DESTINATION, SIGNATURE, FDS = 1, 1, 2, 3, 6, 8, 9


def align(data, to):
    return data + bytes(-len(data) % to)


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def field(code, kind, value):
    packed = struct.pack("<B", len(value)) + value.encode() + b"\0" if kind == "g" else string(value) if kind in "so" else struct.pack("<I", value)
    return bytes([code, 1]) + kind.encode() + b"\0" + packed


class Client:
    def __init__(self, path):
        self.sock, self.data, self.fds = peer.connect(path), b"", []
        self.sock.settimeout(5)
        self.serial = 0
        uid = str(os.getuid()).encode().hex()
        for line, answer in (f"\0AUTH EXTERNAL {uid}", b"OK"), ("NEGOTIATE_UNIX_FD", b"AGREE_UNIX_FD"):
            self.sock.sendall(line.encode() + b"\r\n")
            assert self.sock.recv(1000).startswith(answer)
        self.sock.sendall(b"BEGIN\r\n")
        self.name = self.call("org.freedesktop.DBus", "Hello")[1][4:-1].decode()

    def send(self, to, member, fds=()):
        self.serial += 1
        fields = [field(PATH, "o", "/"), field(INTERFACE, "s", "org.freedesktop.DBus"), field(MEMBER, "s", member),
                  field(DESTINATION, "s", to)]
        body = b"".join(struct.pack("<I", i) for i in range(len(fds)))
        if fds:
            fields += [field(SIGNATURE, "g", "h" * len(fds)), field(FDS, "u", len(fds))]
        packed = b""
        for f in fields:
            packed = align(packed, 8) + f
        head = struct.pack("<cBBBIII", b"l", CALL, 0, 1, len(body), self.serial, len(packed)) + packed
        socket.send_fds(self.sock, [align(head, 8) + body], fds)

    def receive(self):
        """The next message: its type and body."""
        while True:
            if len(self.data) >= 16:
                _, kind, _, _, body, _, fields = struct.unpack_from("<cBBBIII", self.data)
                start = 16 + fields + -fields % 8
                if len(self.data) >= start + body:
                    got, self.data = self.data[start:start + body], self.data[start + body:]
                    return kind, got
            data, fds = peer.receive(self.sock)
            if not data:
                raise EOFError
            self.data += data
            self.fds += fds

    def call(self, to, member, fds=()):
        self.send(to, member, fds)
        while (got := self.receive())[0] not in (2, 3):
            pass
        return got


try:
    one, other = Client(sys.argv[1]), Client(sys.argv[1])
    one.send(other.name, "Take", [os.open(sys.argv[2], os.O_RDONLY)])
    while not other.fds:
        other.receive()
    say(os.read(other.fds[0], 1000).decode().rstrip())
except (AssertionError, ConnectionError, EOFError, TimeoutError):
    say("no descriptor")
