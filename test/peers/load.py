#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""load.py HOST:PORT CLIENTS: requests without keep-alive, as many at a time as there are clients, until
TERM. A failure is a line on standard error, the first word of each good answer one on standard output."""
import os
import signal
import socket
import sys
import threading
import time

host, port = sys.argv[1].split(":")
ending = threading.Event()


def request():
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while data := s.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head[:13] or not body.strip():
        raise OSError("answered %r" % answer[:100])
    return body.split()[0]


def client():
    while not ending.is_set():
        try:
            os.write(1, request() + b"\n")
        except OSError as why:
            os.write(2, b"%s\n" % str(why).encode())
            time.sleep(0.01)                        # a refusal comes at once: not to try a million times


signal.signal(signal.SIGTERM, lambda *_: ending.set())
clients = [threading.Thread(target=client) for _ in range(int(sys.argv[2]))]
for c in clients:
    c.start()
while not ending.wait(0.1):
    pass
for c in clients:
    c.join()
