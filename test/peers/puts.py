#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""puts.py SOCKET COUNT SEED: COUNT puts, gets and drops at a store, one in ten by a client that is
killed in the middle. Prints the names that must be held at the end, after a + those that may be (their
client died after it had asked and before it was answered), and what was done, after a #."""
import os
import random
import signal
import socket
import sys

import peer

path, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
held, perhaps, figures = [], set(), {"puts": 0, "gets": 0, "drops": 0, "died": 0}


def connect():
    s = peer.connect(path)
    s.settimeout(20)
    return s


def memfds(names):
    """Descriptors that tell their names in /proc."""
    return [os.memfd_create(name) for name in names]


def answer(s):
    data, fds = b"", []
    while not data.endswith(b"\n"):
        more, came = peer.receive(s)
        assert more, data
        data += more
        fds += came
    return data, fds


def put_line(names, more=b""):
    return b"fdkit/1 set fds=%d id=7%s names=%s\n" % (len(names), more, ",".join(names).encode())


def get_line(names):
    return b"fdkit/1 get names=%s\n" % ",".join(names).encode() if names else b"fdkit/1 get\n"


def put(names):
    fds = memfds(names)
    with connect() as s:
        socket.send_fds(s, [put_line(names)], fds)
        assert answer(s)[0] == b"fdkit/1 taken id=7\n"
    peer.close(fds)
    held.extend(names)


def get(names):
    with connect() as s:
        s.sendall(get_line(names))
        data, fds = answer(s)
    assert data.startswith(b"fdkit/1 set ") and len(fds) == len(names), data
    for fd, name in zip(fds, names):
        assert os.readlink("/proc/self/fd/%d" % fd).startswith("/memfd:%s " % name), name
        os.close(fd)


def drop(name):
    with connect() as s:
        s.sendall(b"fdkit/1 drop id=7 names=%s\n" % name.encode())
        assert answer(s)[0] == b"fdkit/1 taken id=7\n"
    held.remove(name)


def die_putting(names):
    s, how = connect(), random.randrange(4)
    line, fds = put_line(names), memfds(names)
    if how == 0:                                    # in the middle of a line
        socket.send_fds(s, [line[:random.randrange(1, len(line))]], fds)
    elif how == 1:                                  # in the middle of a set
        socket.send_fds(s, [put_line(names, b" more")], fds)
    elif how == 2:                                  # a set, and the next begun
        socket.send_fds(s, [line], fds)
        socket.send_fds(s, [b"fdkit/1 set fd"], fds)
    else:
        socket.send_fds(s, [line], fds)


def die_getting(names):
    line = get_line(random.choice([names, []]))     # or all
    connect().sendall(random.choice([line, line * 20, line[:random.randrange(1, len(line))]]))


def die_dropping(name):
    line = b"fdkit/1 drop id=7 names=%s\n" % name.encode()
    connect().sendall(random.choice([line, line[:-1]]))


def killed(action, arg):
    pid = os.fork()
    if not pid:
        try:
            action(arg)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    figures["died"] += 1


for n in range(count):
    dies = random.randrange(10) == 0
    what = random.choice(["puts", "puts", "gets", "gets", "drops"] if len(held) < 100 else ["gets", "drops"])
    if not held:
        what = "puts"
    figures[what] += 1
    if what == "puts":
        new = ["s%d.n%d.%d" % (seed, n, i) for i in range(random.choice([1, 1, 1, 2, 10]))]
        if dies:
            perhaps.update(new)
            killed(die_putting, new)
        else:
            put(new)
    elif what == "gets":
        some = random.sample(held, min(len(held), random.choice([1, 1, 3])))
        if dies:
            killed(die_getting, some)
        else:
            get(some)
    else:
        name = random.choice(held)
        if dies:
            held.remove(name)
            perhaps.add(name)
            killed(die_dropping, name)
        else:
            drop(name)

for name in held:
    print(name)
for name in perhaps:
    print("+" + name)
print("# %(puts)d puts, %(gets)d gets, %(drops)d drops, %(died)d by clients killed in the middle" % figures)
