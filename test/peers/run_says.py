#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A server for fdrun that says what it is given, whatever it is asked: run_says.py SOCKET LINE... answers the first record with
the first LINE, the next with the second, and so on, each after fdkit/1; several separated by / at once. It prints each
record that it gets. A LINE - is no answer.
After the last one it closes."""
import os
import socket
import sys

listener = socket.create_server(sys.argv[1], family=socket.AF_UNIX)
connection, _ = listener.accept()
for line in sys.argv[2:]:
    data, fds, _, _ = socket.recv_fds(connection, 4096, 253)
    print(data.decode(), end="", flush=True)
    for fd in fds:
        os.close(fd)
    if line != "-":
        connection.sendall(b"".join(b"fdkit/1 %s\n" % one.strip().encode() for one in line.split("/")))
