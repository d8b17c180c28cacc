#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""notify.py ADDRESS TEXT [FILE [COUNT]]: send TEXT, where Python's escapes count, and COUNT (1) descriptors of FILE to a
NOTIFY_SOCKET, whoever we are."""
import os
import socket
import sys

import peer

manager = peer.connect(sys.argv[1], "dgram")
count = int((sys.argv[4:] or [1])[0]) if sys.argv[3:] else 0
socket.send_fds(manager, [peer.text(sys.argv[2])], [os.open(sys.argv[3], os.O_RDONLY) for _ in range(count)])
