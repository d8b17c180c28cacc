#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A peer that does what its steps say, and prints what it hears.

speak.py [-T TYPE] listen|connect NAME STEP...

N:TEXT      send TEXT, in which Python's escapes count, in one message with N copies of standard input
bytes:TEXT  send it byte by byte, each when the last one was read
until:TEXT  hear until TEXT was heard
hear        hear to the end of the connection; prints "reset" where that is its end
peek        wait until something has come, and leave it there
shut        half-close
*N          the step before N times in all, as far as they can be sent within a second
*           the step before until no more fits
accept      close this connection, and accept the next
note:WORD   print WORD
time        print the time in milliseconds
stay        print "said" and keep the connection until a signal ends this
LINE        any other step: send the record `fdkit/1 LINE`, in which % is the last id= that was heard"""
import os
import re
import socket
import sys
import time

import peer

kind, (how, name, *steps) = peer.typed(sys.argv[1:])
door = peer.listen(name, kind) if how == "listen" else None
sock = door.accept()[0] if door else peer.connect(name, kind)
heard, number, kept = b"", b"", []


def hear():
    """One message: it is printed; false at the end."""
    global heard, number
    data, fds = socket.recv_fds(sock, 65536, 253)[:2]
    os.write(1, data)
    heard += data
    kept.extend(fds)
    for number in re.findall(rb" id=(\d+)", heard):
        pass
    return bool(data)


def bytewise(data):
    for byte in data:
        sock.sendall(bytes([byte]))
        while peer.unread(sock):
            time.sleep(0.0005)


def say(step):
    count, colon, text = step.partition(":")
    if not colon or not count.isdigit():
        sock.sendall(b"fdkit/1 " + step.encode().replace(b"%", number) + b"\n")
    elif count == "0":
        sock.sendall(peer.text(text))
    else:
        assert socket.send_fds(sock, [peer.text(text)], [0] * int(count)) == len(peer.text(text))


def again(step, times):
    sock.settimeout(1 if times else 0)
    try:
        for _ in range(int(times or sys.maxsize) - 1):
            say(step)
    except OSError:
        pass


def do(step, last):
    global sock, heard
    word, _, text = step.partition(":")
    if step.startswith("*"):
        again(last, step[1:])
    elif word == "bytes":
        bytewise(peer.text(text))
    elif word == "until":
        while peer.text(text) not in heard and hear():
            pass
        heard = heard.partition(peer.text(text))[2]
    elif word == "note":
        peer.say(text)
    elif step == "time":
        peer.say(int(time.monotonic() * 1000))
    elif step == "hear":
        try:
            while hear():
                pass
        except ConnectionResetError:
            peer.say("reset")
    elif step == "peek":
        sock.recv(1, socket.MSG_PEEK)
    elif step == "shut":
        sock.shutdown(socket.SHUT_WR)
    elif step == "accept":
        sock.close()
        sock = door.accept()[0]
    elif step == "stay":
        peer.say("said")
        peer.stay()
    else:
        say(step)


i = 0
while i < len(steps):
    try:
        do(steps[i], steps[i - 1])
    except BrokenPipeError:             # the other side has closed: what is left is to hear why
        while i + 1 < len(steps) and steps[i + 1] != "hear":
            i += 1
    i += 1
