#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""worker.py listen|connect SOCKET SLOTS NAME: a foreign worker, written from fdkit-protocol(7) alone.

Each connection is served by a process of its own, which sends NAME and the line that it got."""
import os
import socket
import sys
import threading


def say(channel, text):
    channel.sendall(b"fdkit/1 " + text + b"\n")


def start(channel, number, client, name):
    """The process that serves says taken. Where it cannot, the connection is somebody else's."""
    pid = os.fork()
    if pid == 0:
        try:
            say(channel, b"taken id=" + number)
            channel.close()
            client.sendall(name + b" " + client.recv(4096))
        finally:
            os._exit(0)
    client.close()

    def done():
        os.waitpid(pid, 0)
        try:
            say(channel, b"done id=" + number)
        except OSError:
            pass
    threading.Thread(target=done).start()


def work(channel, slots, name):
    text, fds = b"", []
    try:
        while True:
            data, more, _, _ = socket.recv_fds(channel, 32768, 253)
            if not data:
                break
            *lines, text = (text + data).split(b"\n")
            fds += more
            for line in lines:
                form, word, *fields = line.split(b" ")
                assert form == b"fdkit/1", line
                if word == b"hello":
                    say(channel, b"slots n=" + slots)
                elif word == b"set":
                    fields = dict(f.split(b"=", 1) for f in fields)
                    start(channel, fields[b"id"], socket.socket(fileno=fds.pop(0)), name)
    except ConnectionError:
        pass
    channel.close()


def main(how, path, slots, name):
    if how == "listen":
        listener = socket.create_server(path, family=socket.AF_UNIX)
        while True:
            work(listener.accept()[0], slots.encode(), name.encode())
    while True:
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(path)
        work(channel, slots.encode(), name.encode())


main(*sys.argv[1:])
