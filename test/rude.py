#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Peers for the tests: some well-mannered, most not.

rude.py [-T TYPE] listen PATH BEHAVIOUR [ARG]   one peer that connects (any that sends, with -T dgram)
rude.py [-T TYPE] connect PATH BEHAVIOUR [ARG]
rude.py host DIRECTORY                          in it a socket for each of HOSTS, whoever connects is treated so
rude.py abuse ADDRESS [UID]                     as UID, the ABUSES that standard input names: see there
rude.py pair N M COMMAND...                     COMMAND with a socketpair at N and M
rude.py listener N PATH COMMAND...              COMMAND with a socket that listens at PATH as N
rude.py pty N M COMMAND...                      COMMAND with a raw terminal: master at N, slave at M
rude.py passes N COMMAND...                     COMMAND with a socket at N that has credentials, a label, a pidfd
                                                and a time come with every message; 253 descriptors do
rude.py nonblock N COMMAND...                   COMMAND with O_NONBLOCK set on N

What is sent is standard input. A socket that accepts connections is ready; a path
that starts with @ is abstract."""

import array
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import tempfile
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


def reply_slowly(sock, text):
    """The same, byte by byte."""
    report(sock)
    for byte in text.encode():
        sock.sendall(bytes([byte]))
        time.sleep(0.001)


def refuse_second(sock):
    """Read one message, refuse, and close on the rest."""
    receive(sock)
    sock.sendall(b"fdkit/1 refused why=enough\n")


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
    nothing, silent, close_unread, report, reply, reply_slowly, refuse_second, take_one, lazy, hello, hello_at_once, words, give, asked)}


# ---- hosts: what comes to a tool that connects; each goes on until the tool has closed ----

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


def drip(sock, data):
    """One byte at a time, for ever."""
    while True:
        for byte in data:
            sock.sendall(bytes([byte]))
            time.sleep(0.01)


def stuck_read(sock, data):
    """Read only once, answer, read no more."""
    readable(sock)
    receive(sock)
    sock.sendall(data)
    signal.pause()


def die(sock):
    readable(sock)
    os.kill(os.getpid(), signal.SIGKILL)


def once(sock, data):
    """DATA, then end of file; what comes is read to the end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        pass


HOSTS = {
    "silent": silent,
    "nothing": nothing,
    "close-unread": close_unread,
    "die": die,
    "bytes": lambda s: flood(s, b"x"),
    "lines": lambda s: flood(s, b"220 hello\r\n"),
    "endless-line": lambda s: flood(s, b"fdkit/1 set names=" + b"x" * 30000),
    "nul": lambda s: flood(s, b"fdkit/1 \0\n"),
    "drip": lambda s: drip(s, b"220 hello\r\n"),
    "drip-record": lambda s: (s.sendall(b"fdkit/1 "), drip(s, b"x")),
    "entries": lambda s: flood(s, b"fdkit/1 entry text=x\n"),
    "get": lambda s: flood(s, b"fdkit/1 get\n"),
    "hello": lambda s: flood(s, b"fdkit/1 hello\n"),
    "slots": lambda s: flood(s, b"fdkit/1 slots n=0\n"),
    "done": lambda s: flood(s, b"fdkit/1 done id=1\n"),
    "taken-by-nobody": lambda s: flood(s, b"fdkit/1 taken id=77\n"),
    "unknown": lambda s: once(s, b"fdkit/1 what\n"),
    "half": lambda s: once(s, b"fdkit/1 tak"),
    "wrong-count": lambda s: once(s, b"fdkit/1 set fds=3 id=1\n"),
    "endless-set": lambda s: flood(s, b"fdkit/1 set fds=100 more\n", 100),
    "stuck": lambda s: stuck_read(s, b"fdkit/1 slots n=1\n"),
}


def host(directory):
    listeners = {}
    for name, behaviour in HOSTS.items():
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(os.path.join(directory, name))
        sock.listen(100)
        listeners[sock] = behaviour
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    say("ready")
    while True:
        for sock in select.select(listeners, [], [])[0]:
            peer, _ = sock.accept()
            if os.fork() == 0:
                signal.alarm(60)
                try:
                    listeners[sock](peer)
                except OSError:
                    pass
                os._exit(0)
            peer.close()


# ---- abuses: what a tool that listens has to bear ----

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
            sock.connect((host, int(port)) if host else address(self.where))
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


def takes_all(crowd, most="2000"):
    """Connections until there are no more to be had."""
    for _ in range(int(most)):
        sock = crowd.connect()
        if sock is None:
            break
    def closed(sock):
        return readable(sock, 0) and not sock.recv(1, socket.MSG_PEEK)

    # Nothing tells that no more will be closed, but that none is for a second.
    open_ones, last = crowd.socks, time.monotonic()
    while time.monotonic() - last < 1:
        time.sleep(0.1)
        left = [sock for sock in open_ones if not closed(sock)]
        if len(left) != len(open_ones):
            last = time.monotonic()
        open_ones = left
    say("open: %d" % len(open_ones))


def takes_again(crowd, most):
    """The same, twice, and only ten are kept in between."""
    takes_all(crowd, most)
    for sock in crowd.socks[10:]:
        sock.close()
    del crowd.socks[10:]
    takes_all(crowd, most)


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
    """For each line NAME [ARG...]: do that and print "there"; at the next line, end it, and print "over"."""
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
    elif verb == "passes":
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        for option in (socket.SO_PASSCRED, socket.SO_PASSSEC, 76, 29):  # SO_PASSPIDFD, SO_TIMESTAMP
            try:
                theirs.setsockopt(socket.SOL_SOCKET, option, 1)
            except OSError as e:
                say(option, e)
        if os.fork() == 0:
            theirs.close()
            for _ in range(3):
                socket.send_fds(ours, [b"\0"], [0] * 253)
            ours.recv(1)                # until the other end is closed
            os._exit(0)
        ours.close()
        placed([theirs.detach()], [int(args[0])], args[1:])
    elif verb == "host":
        host(*args)
    elif verb == "abuse":
        abuse(*args)
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
