#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Servers and rivals on a TCP port.

ports.py serve HOST PORT [OPTION...]: listen there, and answer each client with a line. Options: noreuse (do not set
    SO_REUSEADDR), dual (an IPv6 socket takes IPv4 as well), late (say "bound", and listen at end of input).
ports.py grab PORT TIMES: ask for port 0 so often, in every way that there is; print how often PORT came.
ports.py take HOST PORT [reuse]: bind to it; status 1 if that fails.
ports.py visit HOST PORT: connect to it, and leave TIME_WAIT at the server's side.
"""
import socket
import sys


def bound(host, port, reuse=True, dual=False):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if ":" in host:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port)))
    return s


def serve(host, port, *options):
    s = bound(host, port, "noreuse" not in options, "dual" in options)
    if "late" in options:
        print("bound", flush=True)
        sys.stdin.read()
    s.listen()
    while True:
        client, _ = s.accept()
        client.sendall(b"served\n")
        client.close()


def grab(port, times):
    got = 0
    for i in range(int(times)):
        with socket.socket(socket.AF_INET6 if i & 8 else socket.AF_INET) as s:
            if i & 1:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if i & 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if i & 8:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::" if i & 8 else "0.0.0.0" if i & 4 else "127.0.0.1", 0))
            got += s.getsockname()[1] == int(port)
    print(got)


def take(host, port, *options):
    try:
        bound(host, port, "reuse" in options)
    except OSError as e:
        sys.exit(e.strerror)


def visit(host, port):
    s = socket.create_connection((host, int(port)))
    while s.recv(100):
        pass
    s.close()


globals()[sys.argv[1]](*sys.argv[2:])
