#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Workers that do not keep to fdkit-protocol(7), for fdserve -l.

workers.py promise PATH COUNT     COUNT channels, each of which says again and again that it takes 2147483647 sets, and
                                  takes none; where one is closed, another comes
workers.py say PATH LINE...       one channel: says each LINE, where % stands for the last set's id; `set` waits for a
                                  set, `close` for the channel's end. What comes is printed, at last "said"
workers.py linger PATH            takes one connection, which it gives SO_LINGER and fills, says taken, has no copy of it

Each says what it has done, and keeps what it has until TERM."""
import re
import select
import signal
import socket
import struct
import sys


def say(*words):
    print(*words, flush=True)


def channel(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def heard(sock):
    """One read: text and descriptors, or None at the end."""
    try:
        data, fds, _, _ = socket.recv_fds(sock, 32768, 253)
    except ConnectionError:
        return None
    for line in data.decode().splitlines():
        say(line)
    return (data.decode(), fds) if data else None


def promise(path, count):
    channels = []
    while True:
        while len(channels) < int(count):
            sock = channel(path)
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


def talk(path, *lines):
    sock, number, kept = channel(path), "", []
    for line in lines:
        if line == "close":
            while heard(sock):
                pass
            break
        if line == "set":
            while got := heard(sock):
                kept += got[1]
                if found := re.search(r" id=(\d+)", got[0]):
                    number = found[1]
                    break
            continue
        sock.sendall(b"fdkit/1 " + line.replace("%", number).encode() + b"\n")
    say("said")
    signal.pause()


def linger(path):
    sock = channel(path)
    sock.sendall(b"fdkit/1 slots n=1\n")
    while True:
        text, fds = heard(sock)
        if fds:
            break
    client = socket.socket(fileno=fds[0])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    client.setblocking(False)
    try:
        while True:
            client.send(b"x" * 65536)
    except BlockingIOError:
        client.close()
    sock.sendall(b"fdkit/1 taken " + re.search(r"id=\d+", text)[0].encode() + b"\n")
    say("taken")
    signal.pause()


if __name__ == "__main__":
    {"promise": promise, "say": talk, "linger": linger}[sys.argv[1]](*sys.argv[2:])
