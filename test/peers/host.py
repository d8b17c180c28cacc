#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""host.py DIRECTORY: in it a socket for each of HOSTS; whoever connects is treated so until it has closed. Says "ready"."""
import os
import select
import signal
import socket
import sys
import time

import peer
from peer import flood


def drip(sock, data):
    """One byte at a time, for ever."""
    while True:
        for byte in data:
            sock.sendall(bytes([byte]))
            time.sleep(0.01)


def stuck_read(sock, data):
    """Read only once, answer, read no more."""
    peer.close(peer.receive(sock)[1])
    sock.sendall(data)
    peer.stay()


def close_unread(sock):
    peer.readable(sock)


def die(sock):
    peer.readable(sock)
    os.kill(os.getpid(), signal.SIGKILL)


def once(sock, data):
    """DATA, then end of file; what comes is read to the end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    while data := sock.recv(65536):
        pass


HOSTS = {
    "silent": lambda s: peer.stay(),
    "nothing": lambda s: None,
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
        sock = peer.listen(os.path.join(directory, name))
        listeners[sock] = behaviour
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    peer.say("ready")
    while True:
        for sock in select.select(listeners, [], [])[0]:
            one, _ = sock.accept()
            if os.fork() == 0:
                signal.alarm(60)
                try:
                    listeners[sock](one)
                except OSError:
                    pass
                os._exit(0)
            one.close()


host(*sys.argv[1:])
