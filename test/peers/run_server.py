#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A server for fdrun that has Python warm: run_server.py SOCKET [MODULE...] imports the modules once. `fdrun SOCKET SCRIPT
[ARG...]` then runs the script in a process forked from this one, in the caller's directory, with his variables."""
import fcntl
import gc
import importlib
import os
import runpy
import signal
import socket
import sys
import termios

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def run(conn, fields, fds):
    """The script's process."""
    os.setpgid(0, 0)
    if "tty" in fields:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(next(fd for fd in fds if os.isatty(fd)), os.getpid())
    for sig in signal.SIGCHLD, signal.SIGQUIT:
        signal.signal(sig, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & may have had it ignored
    if fcntl.fcntl(fds[-1], fcntl.F_GET_SEALS) & SEALS != SEALS:
        sys.exit("words that may change")
    strings = os.pread(fds[-1], os.fstat(fds.pop()).st_size, 0).decode().split("\0")
    sys.argv = strings[:int(fields["args"])]
    os.environ.update(s.split("=", 1) for s in strings[len(sys.argv):-1])
    os.fchdir(fds.pop())
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    conn.sendall(b"fdkit/1 taken id=1\n")
    runpy.run_path(sys.argv[0], run_name="__main__")


def keep(conn, child):
    """Its parent and the leader of its session: say what becomes of it, pass signals on."""
    def changed(*_):
        pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            conn.sendall(b"fdkit/1 stopped id=1 n=%d\n" % os.WSTOPSIG(status))
        elif pid:
            how = b"signal=%d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else b"status=%d" % os.WEXITSTATUS(status)
            conn.sendall(b"fdkit/1 ended id=1 " + how + b"\n")
            os._exit(0)
    signal.signal(signal.SIGCHLD, changed)
    changed()
    for line in conn.makefile():  # fdkit/1 signal id=1 n=N
        os.killpg(child, int(line.rsplit("=", 1)[1]))
    os.killpg(child, signal.SIGHUP)
    os.killpg(child, signal.SIGCONT)
    os._exit(0)


def serve(conn):
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    conn.recv(4096)  # fdkit/1 run
    conn.sendall(b"fdkit/1 takes args cwd env=*\n")
    line, fds, _, _ = socket.recv_fds(conn, 4096, 253)
    fields = dict(f.partition("=")[::2] for f in line.decode().split())
    if "tty" in fields:
        fcntl.ioctl(next(fd for fd in fds if os.isatty(fd)), termios.TIOCSCTTY, 0)
    child = os.fork()
    if child == 0:
        status = 0
        try:
            run(conn, fields, fds)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1 if end.code else 0
        sys.stdout.flush()
        os._exit(status)  # what was imported need not be taken down
    for fd in fds:
        os.close(fd)
    keep(conn, child)


for module in sys.argv[2:]:
    importlib.import_module(module)
gc.freeze()  # its pages stay shared
listener = socket.create_server(sys.argv[1], family=socket.AF_UNIX)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        serve(connection)
    connection.close()
