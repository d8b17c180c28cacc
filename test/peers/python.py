#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What Python itself has for passing descriptors: send_fds and recv_fds, and multiprocessing.reduction.

python.py give send_fds|sendfds PATH TEXT FILE...  connect, and send the FILEs (sendfds sends no TEXT)
python.py take recv_fds|recvfds PATH COUNT         listen, and print the text (recv_fds) and what is in so many files"""
import os
import socket
import sys
from multiprocessing import reduction

verb, how, path, *args = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as sock:
    if verb == "give":
        sock.connect(path)
        fds = [os.open(name, os.O_RDONLY) for name in args[1:]]
        if how == "send_fds":
            socket.send_fds(sock, [args[0].encode()], fds)
        else:
            reduction.sendfds(sock, fds)
    else:
        sock.bind(path)
        sock.listen()
        peer, _ = sock.accept()
        if how == "recv_fds":
            data, fds, _, _ = socket.recv_fds(peer, 100, int(args[0]))
            print(data)
        else:
            fds = reduction.recvfds(peer, int(args[0]))
        print([os.read(fd, 100) for fd in fds])
