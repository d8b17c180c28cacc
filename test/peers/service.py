#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""service.py [--silent] [--until FILE] [--at-end LINE] [LINE...]: a service on the listening socket 3 that answers one line a connection, and
reports by sd_notify(3).

It says READY=1 at its start; not at all with --silent, when FILE is there with --until. TERM ends it with status 0 when
its last connection has ended. It obeys the LINEs at its start, and prints its answers:

  who                 answers with its pid
  names               answers with LISTEN_FDNAMES, less the first
  address             answers with NOTIFY_SOCKET
  store NAME TEXT     stores a file that has TEXT, under NAME
  read NAME           answers with the text of the descriptors of that name
  again NAME          stores the descriptors of that name again
  pair NAME [LINE]    stores one end of a pair of connected sockets, and keeps the other
  unpair              closes the other end
  many N              stores N files
  barrier             answers when BARRIER=1 is answered
  say TEXT            sends TEXT, with \\n for a newline
  hold FILE           from now on TERM ends it when FILE is there
  exit N              ends with status N
"""
import argparse
import array
import os
import select
import signal
import socket
import sys
import time

names = os.environ.get("LISTEN_FDNAMES", "").split(":")
fds = {}
for number, name in enumerate(names, 3):
    fds.setdefault(name, []).append(number)
ends = []
hold = None
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def notify(text, descriptors=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        manager.sendmsg([text.encode()], rights, 0, os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
    except ConnectionRefusedError:      # fdserve was killed
        pass


def store(name, text):
    fd = os.memfd_create("stored")
    os.write(fd, text.encode())
    notify("FDSTORE=1\nFDNAME=" + name, [fd])
    os.close(fd)


def barrier():
    ours, theirs = os.pipe()
    notify("BARRIER=1", [theirs])
    os.close(theirs)
    return "answered" if select.select([ours], [], [], 10)[0] else "no answer"


def obey(line):
    global hold
    word, _, rest = line.partition(" ")
    name, _, text = rest.partition(" ")
    if word == "who":
        return str(os.getpid())
    if word == "names":
        return ":".join(names[1:])
    if word == "address":
        return os.environ["NOTIFY_SOCKET"]
    if word == "store":
        store(name, text)
    elif word == "read":
        return " ".join(os.pread(fd, 1000, 0).decode() for fd in fds.get(name, []))
    elif word == "again":
        notify("FDSTORE=1\nFDNAME=" + name, fds[name])
    elif word == "pair":
        mine, theirs = socket.socketpair()
        ends.append(mine)
        notify("FDSTORE=1\nFDNAME=%s\n%s" % (name, text), [theirs.fileno()])
    elif word == "unpair":
        ends.clear()
    elif word == "many":
        for i in range(int(rest)):
            store("many", str(i))
    elif word == "barrier":
        return barrier()
    elif word == "say":
        notify(rest.replace("\\n", "\n"))
    elif word == "hold":
        hold = rest
    elif word == "exit":
        os._exit(int(rest))
    barrier()
    return "done"


def serve(connection):
    line = b""
    while not line.endswith(b"\n") and (more := connection.recv(1000)):
        line += more
    connection.sendall(obey(line.decode().strip()).encode() + b"\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--until")
    parser.add_argument("--at-end")
    parser.add_argument("lines", nargs="*")
    options = parser.parse_args()
    wake, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)
    signal.signal(signal.SIGTERM, lambda *_: None)
    for line in options.lines:
        print(obey(line), flush=True)
    listener = socket.socket(fileno=3)
    listener.setblocking(False)     # two of us wait for a connection
    while options.until and not os.path.exists(options.until):
        if select.select([wake], [], [], 0.02)[0]:
            os._exit(0)
    if not options.silent:
        notify("READY=1")
    while wake not in select.select([listener, wake], [], [])[0]:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        with connection:
            connection.setblocking(True)
            serve(connection)
    while hold and not os.path.exists(hold):
        time.sleep(0.02)
    if options.at_end:
        obey(options.at_end)


main()
