#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""namespace.py UIDS GIDS COMMAND...: run COMMAND in a new user namespace.

UIDS and GIDS are how many ids, from 0 on, it maps to themselves: 0 for none. Root alone may map more than its own.
"""
import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000

pid = os.getpid()
go, ready = os.pipe()
if os.fork() == 0:
    os.close(ready)
    os.read(go, 1)
    for name, count in (("uid_map", sys.argv[1]), ("gid_map", sys.argv[2])):
        if int(count):
            with open(f"/proc/{pid}/{name}", "w") as f:
                f.write(f"0 0 {count}\n")
    os._exit(0)
if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) == -1:
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
os.close(ready)
if os.wait()[1]:
    sys.exit("no map")
os.execvp(sys.argv[3], sys.argv[3:])
