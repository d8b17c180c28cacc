#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Both ends of what fdrelay carries: a client at its standard input, and a server at its SOCKET.

relay.py CHECK [KIND]    run fdrelay (or the command RELAY) between two sockets of KIND (stream), and say "ok" if CHECK, a
                         function below, found all as it would be without a relay
relay.py serve SOCKET    a server that does to each client what that asks for
relay.py harm SOCKET     its rude clients; they stay
relay.py honest SOCKET   an honest one, which says "ok" at its end"""
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import peer
from peer import say, until


RELAY = os.environ.get("RELAY", "fdrelay").split()


class Relay:
    """A client and a server, both connected through fdrelay."""

    def __init__(self, kind="stream", *options):
        self.client, inner = peer.pair(kind)
        outer, self.server = peer.pair("stream" if kind == "tcp" else kind)
        self.process = subprocess.Popen([*RELAY, *options, f"fd:{outer.fileno()}"], stdin=inner, pass_fds=[outer.fileno()],
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

    def opened(self):
        return sorted(os.listdir(f"/proc/{self.process.pid}/fd"))

    def asleep(self):
        """It has done all that it can do now."""
        with open(f"/proc/{self.process.pid}/wchan") as f:
            return "poll" in f.read()

    def ways(self):
        return (self.client, self.server), (self.server, self.client)


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


def ended(sock):
    """End of file, after which nobody reads either. As without a relay, what was never read may be reported first."""
    while True:
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
            break
    try:
        while True:
            sock.send(b"x")
            time.sleep(0.01)
    except (BrokenPipeError, ConnectionResetError):
        pass


# ---- what is carried ----

def exact(kind):
    """Each descriptor comes with the first byte of its message, whatever is queued before and after it."""
    for seed in range(8):
        dice, relay = random.Random(seed), Relay(kind)
        for source, sink in relay.ways():
            sent, want = b"", []
            relay.process.send_signal(signal.SIGSTOP)
            for _ in range(30):
                data = bytes([dice.randrange(256)]) * dice.choice((1, 1, 2, 10, 100, 1000))
                fds = [temporary() for _ in range(dice.choice((0, 0, 0, 1, 2)))]
                socket.send_fds(source, [data], [fd for fd, _ in fds])
                if fds:
                    want.append((len(sent), [inode for _, inode in fds]))
                sent += data
                peer.close(fd for fd, _ in fds)
            relay.process.send_signal(signal.SIGCONT)
            source.shutdown(socket.SHUT_WR)
            got, came = b"", []
            for data, inodes in drain(sink, 1):
                if inodes:
                    came.append((len(got), inodes))
                got += data
            assert got == sent
            assert came == want, (seed, came, want)
        assert relay.ends() == ""


def large(kind):
    """Descriptors with more bytes than are carried at once, after bytes, and before others."""
    for source, sink in Relay(kind).ways():
        fd, inode = temporary()
        source.send(b"a" * 1000)
        child = os.fork()
        if not child:
            socket.send_fds(source, [b"b" * 400000], [fd])
            source.sendall(b"c" * 400000)
            source.shutdown(socket.SHUT_WR)
            os._exit(0)
        got, came = b"", []
        for data, inodes in drain(sink):
            came += [(data[:1], i) for i in inodes]
            got += data
        assert got == b"a" * 1000 + b"b" * len(got.strip(b"ac")) + b"c" * 400000
        assert came in ([(b"b", inode)], [(b"a", inode)])
        os.waitpid(child, 0)


def packets(kind):
    """Packets stay packets, empty ones too, each with its descriptors, as large as the sender's socket allows."""
    relay = Relay(kind)
    for source, sink in relay.ways():
        source.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400000)
        for size, count in (5, 0), (0, 0), (0, 1), (1, 253), (200000, 2), (300000, 0), (3, 0):
            fds = [temporary() for _ in range(count)]
            socket.send_fds(source, [b"x" * size], [fd for fd, _ in fds])
            peer.close(fd for fd, _ in fds)
            data, got = peer.receive(sink, 500000)
            assert data == b"x" * size, (size, len(data))
            assert [os.fstat(fd).st_ino for fd in got] == [inode for _, inode in fds]
            peer.close(got)
    if kind == "dgram":
        relay.server.close()
        relay.client.send(b"nobody reads this")
    else:
        relay.client.send(b"last")
        relay.client.shutdown(socket.SHUT_WR)
        assert relay.server.recv(100) == b"last"
        assert relay.server.recv(100) == b""
        relay.server.send(b"an answer all the same")
        relay.server.close()
        assert relay.client.recv(100) == b"an answer all the same"
        assert relay.client.recv(100) == b""
    assert relay.ends() == ""


# ---- ends ----

def half(kind):
    """The end of one direction is passed on, and the other goes on."""
    for first in 0, 1:
        relay = Relay(kind)
        one, other = relay.ways()[first]
        one.sendall(b"question")
        one.shutdown(socket.SHUT_WR)
        assert b"".join(data for data, _ in drain(other)) == b"question"
        other.sendall(b"answer" * 10000)
        other.shutdown(socket.SHUT_WR)
        assert b"".join(data for data, _ in drain(one)) == b"answer" * 10000
        assert relay.ends() == ""


def dies(kind):
    """A side is gone: the other gets what it has sent, end of file and write errors; fdrelay ends though nothing more comes."""
    for first in 0, 1:
        for unread in False, True:
            relay = Relay(kind)
            one, other = relay.ways()[first]
            one.send(b"last words")
            if unread:
                other.send(b"never read")
                until(lambda: peer.queued(one) == 10)
            one.close()
            assert other.recv(100) == b"last words"
            ended(other)
            assert relay.ends() == ""


def dies_full(kind):
    """The same while a message waits for the side that is gone."""
    for first in 0, 1:
        relay = Relay(kind)
        one, other = relay.ways()[first]
        peer.fill(other)
        until(relay.asleep)
        one.close()
        other.settimeout(10)
        ended(other)
        assert relay.ends() == ""


# ---- what is held ----

def held(kind):
    """A slow reader slows its writer down: of its direction fdrelay has one message, and the other direction goes on."""
    relay = Relay(kind)
    until(relay.asleep)
    before = relay.opened()
    for source, sink in relay.ways():
        source.setblocking(False)
        null, sent = os.open("/dev/null", os.O_RDONLY), 0
        try:
            while True:
                socket.send_fds(source, [b"%06d" % sent], [null] * 3)
                sent += 1
        except BlockingIOError:
            pass
        until(relay.asleep)
        assert 0 < sent < 2000
        source.settimeout(10)
        until(lambda: len(relay.opened()) <= len(before) + 3)
        for _ in range(100):
            sink.send(b"other way")
            assert source.recv(100) == b"other way" if peer.readable(source, 10) else False
        for number in range(sent):
            data, fds = peer.receive(sink)
            assert data == b"%06d" % number and len(fds) == 3
            peer.close(fds)
    until(lambda: relay.opened() == before)


def stays(kind):
    """Nothing that has passed stays: the end of a pipe is seen at once."""
    relay = Relay(kind)
    until(relay.asleep)
    before = relay.opened()
    for _ in range(300):
        for source, sink in relay.ways():
            out, into = os.pipe()
            socket.send_fds(source, [b"x"], [into])
            os.close(into)
            data, fds = peer.receive(sink)
            assert data == b"x" and len(fds) == 1
            peer.close(fds)
            assert peer.readable(out, 10) and os.read(out, 1) == b""
            os.close(out)
    until(lambda: relay.opened() == before)


# ---- a side that takes no descriptors ----

def refused(kind):
    """Bytes go both ways; a descriptor ends it."""
    relay = Relay(kind)
    for source, sink in relay.ways():
        source.sendall(b"bytes")
        assert sink.recv(100) == b"bytes"
    relay.server.send(b"before")
    socket.send_fds(relay.server, [b"with"], [0])
    assert relay.client.recv(100) == b"before"
    assert relay.ends(125) == "fdrelay: standard input: cannot take descriptors: not a Unix socket\n"


def unfit(kind):
    """The bytes of a message go no further without its descriptors."""
    relay = Relay(kind)
    relay.client.send(b"before")
    socket.send_fds(relay.client, [b"with"], [0] * 253)
    assert relay.server.recv(100) == b"before"
    assert relay.ends(125) == "fdrelay: standard input: descriptors did not fit: Too many open files\n"
    ended(relay.server), ended(relay.client)


# ---- what cannot be closed, or looked at ----

def stuck(what):
    """A descriptor whose close does not return (linger: a TCP socket; else a path) passes, and is dropped where nobody reads; the
    other direction goes on, and TERM ends it."""
    relay, other = Relay("stream", "-v"), None

    def make():
        if what != "linger":
            return os.open(what, os.O_RDONLY)
        nonlocal other
        sock, other = peer.pair("tcp")
        peer.linger(sock, 3600)
        peer.fill(sock)
        return sock.detach()

    def pass_one():
        fd = make()
        socket.send_fds(relay.client, [b"x"], [fd])
        # For a path that may take for ever, for a socket that is in flight not.
        threading.Thread(target=os.close, args=(fd,), daemon=True).start()

    pass_one()
    data, kept = peer.receive(relay.server)
    assert data == b"x" and len(kept) == 1
    relay.client.send(b"more")
    assert relay.server.recv(100) == b"more"
    relay.server.shutdown(socket.SHUT_RD)
    pass_one()
    relay.server.send(b"the other way")
    assert relay.client.recv(100) == b"the other way"
    until(relay.asleep)
    relay.process.terminate()
    assert "1 descriptor: " in relay.ends(-signal.SIGTERM)
    say("ok")
    os._exit(0)


# ---- who does harm, and who does not, at both sides of many relays ----

def serve(where):
    """Clients say first how to treat them: h, send all back; f, flood them; s, read no more."""
    def one(sock):
        how, _ = peer.receive(sock, 1)
        if how == b"f":
            with contextlib.suppress(OSError):
                peer.flood(sock, b"x", 10)
        while how == b"h" and (got := peer.receive(sock)) != (b"", []):
            socket.send_fds(sock, [got[0]], got[1])
            peer.close(got[1])
        if how == b"s":
            peer.stay()

    listener = peer.listen(where)
    while True:
        threading.Thread(target=one, args=listener.accept()[:1], daemon=True).start()


def harm(where):
    """Floods of descriptors and of bytes that nobody reads, both ways; descriptors whose close waits; and who leaves with such in its queue."""
    def come(how):
        sock = peer.connect(where)
        sock.send(how)
        return sock

    kept = []
    for leaves in False, True:
        sock, (inner, outer) = come(b"s"), peer.pair("tcp")
        peer.linger(inner, 3600)
        peer.fill(inner)
        for _ in range(3):
            socket.send_fds(sock, [b"x"], [inner.fileno()])
        kept += [inner, outer] if leaves else [inner, outer, sock]
        del sock
    kept += [come(b"f"), come(b"f"), (wall := come(b"s")), (many := come(b"s"))]
    peer.fill(wall)
    many.setblocking(False)
    with contextlib.suppress(OSError):
        while True:
            socket.send_fds(many, [b"x"], [0] * 253)
    say("there")
    peer.stay()


def honest(where):
    sock = peer.connect(where)
    sock.settimeout(10)
    sock.send(b"h")
    for number in range(100):
        fd, inode = temporary()
        socket.send_fds(sock, [b"%d" % number], [fd])
        data, fds = peer.receive(sock)
        assert data == b"%d" % number and [os.fstat(fd).st_ino for fd in fds] == [inode]
        peer.close([fd, *fds])


check, kind = (sys.argv[1:] + ["stream"])[:2]
globals()[check](kind)
say("ok")
