#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Peers that come in, by crowds, and callers whose listening socket a tool inherits at 3.

door.py shut unix|tcp TOOL [ARG...]   run TOOL with a listening socket at 3, shut that down, and end with TOOL's status
door.py alarm TOOL [ARG...]           become TOOL with an alarm of 2 seconds, with a blocking listener at 3, from which others
                                      take connections; the alarm must end it
door.py blocked TOOL [ARG...]         the same with SIGALRM blocked instead; TERM must end TOOL: ends with its status
door.py shared TRACER...              run TRACER, which slows down the poll of a tool that has a listening socket at 7; between
                                      that poll and its accept, accept the connection here; ends with TRACER's status
door.py fill PATH MOST                connect until no more fits the backlog, MOST times at most; prints how many did
door.py flood PATH                    connect to PATH and close, without end, in four processes; says "flooding"
door.py idle PATH COUNT BYTES         connect COUNT times, send BYTES of a line that does not end, say "connected", stay
door.py trickle PATH                  begin a set, and send a byte each 200 ms until the connection is closed; that must take
                                      from 9 to 14 seconds"""
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import peer
from peer import connect, say


def listener(kind):
    sock = peer.listen("127.0.0.1", "tcp") if kind == "tcp" else peer.listen("@door.py %d" % os.getpid())
    os.dup2(sock.fileno(), 3)
    return socket.socket(fileno=3) if sock.fileno() != 3 else sock


def shut(kind, *tool):
    sock = listener(kind)
    os.set_inheritable(3, True)
    child = subprocess.Popen(tool, pass_fds=[3])
    # It waits for somebody to come.
    while open(f"/proc/{child.pid}/wchan").read().find("poll") == -1 and child.poll() is None:
        time.sleep(0.01)
    sock.shutdown(socket.SHUT_RDWR)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    sys.exit(child.wait())


def rivals(sock):
    """Come, and take what comes: so accept(2) finds nobody, after poll(2) found somebody."""
    name = "@" + sock.getsockname()[1:].decode()
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        signal.alarm(10)
        while os.getppid() != 1:
            try:
                one = connect(name)
                sock.accept()[0].close()
                one.close()
            except OSError:
                pass
        os._exit(0)


def alarm(*tool):
    sock = listener("unix")
    rivals(sock)
    os.set_inheritable(3, True)
    signal.setitimer(signal.ITIMER_REAL, 2)
    os.execvp(tool[0], tool)


def blocked(*tool):
    sock = listener("unix")
    os.set_inheritable(3, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    child = subprocess.Popen(tool, pass_fds=[3])
    rivals(sock)
    time.sleep(2)
    child.terminate()
    sys.exit(child.wait(10))


def shared(*tracer_and_tool):
    sock = peer.listen("s")
    os.dup2(sock.fileno(), 7)
    tracer = os.fork()
    if tracer == 0:
        os.execvp(tracer_and_tool[0], tracer_and_tool)

    def tool(what):
        pid = open(f"/proc/{tracer}/task/{tracer}/children").read().strip()
        try:
            return pid and open(f"/proc/{pid}/{what}").read()
        except OSError:                 # a child that strace tries things out with
            return ""
    peer.until(lambda: "poll" in tool("wchan"))
    one = connect("s")
    while ") t " not in tool("stat"):
        pass
    sock.accept()
    for _ in range(500):
        done, status = os.waitpid(tracer, os.WNOHANG)
        if done:
            one.close()
            sys.exit(os.waitstatus_to_exitcode(status))
        time.sleep(0.01)
    os.kill(int(open(f"/proc/{tracer}/task/{tracer}/children").read()), 9)
    sys.exit("it waits in accept")


def fill(path, most):
    socks = []
    try:
        while len(socks) < int(most):
            sock = socket.socket(socket.AF_UNIX)
            sock.setblocking(False)
            sock.connect(path)
            socks.append(sock)
    except BlockingIOError:
        pass
    say(len(socks))


def flood(path):
    for _ in range(3):
        if os.fork() == 0:
            break
    else:
        say("flooding")
    parent = os.getppid()
    signal.alarm(30)
    while os.getppid() == parent:
        try:
            connect(path).close()
        except OSError:
            time.sleep(0.001)


def idle(path, count, size):
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    socks = []
    for _ in range(int(count)):
        socks.append(connect(path))
        try:
            socks[-1].send(b"fdkit/1 set " + b"x" * int(size))
        except OSError:
            pass
    say("connected")
    signal.pause()


def trickle(path):
    sock = connect(path)
    began = time.monotonic()
    socket.send_fds(sock, [b"fdkit/1 set fds=1 more\nfdkit/1 set "], [0])
    try:
        while time.monotonic() - began < 20:
            time.sleep(0.2)
            sock.send(b"x")
    except OSError:
        pass
    took = time.monotonic() - began
    say(took)
    sys.exit(not 9 < took < 14)


peer.run({f.__name__: f for f in (shut, alarm, blocked, shared, fill, flood, idle, trickle)}, sys.argv[1:])
