#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Clients of fdexec --args --cwd that do what fdrun does not: run_rude.py SOCKET HOW. It prints what comes until the end.

HOW: unsealed, pipe, fuse:FILE   the words lie in such a file
     few, endless, huge, vars    more words than there are; without a NUL at the end; 7 MiB; 2000 variables
     missing, none               fewer descriptors than it says; none
     file                        a file as the directory
     tty                         no terminal to control COMMAND
     early                       asks and requests at once
     twice                       requests again while COMMAND runs
     numbers, flood              signals that nobody may send, and 1000 that one may; both until COMMAND says ready, then TERM
     gifts                       descriptors beside signals
     silent                      asks, and waits
     name:VAR                    the variable VAR
COMMAND is sh -c 'echo ready; exec sleep 1000'."""
import fcntl
import os
import socket
import sys

import peer

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
sock, how = peer.connect(sys.argv[1]), sys.argv[2]
ready, output = os.pipe()
fds, fields = [output], ""


def words(count, data, seals=SEALS):
    fd = os.memfd_create("words", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, 7 << 20) if data is None else os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    fds.append(fd)
    return " args=%d" % count


def request(count=None):
    socket.send_fds(sock, [b"fdkit/1 run fds=%d id=1%s\n" % (len(fds) if count is None else count, fields.encode())], fds)


def hear():
    """Print what comes; to the end, unless WANTED comes before."""
    while data := sock.recv(4096):
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        if b"taken" in data:
            return True
    sys.exit()


def signals(*numbers, gift=()):
    for number in numbers:
        socket.send_fds(sock, [b"fdkit/1 signal id=1 n=%d\n" % number], list(gift))


COMMAND = b"sh\0-c\0echo ready; exec sleep 1000\0"
if how == "early":
    sock.sendall(b"fdkit/1 run\nfdkit/1 run id=1 fds=3\n")
    hear()
sock.sendall(b"fdkit/1 run\n")
assert sock.recv(4096).startswith(b"fdkit/1 takes")
if how == "silent":
    hear()
elif how == "file":
    fds.append(os.open("/etc/passwd", os.O_PATH))
    fields = " cwd"
elif how == "tty":
    fields = " tty"
if how in ("pipe",) or how.startswith("fuse:"):
    fds.append(os.pipe()[0] if how == "pipe" else os.open(how[5:], os.O_RDONLY))
    fields += " args=1"
elif how == "vars":
    fields += words(3, COMMAND + b"".join(b"V%d=\0" % i for i in range(2000)))
elif how.startswith("name:"):
    fields += words(3, COMMAND + how[5:].encode() + b"=\0")
else:
    fields += words({"few": 9}.get(how, 3), {"endless": COMMAND[:-1], "huge": None}.get(how, COMMAND),
                    0 if how == "unsealed" else SEALS)
if how == "none":
    fds.clear()
request({"missing": 9}.get(how))
hear()
os.read(ready, 6)
if how == "twice":
    request()
elif how.startswith("name:"):
    signals(15)
elif how == "numbers":
    signals(0, 9, 17, 19, 64, 127)
    signals(15)
elif how == "flood":
    signals(*[28] * 1000)
    signals(15)
elif how == "gifts":
    signals(28, gift=[output] * 253)
while hear():
    pass
