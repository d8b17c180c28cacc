#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A peer that behaves in one way to one other: see BEHAVIOURS below.

meet.py [-T TYPE] listen PATH BEHAVIOUR [ARG]   to the first that connects (to any that sends, with -T dgram)
meet.py [-T TYPE] connect NAME BEHAVIOUR [ARG]

What is sent is standard input. A socket that accepts connections is ready."""
import os
import socket
import sys
import time

import peer
from peer import say


def nothing(sock):
    """Close at once."""


def silent(sock):
    """Hold it open and do nothing."""
    peer.stay()


def close_unread(sock):
    """Close when there is something to read, without reading it."""
    peer.readable(sock)


def report(sock):
    """Read to end of file; for each message, print the number of descriptors and the bytes."""
    while True:
        data, fds = peer.receive(sock)
        peer.close(fds)
        if not data and not fds:
            break
        say(len(fds), data)


def reply(sock, text="reply\n"):
    """Read to end of file, then answer."""
    report(sock)
    sock.sendall(text.encode())


def reply_slowly(sock, text):
    """The same, byte by byte."""
    report(sock)
    for byte in text.encode():
        sock.sendall(bytes([byte]))
        time.sleep(0.001)


def refuse_second(sock):
    """Read one message, refuse, and close on the rest."""
    peer.receive(sock)
    sock.sendall(b"fdkit/1 refused why=enough\n")


def take_one(sock):
    """Read one message and close on the rest."""
    data, fds = peer.receive(sock)
    say(len(fds), data)
    peer.readable(sock)


def lazy(sock):
    """Read nothing until no more fits the queue, then report."""
    last = 0

    def full():
        nonlocal last
        now = peer.queued(sock)
        if now == last and now > 0:
            return True
        last = now
        time.sleep(0.2)
        return False
    peer.until(full)
    say("full")
    report(sock)


def hello(sock, text=""):
    """A greeting first, which the peer reads, and then a descriptor."""
    sock.sendall(text.encode() or b"220 hello\r\n")
    peer.until(lambda: peer.unread(sock) == 0)
    give(sock)


def hello_at_once(sock):
    """A greeting and a descriptor which the peer can read in one go."""
    sock.sendall(b"220 hello\r\n")
    give(sock)


def words(sock):
    """Bytes, and no descriptor."""
    sock.sendall(b"220 hello\r\n")


def give(sock, count="1", messages="1"):
    """Send standard input, COUNT times in each of so many messages; print what comes back."""
    for _ in range(int(messages)):
        socket.send_fds(sock, [b"\0"], [0] * int(count))
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        say(data)


def asked(sock):
    """Print what comes within a moment, and whether that was the end; then give."""
    if peer.readable(sock, 0.2):
        say(sock.recv(65536) or "end of file")
    else:
        say("asked nothing")
    give(sock)


def tell(sock):
    """Print the own port and pid, and then what comes."""
    if sock.family != socket.AF_UNIX:
        say("OWN_PORT=%d" % sock.getsockname()[1])
    say("OWN_PID=%d" % os.getpid())
    sock.settimeout(10)
    while data := sock.recv(65536):
        os.write(1, data)


def plain(sock):
    """A worker that knows the plain form alone: sends back what a connection says, after the word plain."""
    while (got := peer.receive(sock)) != (b"", []):
        assert got[0] == b"\0" and len(got[1]) == 1, got
        with socket.socket(fileno=got[1][0]) as client:
            client.sendall(b"plain " + client.recv(4096))


def serve(sock):
    """Take one message, print it as report does, and answer one client of each listening socket in it with its place."""
    data, fds = peer.receive(sock)
    say(len(fds), data)
    sock.close()
    for i, fd in enumerate(fds):
        with socket.socket(fileno=fd).accept()[0] as client:
            client.sendall(b"%d\n" % i)


BEHAVIOURS = {f.__name__.replace("_", "-"): f for f in (
    nothing, silent, close_unread, report, reply, reply_slowly, refuse_second, take_one, lazy, hello, hello_at_once, words,
    give, asked, tell, plain, serve)}


def full(sock, path):
    """Fill the backlog, accept nobody."""
    sock.listen(0)
    clients = []
    while True:
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].setblocking(False)
        try:
            clients[-1].connect(peer.address(path))
        except BlockingIOError:
            say("full")
            peer.stay()


def listen(kind, path, behaviour, *args):
    sock = peer.bind(path, kind)
    if behaviour == "stale":            # leave the file behind
        return
    if behaviour == "full":
        full(sock, path)
    if behaviour == "bound":            # bind, but listen only when the file "go" appears
        peer.until(lambda: os.path.exists("go"))
        behaviour = "report"
    if kind != "dgram":
        sock.listen()
        sock = sock.accept()[0]
    BEHAVIOURS[behaviour](sock, *args)


def connect(kind, name, behaviour, *args):
    BEHAVIOURS[behaviour](peer.connect(name, kind), *args)


kind, (how, *args) = peer.typed(sys.argv[1:])
peer.run({"listen": listen, "connect": connect}, [how, kind, *args])
