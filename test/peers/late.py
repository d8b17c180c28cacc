#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""late.py: in fdrecv's place, for fdread: writes the file waits; at TERM gives the shell its standard input, and ends with 0."""
import signal
import socket
import sys

option, _, fd = sys.argv[1].partition("=")
assert option == "--fdread"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open("waits", "w").close()
signal.sigwait([signal.SIGTERM])
socket.send_fds(socket.socket(fileno=int(fd)), [b"FDKIT_FDS=\0FDKIT_MESSAGE=late\0"], [0])
