#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""rude.py ADDRESS [UID]: what a tool that listens there has to bear.

As UID, for each line NAME [ARG...] of standard input: do that one of ABUSES and print "there"; at the next line, end it and
print "over"."""
import array
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import tempfile
import time

import peer
from peer import flood, readable, say


class Crowd:
    """Connections to one address, and processes, that are ended together."""

    def __init__(self, where):
        self.where, self.socks, self.pids = where, [], []

    def connect(self):
        """Without waiting for ever: None where nobody accepts."""
        host, _, port = self.where.rpartition(":")
        sock = socket.socket(socket.AF_INET if host else socket.AF_UNIX)
        sock.settimeout(5)
        try:
            if host:
                sock.bind(("127.0.0.2", 0))
            sock.connect((host, int(port)) if host else peer.address(self.where))
        except OSError:
            sock.close()
            return None
        self.socks.append(sock)
        return sock

    def end(self):
        for sock in self.socks:
            sock.close()
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.socks, self.pids = [], []

    def child(self, work, *args):
        """A process that does WORK, and stays."""
        pid = os.fork()
        if pid:
            self.pids.append(pid)
            return
        signal.alarm(60)
        try:
            work(*args)
            signal.pause()
        finally:
            os._exit(0)


def push(sock, data, fds=(), ancillary=()):
    """Send what goes: false once the other side has closed, or for half a second takes nothing."""
    if sock is None:
        return False
    sock.settimeout(0.5)
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)), *ancillary]
    try:
        return sock.sendmsg([data], ancillary) == len(data)
    except OSError:
        return False


def odd_fds():
    """One of each kind that somebody may pass."""
    directory = tempfile.mkdtemp(dir="/tmp")
    fifo = os.path.join(directory, "fifo")
    os.mkfifo(fifo)
    yield os.open(directory, os.O_RDONLY)
    yield os.open(directory, os.O_PATH)
    yield os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield os.open("/dev/null", os.O_RDWR)
    os.unlink(fifo)
    os.rmdir(directory)
    with select.epoll() as poll:
        yield os.dup(poll.fileno())
    yield os.pidfd_open(os.getpid())
    yield os.memfd_create("rude")
    yield from os.pipe()
    libc = ctypes.CDLL(None)
    mask = ctypes.create_string_buffer(128)
    for fd in (libc.signalfd(-1, mask, 0), libc.eventfd(0, 0), libc.inotify_init(), libc.timerfd_create(0, 0)):
        assert fd != -1
        yield fd
    for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_STREAM),
                         (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM)):
        with socket.socket(family, kind) as sock:
            if kind == socket.SOCK_STREAM and family != socket.AF_INET6:
                sock.bind("" if family == socket.AF_UNIX else ("127.0.0.1", 0))
                sock.listen()
            yield os.dup(sock.fileno())


def silence(crowd):
    for _ in range(10):
        crowd.connect()


def thousand(crowd):
    for _ in range(1000):
        crowd.connect()


def slow(crowd):
    """One byte at a time, and never the last of a line."""
    for first in (b"", b"fdkit/1 "):
        sock = crowd.connect()
        push(sock, first or b"2")
        for byte in b"set fds=1 id=1 names=slow" * 4:
            push(sock, bytes([byte]))
            time.sleep(0.0005)


def closes(crowd):
    """Come and go, without a word; some leave what was said to them unread."""
    for i in range(100):
        sock = crowd.connect()
        if sock and i % 10 == 0:
            readable(sock, 0.02)
        if sock:
            crowd.socks.remove(sock)
            sock.close()


def words_only(crowd):
    """Bytes without descriptors, of several sizes, some closed behind them."""
    for i in range(100):
        sock = crowd.connect()
        push(sock, b"GET / HTTP/1.0\r\n\r\n" * (1 + 10 * i))
        if sock and i % 2:
            crowd.socks.remove(sock)
            sock.close()


def endless(crowd, start=b""):
    """A line that never ends."""
    sock = crowd.connect()
    push(sock, start + b"x")
    for _ in range(64):
        if not push(sock, b"x" * 32768):
            return


def endless_record(crowd):
    endless(crowd, b"fdkit/1 set names=")


def nuls(crowd):
    for data in (b"\0" * 100000, b"fdkit/1 \0\n", b"fdkit/1 set\0fds=1\n", b"\n" * 1000):
        push(crowd.connect(), data)


def wrong(crowd):
    """Records that are none, say what is not so, or are not the sender's to say."""
    for line in (b"set fds=5 id=1", b"set fds=0", b"set fds=254", b"set", b"set fds=-1 id=1", b"what", b"",
                 b"set fds=1 id=0", b"set fds=1 names=a,b", b"set fds=1 text=%", b"taken id=1", b"taken", b"done id=1",
                 b"slots n=99999999999", b"refused id=1 why=no", b"refused", b"entry text=x", b"fdkit/1 fdkit/1 set"):
        for fds in ((), (0, 0)):
            push(crowd.connect(), b"fdkit/1 " + line + b"\n", fds)


def unasked(crowd, lines=2000):
    """Answers that nobody asked for, thousands of them."""
    for line in (b"taken id=7", b"refused id=7 why=x", b"done id=7", b"slots n=0", b"hello", b"entry text=x"):
        sock = crowd.connect()
        for _ in range(lines // 100):
            if not push(sock, (b"fdkit/1 " + line + b"\n") * 100):
                break


def floods(crowd, lines=(b"slots n=0", b"taken id=7", b"done id=0007")):
    """Who says nothing of any use, as fast as it is read, and does not stop."""
    for line in lines:
        sock = crowd.connect()
        if sock:
            sock.settimeout(None)
            crowd.child(flood, sock, b"fdkit/1 " + line + b"\n")


def talk(crowd):
    """The same, from workers that want no work."""
    floods(crowd, (b"slots n=0", b"taken id=7"))


def full(crowd, messages="1000"):
    """So many messages of 253 descriptors."""
    sock = crowd.connect()
    for _ in range(int(messages)):
        if not push(sock, b"\0", [0] * 253):
            break


def full_records(crowd, messages="1000"):
    """The same as records, of which none is finished; reconnects when it is turned away."""
    sock = crowd.connect()
    for _ in range(int(messages)):
        if not push(sock, b"fdkit/1 set fds=1 more\n", [0] * 253):
            sock = crowd.connect()


def middle(crowd):
    """Descriptors where there should be none: in the middle of a line, behind it, before it."""
    for parts in ((b"fdkit/1 set fds=1 i", b"d=1 names=middle\n"), (b"fdkit/1 set fds=1 id=1 names=middle\n", b"\0"),
                  (b"fdkit/1 set fds=1 id=1 names=middle", b"\n"), (b"f", b"dkit/1 set fds=1\n")):
        sock = crowd.connect()
        push(sock, parts[0])
        time.sleep(0.02)
        push(sock, parts[1], [0, 0])
    push(crowd.connect(), b"fdkit/1 drop id=1 names=middle\n")


def kinds(crowd):
    """Every kind of descriptor, alone and all in one, in the plain form."""
    fds = list(odd_fds())
    for fd in fds:
        push(crowd.connect(), b"\0", [fd])
    push(crowd.connect(), b"\0", fds)
    for fd in fds:
        os.close(fd)


def named_kinds(crowd):
    """Every kind of descriptor into a store, which is to tell what they are, and to drop them."""
    fds = list(odd_fds())
    names = ",".join("odd%d" % i for i in range(len(fds))).encode()
    sock = crowd.connect()
    push(sock, b"fdkit/1 set fds=%d id=1 names=%s\n" % (len(fds), names), fds)
    push(sock, b"fdkit/1 list id=2\n")
    for fd in fds:
        os.close(fd)
    text = b""
    while b"id=3" not in text:
        if text.endswith(b"id=2\n"):
            push(sock, b"fdkit/1 drop id=3 names=%s\n" % names)
        data, got, _, _ = socket.recv_fds(sock, 65536, 253)
        assert data, text
        for fd in got:
            os.close(fd)
        text += data
    assert b"fdkit/1 taken id=3\n" in text, text
    assert text.count(b"fdkit/1 entry ") >= len(fds), text


def itself(crowd):
    """The connection over itself, each end of a pair in the other's queue, and sockets in sockets."""
    sock = crowd.connect()
    if sock:
        push(sock, b"\0", [sock.fileno()])
    outer = inner = None
    for _ in range(6):
        a, b = socket.socketpair()
        push(a, b"\0", [b.fileno()])
        push(b, b"\0", [a.fileno()])
        if inner:
            push(a, b"\0", [inner.fileno()])
        outer, inner = a, b
    push(crowd.connect(), b"\0", [outer.fileno(), inner.fileno()])


def itself_unfinished(crowd):
    """The connection in a set that it never finishes: nobody else has that end of it when this process closes."""
    for _ in range(3):
        sock = crowd.connect()
        push(sock, b"fdkit/1 set fds=1 more\n", [sock.fileno()])
        push(crowd.connect(), b"fdkit/1 set fds=1 i", [sock.fileno()])


def never_reads(crowd):
    """Asks for answers until no more fits, and reads none."""
    for line, fds in ((b"fdkit/1 get\n", ()), (b"fdkit/1 list id=1\n", ()), (b"fdkit/1 drop id=1 names=x\n", ()),
                      (b"fdkit/1 set fds=1 id=1\n", [0]), (b"fdkit/1 hello\n", ())):
        sock = crowd.connect()
        for _ in range(400):
            if not push(sock, line, fds):
                break


STEPS = ((b"fdk", ()), (b"it/1 ", ()), (b"set fds=1 id=1 ", [0]), (b"more\n", ()), (b"fdkit/1 set fds=1 id=2", [0]),
         (b" names=,\n", ()), (b"fdkit/1 get\n", ()), (b"fdkit/1 slots n=0\n", ()))
GOOD_STEPS = ((b"fdkit/1 set fds=1 id=1 ", [0]), (b"names=step\n", ()), (b"fdkit/1 drop id=2 names=step\n", ()))


def dies(crowd):
    """By SIGKILL and by closing, at every step of what can be said; with and without reading what was answered."""
    for steps in (STEPS, GOOD_STEPS):
        for last in range(len(steps) + 1):
            for how in range(3):
                sock = crowd.connect()
                if sock is None:
                    continue
                pid = os.fork()
                if pid == 0:
                    for data, fds in steps[:last]:
                        push(sock, data, fds)
                    if how == 2 and readable(sock, 0.01):
                        sock.recv(65536)
                    if how:
                        os.kill(os.getpid(), signal.SIGKILL)
                    os._exit(0)
                crowd.socks.remove(sock)
                sock.close()
                os.waitpid(pid, 0)
    sock = crowd.connect()              # and what was done in full is undone
    push(sock, b"fdkit/1 drop id=1 names=step\n")


def mixed(crowd):
    """Credentials before, behind and without descriptors, and these in two headers."""
    creds = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", os.getpid(), os.getuid(), os.getgid()))
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 0]))
    for ancillary in ((creds, rights), (rights, creds), (creds,), (rights, rights), (creds, creds, rights, rights)):
        for data in (b"\0", b"fdkit/1 set fds=2 id=1 names=a,\n"):
            push(crowd.connect(), data, (), ancillary)


def takes_all(crowd, most, due):
    """MOST connections, of which DUE should be left open; prints how many are."""
    for _ in range(int(most)):
        sock = crowd.connect()
        if sock is None:
            break
    def closed(sock):
        return readable(sock, 0) and not sock.recv(1, socket.MSG_PEEK)

    # Nothing tells that no more will be closed, but that none is for a second; for less where it is as many as should be.
    open_ones, last = crowd.socks, time.monotonic()
    while time.monotonic() - last < (0.3 if len(open_ones) == int(due) else 1):
        time.sleep(0.1)
        left = [sock for sock in open_ones if not closed(sock)]
        if len(left) != len(open_ones):
            last = time.monotonic()
        open_ones = left
    say("open: %d" % len(open_ones))


def takes_again(crowd, most, due):
    """The same, twice, and only ten are kept in between."""
    takes_all(crowd, most, due)
    for sock in crowd.socks[10:]:
        sock.close()
    del crowd.socks[10:]
    takes_all(crowd, most, due)


def gathers(crowd, most="100"):
    """A set that never ends, on several connections, until it is turned away; prints the answers."""
    for _ in range(3):
        sock = crowd.connect()
        for _ in range(int(most)):
            if not push(sock, b"fdkit/1 set fds=10 more\n", [0] * 10):
                break
        if readable(sock, 1):
            say(sock.recv(65536).decode().strip())


ABUSES = {f.__name__.replace("_", "-"): f for f in (
    silence, thousand, slow, closes, words_only, endless, endless_record, nuls, wrong, unasked, floods, talk, full,
    full_records, middle, kinds, named_kinds, itself, never_reads, dies, mixed, itself_unfinished, takes_all, takes_again,
    gathers)}


def abuse(where, uid=None):
    if uid and int(uid) != os.getuid():
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    crowd = Crowd(where)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for line in sys.stdin:
        name, *args = line.split()
        ABUSES[name](crowd, *args)
        say("there")
        sys.stdin.readline()
        crowd.end()
        say("over")


abuse(*sys.argv[1:])
