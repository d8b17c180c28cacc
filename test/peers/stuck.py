#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Descriptors that hold up whoever closes or looks at them.

stuck.py mount DIRECTORY OPERATION...    mount a FUSE file system with one file, `file`, whose server never answers
                                         these operations (FLUSH, GETATTR, READ, POLL...); needs root
stuck.py send WHAT PATH [COUNT [BYTES]]  connect to PATH and send, in one message, COUNT (1) descriptors of WHAT:
                                           linger: a TCP socket with SO_LINGER set and unsent data
                                           pipe: the reading end of a pipe whose lock is held (a splice that waits)
                                           locked:FILE: a TCP socket whose lock is held, by receiving into memory that
                                             FILE backs, on a mount that never answers READ; the peer has reset it
                                           a path: that file, opened to read
                                         beside BYTES (one NUL; Python's escapes count), keep no copy of them,
                                         say "sent", and keep the connection
stuck.py drop WHAT PATH [COUNT [BYTES]]  the same, but close the connection at once
stuck.py reply WHAT PATH [COUNT [BYTES]] the same to whoever connects to PATH, which is read no further

mount says "ready" when it can be used. TERM ends each: what was held up goes on."""
import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time

import peer
from peer import say

OPERATIONS = {1: "LOOKUP", 3: "GETATTR", 4: "SETATTR", 14: "OPEN", 15: "READ", 16: "WRITE", 18: "RELEASE", 25: "FLUSH",
              26: "INIT", 27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR", 36: "INTERRUPT", 2: "FORGET", 39: "IOCTL",
              40: "POLL", 42: "BATCH_FORGET", 17: "STATFS"}
libc = ctypes.CDLL(None, use_errno=True)


def attributes(node):
    """struct fuse_attr: the directory is node 1, the file node 2."""
    mode, size = (0o40755, 0) if node == 1 else (0o100666, 4096)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node, body):
    """What the file system says to an operation: its bytes, or an errno's value; None for no answer."""
    if operation == "INIT":
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 12, 65536, 1, 0, 0, 0, *[0] * 7)
    if operation == "LOOKUP":
        if body != b"file\0":
            return 2
        return struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2)
    if operation in ("GETATTR", "SETATTR"):
        return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if operation in ("OPEN", "OPENDIR"):
        return struct.pack("<QII", 1, 0, 0)
    if operation == "READ":
        return b"x" * 4096
    if operation == "WRITE":
        return struct.pack("<II", struct.unpack_from("<QQI", body)[2], 0)
    if operation == "POLL":
        return struct.pack("<II", 1, 0)
    if operation in ("FLUSH", "RELEASE", "RELEASEDIR", "READDIR"):
        return b""
    if operation in ("FORGET", "BATCH_FORGET", "INTERRUPT"):
        return None
    return 38


def mount(directory, *never):
    os.makedirs(directory, exist_ok=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"stuck", directory.encode(), b"fuse", 0, data):
        sys.exit(f"{directory}: {os.strerror(ctypes.get_errno())}")
    # The end of this process ends the file system: whoever waits for an answer gets an error.
    # It comes by itself in the end, since a process that is stuck in exec(2) holds up whoever reads its /proc/PID/stat.
    signal.alarm(30)
    for sig in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM:
        signal.signal(sig, lambda *_: (libc.umount2(directory.encode(), 2), os._exit(0)))

    def serve():
        while True:
            request = os.read(fuse, 1 << 17)
            _, code, unique, node = struct.unpack_from("<IIQQ", request)
            operation = OPERATIONS.get(code, str(code))
            reply = None if operation in never else answer(operation, node, request[40:])
            if operation in never:
                say("never answered:", operation)
            if isinstance(reply, int):
                os.write(fuse, struct.pack("<IiQ", 16, -reply, unique))
            elif reply is not None:
                os.write(fuse, struct.pack("<IiQ", 16 + len(reply), 0, unique) + reply)
            if operation == "INIT":
                say("ready")

    threading.Thread(target=serve, daemon=True).start()
    while True:
        signal.pause()


def linger():
    """A TCP socket whose close waits for a reader that never reads. Its other end lives as long as this process."""
    sock, other = peer.pair("tcp")
    kept.append(other)
    peer.linger(sock, 3600)
    peer.fill(sock)
    return sock.detach()


def locked_pipe():
    """The reading end of a pipe into which somebody splices from a silent socket."""
    out, into = os.pipe()
    pair = socket.socketpair()
    kept.append(pair[1])

    def splice():
        libc.splice(pair[0].fileno(), None, into, None, 65536, 0)

    threading.Thread(target=splice, daemon=True).start()
    return out


def locked(path):
    """Kernel: tcp_recvmsg has the socket's lock while it copies, and so while a page is read in."""
    sock, other = peer.pair("tcp")
    other.sendall(b"x" * 100)
    peer.linger(other, 0)
    other.close()
    file = os.open(path, os.O_RDWR)
    kept.append(file)
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, ctypes.c_size_t(4096), 3, 2, file, ctypes.c_long(0))
    copy = os.dup(sock.fileno())
    thread = threading.Thread(target=lambda: libc.recv(copy, ctypes.c_void_p(page), ctypes.c_size_t(100), 0), daemon=True)
    thread.start()
    # Where a system call whose second argument is the page waits: recv has something to copy, so it waits for the page.
    while open(f"/proc/self/task/{thread.native_id}/syscall").read().split()[2:3] != [hex(page)]:
        time.sleep(0.01)
    return sock.detach()


kept = []


def send(what, path, count="1", data="\\0", then="keep"):
    make = {"linger": linger, "pipe": locked_pipe}.get(what, lambda: os.open(what, os.O_RDONLY))
    if what.startswith("locked:"):
        make = lambda: locked(what.partition(":")[2])
    fds = [make() for _ in range(int(count))]
    sock = peer.listen(path).accept()[0] if then == "reply" else peer.connect(path)
    socket.send_fds(sock, [peer.text(data)], fds)
    # What is closed here is in flight, or received, so that its end is somebody else's; a FUSE file's close may wait.
    for fd in fds:
        if what in ("linger", "pipe"):
            os.close(fd)
        else:
            threading.Thread(target=os.close, args=(fd,), daemon=True).start()
    if then == "drop":
        sock.close()
    say("sent")
    signal.pause()


def drop(*args):
    send(*args, *["1", "\\0"][len(args) - 2:], "drop")


def reply(*args):
    send(*args, *["1", "\\0"][len(args) - 2:], "reply")


peer.run({f.__name__: f for f in (mount, send, drop, reply)}, sys.argv[1:])
