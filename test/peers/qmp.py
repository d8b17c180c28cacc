#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""qmp.py PATH: stands in for the monitor of QEMU (QMP): a greeting, then an answer for each command of one client; getfd wants
its descriptor in the same message, and prints what is in it."""
import json
import os
import sys

import peer

client, _ = peer.listen(sys.argv[1]).accept()


def answer(**what):
    client.sendall(json.dumps(what).encode() + b"\r\n")


answer(QMP={"version": {}, "capabilities": []})
while True:
    data, fds = peer.receive(client)
    if not data:
        break
    command = json.loads(data)
    if command["execute"] == "getfd" and not fds:
        answer(error={"class": "GenericError", "desc": "No file descriptor supplied via SCM_RIGHTS"})
        continue
    if command["execute"] == "getfd":
        peer.say(command["arguments"]["fdname"], os.pread(fds[0], 100, 0).decode().strip())
    answer(**{"return": {}})
