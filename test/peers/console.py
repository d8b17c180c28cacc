#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""A COMMAND on a pseudo-terminal, whose master goes to who listens at PATH, as a container's runtime sends it: console.py PATH
COMMAND [ARG...]. It ends as COMMAND ends, and keeps no copy of the master."""
import os
import pty
import socket
import sys

import peer

child, master = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
with peer.connect(sys.argv[1]) as sock:
    socket.send_fds(sock, [b"/dev/ptmx"], [master])
os.close(master)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
