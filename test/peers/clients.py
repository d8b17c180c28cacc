#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""clients.py PORT TOTAL AT_ONCE [SOURCE]: so many connections; each sends its number in a line and prints what comes until end
of file, in one line; what is reset counts as ended."""
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

port, total, at_once = map(int, sys.argv[1:4])
source = (sys.argv[4], 0) if sys.argv[4:] else None


def client(number):
    sock = socket.create_connection(("127.0.0.1", port), 20, source)
    reply = b""
    try:
        sock.sendall(b"%d\n" % number)
        while data := sock.recv(4096):
            reply += data
    except ConnectionError:
        pass
    return reply.decode().strip()


with ThreadPoolExecutor(at_once) as pool:
    print(*pool.map(client, range(total)), sep="\n")
