# SPDX-License-Identifier: ISC
"""What the peers share: sockets by name, one message with its descriptors, and becoming a COMMAND.

A name is a path, @NAME (abstract), HOST:PORT (TCP), or fd:N (an inherited socket)."""
import array
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import time

TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}


def say(*words):
    print(*words, flush=True)


def until(condition):
    while not condition():
        time.sleep(0.01)


def typed(args):
    """The socket type of [-T TYPE] ARG..., and the ARGs."""
    return (args[1], args[2:]) if args[0] == "-T" else ("stream", args)


# ---- sockets ----

def address(path):
    return "\0" + path[1:] if path.startswith("@") else path


def connect(name, kind="stream"):
    host, _, port = name.rpartition(":")
    if host == "fd":
        return socket.socket(fileno=int(port))
    if host and port.isdigit():
        return socket.create_connection((host.strip("[]"), int(port)))
    sock = socket.socket(socket.AF_UNIX, TYPES[kind])
    sock.connect(address(name))
    return sock


def bind(path, kind="stream"):
    sock = socket.socket(socket.AF_UNIX, TYPES[kind])
    sock.bind(address(path))
    return sock


def listen(path, kind="stream"):
    """At a path; for the kind tcp at a free port of a host."""
    if kind == "tcp":
        return socket.create_server((path, 0), family=socket.AF_INET6 if ":" in path else socket.AF_INET)
    sock = bind(path, kind)
    sock.listen()
    return sock


def pair(kind="stream"):
    if kind != "tcp":
        return socket.socketpair(socket.AF_UNIX, TYPES[kind])
    with listen("127.0.0.1", "tcp") as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]


def linger(sock, seconds):
    """How long close(2) waits for what was not sent yet: 0 resets the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))


def fill(sock):
    """Send until no more fits."""
    sock.setblocking(False)
    try:
        while True:
            sock.send(b"x" * 65536)
    except BlockingIOError:
        pass


def readable(sock, timeout=None):
    return bool(select.select([sock], [], [], timeout)[0])


def _asked(sock, request):
    n = array.array("i", [0])
    fcntl.ioctl(sock, request, n)
    return n[0]


def queued(sock):
    """Bytes that have come and were not read."""
    return _asked(sock, termios.FIONREAD)


def unread(sock):
    """Bytes that we sent and the other side has not read."""
    return _asked(sock, termios.TIOCOUTQ)


# ---- messages ----

def text(words):
    """The bytes that Python's escapes in WORDS stand for."""
    return words.encode().decode("unicode_escape").encode("latin-1")


def receive(sock, size=65536):
    """One message: its bytes and its descriptors; nothing at the end of the connection."""
    try:
        data, fds, flags, _ = socket.recv_fds(sock, size, 253)
    except ConnectionResetError:
        return b"", []
    assert not flags & socket.MSG_CTRUNC
    return data, fds


def flood(sock, data, fds=0):
    """DATA over and over, as fast as it is read, and the queue always full."""
    if not fds:
        data *= 1 + 200000 // len(data)
    while True:
        try:
            socket.send_fds(sock, [data], [0] * fds)
        except OSError as e:
            if e.errno != errno.ETOOMANYREFS:
                raise
            time.sleep(0.01)


def close(fds):
    for fd in fds:
        os.close(fd)


# ---- processes ----

def become(command, fds=None):
    """COMMAND, with FDS (a number for each descriptor) and what is inherited."""
    aside = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for number, fd in (fds or {}).items()}
    close((fds or {}).values())
    for number, fd in aside.items():
        os.dup2(fd, number)
    os.execvp(command[0], command)


def stay():
    """Until a signal ends this."""
    signal.pause()


def run(verbs, args):
    """The function of that name, with the other arguments."""
    if args[0] not in verbs:
        sys.exit("no " + args[0])
    verbs[args[0]](*args[1:])
