#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""dispatcher.py listen|connect SOCKET TIME: a foreign dispatcher, written from fdkit-protocol(7) alone.

It accepts TCP connections, tells its port on standard output, and takes back from a worker
what it has not begun after TIME seconds."""
import select
import socket
import sys
import time


class Worker:
    def __init__(self, channel):
        self.channel, self.free, self.text = channel, 0, b""
        self.sent, self.running = {}, {}            # by id: (connection, when); connection
        channel.sendall(b"fdkit/1 hello\n")

    def fileno(self):
        return self.channel.fileno()


workers, waiting, shared = [], [], set()            # shared: a stopped worker has a copy in its queue
ids = iter(range(1, 2**31))


def send(worker, connection):
    number = next(ids)
    worker.free -= 1
    worker.sent[number] = connection, time.monotonic()
    try:
        socket.send_fds(worker.channel, [b"fdkit/1 set fds=1 id=%d\n" % number], [connection.fileno()])
    except OSError:
        pass                                        # then its end is there to be read


def read(worker):
    """Obey its records; false at the end of the channel."""
    try:
        data = worker.channel.recv(65536)
    except ConnectionError:
        data = b""
    *lines, worker.text = (worker.text + data).split(b"\n")
    for line in lines:
        form, word, *fields = line.split(b" ")
        assert form == b"fdkit/1", line
        fields = dict(f.partition(b"=")[::2] for f in fields)
        if word == b"slots":
            worker.free += int(fields[b"n"])
            continue
        number = int(fields[b"id"])
        if word == b"refused":
            waiting.append(worker.sent.pop(number)[0])
        elif word == b"taken":
            connection, _ = worker.sent.pop(number)
            worker.running[number] = connection if connection in shared else connection.close()
        elif word == b"done" and number in worker.running:
            worker.free += 1
            connection = worker.running.pop(number)
            if connection:
                shared.discard(connection)
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()
    return bool(data)


def lose(worker):
    workers.remove(worker)
    worker.channel.close()
    waiting.extend(connection for connection, _ in worker.sent.values())


def take_back(worker):
    worker.channel.shutdown(socket.SHUT_RD)
    while read(worker):
        pass
    shared.update(connection for connection, _ in worker.sent.values())
    lose(worker)


def main(how, path, limit):
    network = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(network.getsockname()[1], flush=True)
    door = None
    if how == "listen":
        door = socket.create_server(path, family=socket.AF_UNIX)
    else:
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(path)
        workers.append(Worker(channel))
    while True:
        free = max(workers, key=lambda w: w.free, default=None)
        if waiting and free and free.free:
            send(free, waiting.pop(0))
            continue
        watch = workers + ([door] if door else []) + ([network] if free and free.free else [])
        for ready in select.select(watch, [], [], float(limit) / 4)[0]:
            if ready is door:
                workers.append(Worker(door.accept()[0]))
            elif ready is network:
                waiting.append(network.accept()[0]) # FREE may be gone by now
            elif not read(ready):
                lose(ready)
        late = time.monotonic() - float(limit)
        for worker in list(workers):
            if any(when < late for _, when in worker.sent.values()):
                take_back(worker)


main(*sys.argv[1:])
