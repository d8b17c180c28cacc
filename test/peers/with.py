#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A COMMAND with something at its descriptors.

with.py [-T TYPE] pair N M COMMAND...         a socketpair (-T tcp: a TCP connection) at N and M
with.py [-T TYPE] listener N WHERE COMMAND... a socket that listens at WHERE, a path (-T tcp: a host), at N
with.py accepted N WHERE COMMAND...           the accepted end of a connection to such a host or path at N, while the other
                                              end is open; first prints the variables that inetd's children expect
with.py queued N COUNT COMMAND...             a socket at N in whose queue are COUNT messages, each with standard input,
                                              and the end of the connection
with.py passes N COMMAND...                   a socket at N that has credentials, a label, a pidfd and a time come with
                                              every message; three of 253 descriptors do
with.py memfds FIRST COUNT COMMAND...         memory files called n0, n1... from FIRST on
with.py named FIRST COUNT COMMAND...          the same; arguments are added that name them: n0=FIRST...
with.py pty N M COMMAND...                    a raw terminal: the master at N, the slave at M
with.py nonblock N COMMAND...                 O_NONBLOCK set on N"""
import os
import resource
import socket
import sys
import tty

import peer


def pair(kind, n, m, *command):
    peer.become(command, {int(n): (ends := peer.pair(kind))[0].detach(), int(m): ends[1].detach()})


def listener(kind, n, where, *command):
    peer.become(command, {int(n): peer.listen(where, kind).detach()})


def accepted(_, n, where, *command):
    tcp = "." in where or ":" in where
    door = peer.listen(where, "tcp" if tcp else "stream")
    ready, over = os.pipe()
    if (client := os.fork()) == 0:
        os.close(over)
        sock = socket.socket(door.family)
        sock.connect(door.getsockname())
        os.read(ready, 1)               # COMMAND has ended
        os._exit(0)
    os.set_inheritable(over, True)
    sock, other = door.accept()
    if tcp:
        host, port = other[:2]
        peer.say(f"PROTO=TCP\nTCPREMOTEIP={host}\nTCPREMOTEPORT={port}\nTCPLOCALIP={host}\n"
                 f"TCPLOCALPORT={door.getsockname()[1]}\nREMOTE_ADDR={host}\nREMOTE_PORT={port}")
    else:
        peer.say(f"PROTO=UNIX\nUNIXREMOTEPID={client}\nUNIXREMOTEEUID={os.getuid()}\nUNIXREMOTEEGID={os.getgid()}\n"
                 f"UNIXLOCALPATH={where}")
    peer.become(command, {int(n): sock.detach()})


def queued(_, n, count, *command):
    ours, theirs = peer.pair()
    for _ in range(int(count)):
        socket.send_fds(ours, [b"\0"], [0])
    peer.become(command, {int(n): theirs.detach()})


def passes(_, n, *command):
    ours, theirs = peer.pair()
    for option in (socket.SO_PASSCRED, socket.SO_PASSSEC, 76, 29):  # SO_PASSPIDFD, SO_TIMESTAMP
        try:
            theirs.setsockopt(socket.SOL_SOCKET, option, 1)
        except OSError as e:
            peer.say(option, e)
    if os.fork() == 0:
        theirs.close()
        for _ in range(3):
            socket.send_fds(ours, [b"\0"], [0] * 253)
        ours.recv(1)                    # until the other end is closed
        os._exit(0)
    ours.close()
    peer.become(command, {int(n): theirs.detach()})


def memfds(_, first, count, *command):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for i in range(int(count)):
        fd = os.memfd_create("n%d" % i)
        if fd != int(first) + i:
            os.dup2(fd, int(first) + i)
            os.close(fd)
        os.set_inheritable(int(first) + i, True)
    peer.become(command)


def named(_, first, count, *command):
    memfds(_, first, count, *command, *("n%d=%d" % (i, int(first) + i) for i in range(int(count))))


def pty(_, n, m, *command):
    master, slave = os.openpty()
    tty.setraw(slave)
    peer.become(command, {int(n): master, int(m): slave})


def nonblock(_, n, *command):
    os.set_blocking(int(n), False)
    peer.become(command)


kind, (verb, *args) = peer.typed(sys.argv[1:])
peer.run({f.__name__: f for f in (pair, listener, accepted, queued, passes, memfds, named, pty, nonblock)}, [verb, kind, *args])
