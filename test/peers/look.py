#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""COMMANDs that use what they have got.

look.py order COUNT    descriptors from 3 on are with.py's memory files, in order; prints "in order COUNT LISTEN_FDS"
look.py names [COUNT]  each descriptor is the memory file that its name says; COUNT: these are n0 to nCOUNT
look.py serve [TEXT]   answer one client of each listening socket with the socket's number, or all clients of the first with TEXT
look.py echo           answer one datagram that comes to 3 with "got " before it"""
import os
import socket
import sys

import peer


def link(fd):
    return os.readlink("/proc/self/fd/%d" % fd)


def order(count):
    fds = list(map(int, os.environ["FDKIT_FDS"].split()))
    assert fds == list(range(3, 3 + int(count))), fds
    for i, fd in enumerate(fds):
        assert link(fd) == "/memfd:n%d (deleted)" % i, (fd, link(fd))
    print("in order", count, os.environ.get("LISTEN_FDS"))


def names(count=None):
    called = os.environ["LISTEN_FDNAMES"].split(":")
    assert count is None or sorted(called) == sorted("n%d" % i for i in range(int(count))), len(called)
    for i, name in enumerate(called):
        assert link(3 + i) == "/memfd:%s (deleted)" % name, (name, link(3 + i))


def serve(text=None):
    for fd in range(3, 3 + int(os.environ["LISTEN_FDS"])):
        sock = socket.socket(fileno=fd)
        sock.setblocking(True)
        while True:
            with sock.accept()[0] as client:
                client.sendall(b"%s\n" % (text or str(fd)).encode())
            if text is None:
                break


def echo():
    sock = socket.socket(fileno=3)
    data, client = sock.recvfrom(100)
    sock.sendto(b"got " + data, client)


peer.run({"order": order, "names": names, "serve": serve, "echo": echo}, sys.argv[1:])
