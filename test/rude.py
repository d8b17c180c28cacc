#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Peers for the tests: some well-mannered, most not.

rude.py [-T TYPE] listen PATH BEHAVIOUR [ARG]   one peer that connects (any that sends, with -T dgram)
rude.py [-T TYPE] connect PATH BEHAVIOUR [ARG]
rude.py pair N M COMMAND...                     COMMAND with a socketpair at N and M
rude.py listener N PATH COMMAND...              COMMAND with a socket that listens at PATH as N
rude.py pty N M COMMAND...                      COMMAND with a raw terminal: master at N, slave at M
rude.py nonblock N COMMAND...                   COMMAND with O_NONBLOCK set on N

What is sent is standard input. A socket that accepts connections is ready; a path
that starts with @ is abstract."""

import array
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import time
import tty

TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}


def say(*words):
    print(*words, flush=True)


def readable(sock, timeout=None):
    return bool(select.select([sock], [], [], timeout)[0])


def queued(sock):
    n = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, n)
    return n[0]


def unread(sock):
    """Bytes that we sent and the other side has not read (SIOCOUTQ)."""
    n = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, n)
    return n[0]


def until(condition):
    while not condition():
        time.sleep(0.01)


def receive(sock):
    """One message: its bytes, and the number of descriptors, which are closed."""
    data, fds, flags, _ = socket.recv_fds(sock, 65536, 253)
    assert not flags & socket.MSG_CTRUNC
    for fd in fds:
        os.close(fd)
    return data, len(fds)


# ---- behaviours: what to do with a connected socket ----

def nothing(sock):
    """Close at once."""


def silent(sock):
    """Hold it open and do nothing."""
    signal.pause()


def close_unread(sock):
    """Close when there is something to read, without reading it."""
    readable(sock)


def report(sock):
    """Read to end of file; for each message, print the number of descriptors and the bytes."""
    while True:
        data, count = receive(sock)
        if not data and not count:
            break
        say(count, data)


def reply(sock, text="reply\n"):
    """Read to end of file, then answer."""
    report(sock)
    sock.sendall(text.encode())


def take_one(sock):
    """Read one message and close on the rest."""
    say(*reversed(receive(sock)))
    readable(sock)


def lazy(sock):
    """Read nothing until no more fits the queue, then report."""
    last = 0

    def stuck():
        nonlocal last
        now = queued(sock)
        if now == last and now > 0:
            return True
        last = now
        time.sleep(0.2)
        return False
    until(stuck)
    say("stuck")
    report(sock)


def hello(sock, text=""):
    """A greeting first, which the peer reads, and then a descriptor."""
    sock.sendall(text.encode() or b"220 hello\r\n")
    until(lambda: unread(sock) == 0)
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
    if readable(sock, 0.2):
        say(sock.recv(65536) or "end of file")
    else:
        say("asked nothing")
    give(sock)


# ---- sockets ----

def address(path):
    return "\0" + path[1:] if path.startswith("@") else path


def listen(kind, path, behaviour, *args):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(address(path))
    if behaviour == "stale":            # leave the file behind
        return
    if behaviour == "bound":            # bind, but listen only when the file "go" appears
        until(lambda: os.path.exists("go"))
        behaviour = "report"
    if kind == socket.SOCK_DGRAM:
        BEHAVIOURS[behaviour](sock, *args)
        return
    if behaviour == "full":             # fill the backlog, accept nobody
        sock.listen(0)
        clients = []
        while True:
            client = socket.socket(socket.AF_UNIX, kind)
            client.setblocking(False)
            try:
                client.connect(address(path))
            except BlockingIOError:
                say("full")
                silent(sock)
            clients.append(client)
    sock.listen()
    peer, _ = sock.accept()
    BEHAVIOURS[behaviour](peer, *args)


def connect(kind, path, behaviour, *args):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.connect(address(path))
    BEHAVIOURS[behaviour](sock, *args)


BEHAVIOURS = {f.__name__.replace("_", "-"): f for f in (
    nothing, silent, close_unread, report, reply, take_one, lazy, hello, hello_at_once, words, give, asked)}


# ---- commands with something at a descriptor ----

def placed(fds, numbers, command):
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, number in zip(aside, numbers):
        os.dup2(fd, number)
    os.execvp(command[0], command)


def main(args):
    kind = socket.SOCK_STREAM
    if args[0] == "-T":
        kind = TYPES[args[1]]
        args = args[2:]
    verb, *args = args
    if verb == "pair":
        ends = [s.detach() for s in socket.socketpair(socket.AF_UNIX, kind)]
        placed(ends, map(int, args[:2]), args[2:])
    elif verb == "listener":
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(address(args[1]))
        sock.listen()
        placed([sock.detach()], [int(args[0])], args[2:])
    elif verb == "pty":
        master, slave = os.openpty()
        tty.setraw(slave)
        placed((master, slave), map(int, args[:2]), args[2:])
    elif verb == "nonblock":
        os.set_blocking(int(args[0]), False)
        os.execvp(args[1], args[1:])
    elif verb == "listen":
        listen(kind, *args)
    elif verb == "connect":
        connect(kind, *args)
    else:
        sys.exit("rude.py: what is " + verb)


main(sys.argv[1:])
