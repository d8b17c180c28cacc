#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""kept.py STORE NAME...: put sockets into a store under these names, and let go of them; say "all ended", and stay.

netlink fresh bound unix dgram  neither connected nor listening
control                         listens at an abstract name with control characters
KIND-END                        one end of a connection, of KIND tcp or unix, whose other end then does END: reset (TCP), close,
                                unread (bytes first, then close), half (half-close), error (an error in the store's queue,
                                and the connection lives), keep; half and keep print what comes"""
import select
import socket
import subprocess
import sys

import peer


def put(name, sock):
    subprocess.run(["fdsend", sys.argv[1], "%s=%d" % (name, sock.fileno())], pass_fds=[sock.fileno()], check=True)


def single(name):
    sock = {"netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0), "fresh": socket.socket,
            "bound": socket.socket, "dgram": lambda: peer.pair("dgram")[0]}.get(name, lambda: socket.socket(socket.AF_UNIX))()
    if name == "bound":
        sock.bind(("127.0.0.1", 0))
    if name == "control":
        sock.bind("\0fdkit\u009b31m\x1b\n")
        sock.listen()
    return sock


def error(sock):
    """A time in the error queue, as SO_TIMESTAMPING has it."""
    sock.setsockopt(socket.SOL_SOCKET, 37, 2 | 16)
    sock.sendall(b"x")
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(5000)[0][1] == select.POLLERR


ends, kept = [], []
for name in sys.argv[2:]:
    kind, dash, end = name.partition("-")
    if not dash:
        put(name, single(name))
        continue
    ours, theirs = peer.pair("tcp" if kind == "tcp" else "stream")
    put(name, theirs)
    ends.append((end, ours))
    if end == "error":
        kept.append(theirs)
    else:
        theirs.close()
for end, sock in ends:
    if end == "error":
        error(kept[0])
    if end == "reset":
        peer.linger(sock, 0)
    if end == "unread":
        sock.sendall(b"unread\n")
    if end == "half":
        sock.shutdown(socket.SHUT_WR)
    elif end not in ("keep", "error"):
        sock.close()
peer.say("all ended")
for end, sock in ends:
    if end in ("half", "keep"):
        while data := sock.recv(100):
            print(end, data.decode(), end="", flush=True)
peer.stay()
