#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What each failing system call leads to: faults.py [-w] TABLE [SCENARIO...]

Every scenario is a use of the tools in which one of them is run under strace(1). First its system calls
are recorded. Then there is one run for each call and errno, in which strace makes the call fail: the first
one of its kind (once), the last (last, with FAULTS=all), every one from the first on (always). What comes of it is judged here and compared with TABLE, which test/faults.tsv explains.

A run is judged without the table, too. Words in capitals are never right:
  HANG     it did not end after a signal, or left a client in the dark and served others
  SPIN     it did far more calls than without the fault
  CRASH    it died of a signal of its own
  SILENT   it failed and did not say what (one line: TOOL: OBJECT: REASON)
  LOST     a descriptor got lost, and neither the tool nor its peer said so
  LEFT     it ended by itself, and its socket file is there
FAULTS=all in the environment takes every errno, last calls and every single allocation, in every scenario. Without,
there is a selection, and of that each scenario of a tool tries what none before it has, and every call once.
-w writes a new table for what was seen to standard output, for a person to look through.
"""
import collections
import concurrent.futures
import fnmatch
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# How each call can fail here, by its manual page. +: also from now on for good; a fault that the kernel
# cannot repeat (an interrupted call, a connection that is aborted, a queue that poll(2) has found free)
# happens once. The first of a line is in the selection, and, once, those with a star.
FAILURES = {
    "accept4": "EMFILE+ ENFILE+ ENOBUFS+ ENOMEM+ ECONNABORTED* EPERM EAGAIN* EINTR*",
    "bind": "EACCES+ EADDRINUSE+* ENOMEM+ ENOSPC+ EROFS+",
    "connect": "ECONNREFUSED+ EAGAIN* EINTR* EACCES+ ENOENT",
    "copy_file_range": "EIO EXDEV+* EINVAL+ EOPNOTSUPP+ ENOSPC+* ENOMEM EINTR*",
    "dup": "EMFILE+ EBADF",
    "epoll_create1": "EMFILE+ ENOMEM+",
    "epoll_ctl": "ENOSPC+ ENOMEM+ EPERM",
    "epoll_wait": "EINTR",
    "eventfd2": "EMFILE+",
    "execve": "EACCES+ ENOENT+* ENOMEM+ E2BIG+ ETXTBSY",
    "fchmod": "EPERM+ EROFS+",
    "fcntl(F_DUPFD_CLOEXEC)": "EMFILE+",
    "fcntl(F_GETFL)": "EBADF",
    "fcntl(F_GETPIPE_SZ)": "EBADF",
    "fcntl(F_SETPIPE_SZ)": "EPERM+ ENOMEM+",
    "flock": "EINTR* ENOLCK+ EAGAIN*",
    "fork": "EAGAIN+ ENOMEM+",
    "getpeername": "ENOTCONN+ ENOBUFS+",
    "getsockname": "ENOBUFS+",
    "getsockopt": "ENOPROTOOPT+ ENOMEM",
    "getsockopt(SO_PEERCRED)": "ENOTCONN+",
    "ioctl": "ENOTTY+ EIO",
    "kill": "ESRCH",
    "listen": "EADDRINUSE+ ENOBUFS",
    "lseek": "ESPIPE+",
    "memory": "ENOMEM+",
    "openat": "EMFILE+ ENFILE+ EACCES+* ENOMEM",
    "pidfd_getfd": "EPERM+ EMFILE+ EBADF",
    "pidfd_open": "ESRCH EMFILE+* ENOSYS+",
    "pipe": "EMFILE+ ENFILE+",
    "nanosleep": "EINTR*",
    "poll": "EINTR ENOMEM+*",
    "prlimit64(set)": "EPERM",
    "read": "EIO EINTR* EAGAIN",
    "read(signalfd)": "EINTR EAGAIN",
    "recvfrom": "ECONNRESET EAGAIN* EINTR* ENOMEM*",
    "recvmsg": "ECONNRESET EAGAIN* EINTR* ENOMEM+* ENOBUFS",
    "rename": "EACCES+ ENOSPC",
    "sendfile": "EINVAL+ EIO+* EAGAIN EINTR ENOMEM ENOSPC",
    "sendmsg": "EPIPE+ EAGAIN* EINTR* ENOBUFS+ ENOMEM+* EPERM+ ETOOMANYREFS+* ECONNRESET",
    "sendto": "EPIPE+ EAGAIN* ECONNREFUSED ENOENT ENOBUFS",
    "setsockopt": "ENOMEM+",
    "shutdown": "ENOTCONN+",
    "signalfd4": "EMFILE+ ENOMEM+",
    "socket": "EMFILE+ ENFILE+ ENOBUFS+ ENOMEM EACCES+",
    "socketpair": "EMFILE+ ENFILE+",
    "splice": "EINVAL+ EAGAIN* EINTR* EPIPE* EIO* ENOMEM+",
    "stat": "ENOMEM+ EACCES+*",
    "unlink": "EACCES+ EROFS ENOENT",
    "wait": "EINTR ECHILD",
    "write": "EIO EAGAIN EINTR* ENOSPC* EPIPE*",
    "writev": "EIO EAGAIN EINTR* ENOSPC* EPIPE*",
}

# Not made to fail:
CANNOT = {
    # these do not fail with right arguments (their manual pages);
    "exit_group", "getpid", "getppid", "gettid", "geteuid", "getuid", "getegid", "getgid", "umask", "rt_sigprocmask",
    "rt_sigaction", "rt_sigreturn", "restart_syscall", "setitimer", "getrandom", "prctl", "clock_gettime", "futex",
    "getitimer", "tgkill", "set_robust_list", "sched_yield", "sysinfo", "prlimit64(get)", "munmap", "mprotect", "madvise",
    # kernel: close(2) has closed the descriptor whatever it returns, and strace would leave it open;
    "close",
    # kernel: these two fail for a descriptor that is not open, and for no other;
    "fcntl(F_GETFD)", "fcntl(F_SETFD)", "fcntl(F_SETFL)",
    # without it nothing can be said, and nothing heard;
    "write(2)", "writev(2)",
    # what malloc(3) uses, and what it does when that fails: see "memory".
    "brk", "mmap", "mremap",
}

SAME = {
    "newfstatat": "stat", "fstat": "stat", "lstat": "stat", "statx": "stat", "fstatat64": "stat",
    "vfork": "fork", "clone": "fork", "clone3": "fork", "ppoll": "poll", "dup2": "dup", "dup3": "dup",
    "clock_nanosleep": "nanosleep", "wait4": "wait", "waitid": "wait", "unlinkat": "unlink", "renameat": "rename", "renameat2": "rename", "open": "openat",
    "pipe2": "pipe", "epoll_pwait": "epoll_wait", "sendfile64": "sendfile", "_llseek": "lseek",
    "faccessat": "access", "faccessat2": "access",
}

WORD = {"fcntl": r"\b(F_\w+)", "getsockopt": r"\b(SO_\w+|TCP_\w+|IPV6_\w+)", "setsockopt": r"\b(SO_\w+|IPV6_\w+)",
        "ioctl": r"\b(TIOC\w+|TCGETS|FION\w+|SIOC\w+)", "socket": r"\bAF_(\w+)", "write": r"^(2),", "writev": r"^(2),",
        "openat": r'(/dev/null|O_PATH|O_DIRECTORY|O_CREAT)'}


def kind_of(name, args):
    """A call as the table has it: what differs by libc or machine under one name, and what it is about."""
    name = SAME.get(name, name)
    if name == "read" and args.endswith(", 128) = 128"):
        return "read(signalfd)"
    if name == "prlimit64":
        return "prlimit64(get)" if re.match(r"\d+, \w+, NULL", args) else "prlimit64(set)"
    found = name in WORD and re.search(WORD[name], args)
    return f"{name}({found.group(1)})" if found else name


def failures_of(kind, every):
    """(errno, once, always) for each way in which a call of KIND can fail."""
    words = FAILURES.get(kind, FAILURES.get(kind.split("(")[0], "")).split()
    for i, word in enumerate(words):
        if every or i == 0 or "*" in word:
            yield re.sub(r"\W", "", word), "+" in word and (every or i == 0 or kind == "poll")


LIMIT = 8.0    # seconds for what is to come
QUIET = 0.7    # for what is not, and at least so many times what the scenario takes without a fault
TIMES = 3
CAT = "/bin/cat"
LINE = "pears\n"


def until(condition, limit):
    end, pause = time.monotonic() + limit, 0.001
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    return True


class Spin(Exception):
    pass


class Box:
    """One run: a directory, the tool under strace, and its peers."""

    def __init__(self, scenario, inject, env, limit, most):
        self.scenario, self.inject, self.limit = scenario, list(inject), limit
        self.most = most       # calls, of 100 bytes in the trace
        self.env = dict(os.environ, LC_ALL="C", **(env or {}))
        self.dir = tempfile.mkdtemp(prefix="r", dir=BASE)
        self.processes, self.t, self.count, self.echoed, self.stale = [], None, 0, "", None
        self.deaf = any("poll:error=ENOMEM" in i and "+" in i for i in inject) # it cannot wait for signals either
        self.write("notes", LINE)
        self.write("trace", "")

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def start(self, argv, stdin=None, out=None, err=None, env=None, fds=()):
        """STDIN and OUT: open files, which are closed here; the notes and a file of its own unless given."""
        self.count += 1
        out_name, err_name = f"out.{self.count}", err or f"err.{self.count}"
        files = [stdin or open(self.path("notes")), out or open(self.path(out_name), "a"), open(self.path(err_name), "a")]
        p = subprocess.Popen(argv, cwd=self.dir, stdin=files[0], stdout=files[1], stderr=files[2],
                             env=dict(self.env, **(env or {})), pass_fds=fds, start_new_session=True)
        for f in files:
            f.close()
        p.out = out_name
        self.processes.append(p)
        return p

    def tool(self, *argv, out=None, with_3=False, **kw):
        """The tool in question. strace is not in between (-D), and follows no command (-b execve)."""
        follow = [] if any("execve" in i for i in self.inject) else ["-b", "execve"]
        shell = ["/bin/sh", "-c", 'exec "$@" 3<notes', "-"] if with_3 else []
        self.argv = argv
        self.t = self.start([*shell, "strace", "-D", "-q", "-f", *follow, "-s", "32", "-o", "trace", *self.inject, *argv],
                            out=out or open(self.path("out"), "a"), err="err", **kw)

    def peer(self, *argv, **kw):
        """Another process; with {R} among its words it tells there when it is ready, which is waited for."""
        if "{R}" not in argv:
            return self.start(argv, **kw)
        r, w = os.pipe()
        p = self.start([str(w) if a == "{R}" else a for a in argv], fds=(w,), **kw)
        os.close(w)
        os.read(r, 1)
        os.close(r)
        return p

    def status(self, p):
        """As Popen.poll, but P stays a zombie, so that its number is nobody else's when its group is killed."""
        ended = os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if not ended:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def alive(self):
        if self.most and os.path.getsize(self.path("trace")) > 100 * self.most:
            raise Spin
        return self.status(self.t) is None

    def ends(self, p):
        """P ends; without the tool it need not."""
        until(lambda: self.status(p) is not None or not self.alive(), self.limit + 1)
        return self.status(p) is not None

    def client(self, *argv, want=None, proof=None, **kw):
        """One of our tools as a client: what came of it, in a word."""
        p = self.peer(*argv, **kw)
        if not self.ends(p) or self.status(p) == 124:
            return "none"
        if self.status(p) != 0:
            return "told"
        good = (lambda: self.read(p.out) == want) if want is not None else proof or (lambda: True)
        return "ok" if not self.scenario.service or until(good, self.limit if self.alive() else 0.3) else "lost"

    def address(self):
        """Where the tool listens, by its -A; None if it has ended."""
        until(lambda: self.read("addr") or not self.alive(), LIMIT)
        return self.read("addr").strip() or None

    def tcp(self):
        """A client of fdserve."""
        address = self.address()
        if not address:
            return "none" if self.alive() else "lost"
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), self.limit) as sock:
                got = receive(sock, self)
        except ConnectionError:
            return "lost"
        except TimeoutError:
            return "none"
        return "none" if got is None else "ok" if got == LINE else "lost"

    def close(self):
        for p in self.processes:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except PermissionError:
                pass
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- scenarios: each starts the tool and, where there are any, its standing peers ----

SCENARIOS = {}


class Scenario:
    """Once a tool with one thing to do has ended with 0, PROOF has come true. CLIENT is a peer that comes when
    the tool is there: again and again to a service. OBJECTS may be named though they are no arguments."""

    def __init__(self, start, client=None, proof=None, service=False, owns="s", objects=()):
        self.start, self.client, self.proof = start, client, proof
        self.service, self.owns, self.objects = service, owns, objects
        self.name = start.__name__.replace("_", "-")
        SCENARIOS[self.name] = self


def scenario(**kw):
    return lambda start: Scenario(start, **kw)


def printed(b):
    return b.read("out") == LINE


def peer_printed(b):
    return any(b.read(p.out) == LINE for p in b.processes)


@scenario(proof=peer_printed, owns=None)
def fdsend(b):
    b.peer("fdrecv", "-R", "{R}", "-i", "s", CAT)
    b.tool("fdsend", "s")


@scenario(proof=peer_printed, owns=None)
def fdsend_names(b):
    b.peer("fdrecv", "-R", "{R}", "-f", "b=4,a=0", "s", CAT)
    b.tool("fdsend", "s", "a=0", "b=1")


@scenario(proof=peer_printed, owns=None)
def fdsend_many(b):
    b.peer("fdrecv", "-R", "{R}", "-f", "0", "s", CAT)
    b.tool("fdsend", "s", *["0"] * 300)


@scenario(proof=peer_printed, owns=None)
def fdsend_one_each(b):
    b.peer("fdrecv", "-R", "{R}", "-N", "2", "-f", "0,5", "s", CAT)
    b.tool("fdsend", "-1", "s", "0", "0")


@scenario(proof=peer_printed, owns=None)
def fdsend_pid(b):
    b.peer("fdrecv", "-R", "{R}", "-i", "s", CAT)
    p = b.start(["/bin/sleep", "60"])
    b.tool("fdsend", "-p", str(p.pid), "s", "0")


@scenario(proof=peer_printed, owns=None)
def fdsend_dgram(b):
    b.peer("fdrecv", "-R", "{R}", "-T", "dgram", "-i", "s", CAT)
    b.tool("fdsend", "-T", "dgram", "s")


@scenario(proof=peer_printed, owns=None)
def fdsend_seqpacket(b):
    b.peer("fdrecv", "-R", "{R}", "-T", "seqpacket", "-i", "s", CAT)
    b.tool("fdsend", "-T", "seqpacket", "s")


@scenario(proof=peer_printed, owns=None)
def fdsend_fd(b):
    ours, theirs = socket.socketpair()
    b.peer("fdrecv", "-i", f"fd:{theirs.fileno()}", CAT, fds=(theirs.fileno(),))
    b.tool("fdsend", f"fd:{ours.fileno()}", fds=(ours.fileno(),))
    ours.close()
    theirs.close()


@scenario(proof=printed, owns=None)
def fdsend_exec(b):
    b.tool("fdsend", "exec:fdrecv -i fd:0 /bin/cat")


def takes(*argv):
    """A client that connects to the tool, and prints what it gets."""
    return lambda b: b.client("fdrecv", "-c", "-q", "-t", str(b.limit), "-w", str(b.limit), *argv, want=LINE)


def gives(*argv):
    """A client that connects to the tool, which prints what it gets."""
    def client(b, **kw):
        before = b.read("out").count(LINE)
        return b.client("fdsend", "-t", str(b.limit), "-w", str(b.limit), *argv,
                        proof=lambda: b.read("out").count(LINE) > before, **kw)
    return client


@scenario(client=takes("-i", "s", CAT), proof=peer_printed)
def fdsend_l(b):
    b.tool("fdsend", "-l", "s")


@scenario(client=takes("-i", "s", CAT), proof=peer_printed)
def fdsend_l_stale(b):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(b.path("s"))
        b.stale = os.lstat(b.path("s")).st_ino
    b.tool("fdsend", "-l", "s")


# The offset of what is sent is everybody's, so nothing is read of it.
IS_FILE = ["/bin/sh", "-c", f"test -f /dev/stdin && echo {LINE.strip()}"]


@scenario(client=takes("-i", "s", *IS_FILE), service=True)
def fdsend_lk(b):
    b.tool("fdsend", "-l", "-k", "s")


@scenario(client=gives("s"), proof=printed)
def fdrecv(b):
    b.tool("fdrecv", "-i", "s", CAT)


@scenario(client=gives("s", "b=1", "a=0"), proof=printed)
def fdrecv_names(b):
    b.tool("fdrecv", "-f", "a=0,b=4", "s", CAT)


@scenario(client=gives("-1", "s", "0", "0", "0"), proof=printed)
def fdrecv_N(b):
    b.tool("fdrecv", "-N", "3", "-f", "0,4,3", "s", CAT)


@scenario(client=gives("-T", "dgram", "s"), proof=printed)
def fdrecv_dgram(b):
    b.tool("fdrecv", "-T", "dgram", "-i", "s", CAT)


LONG = "d" * 100


@scenario(client=gives(LONG + "/s"), proof=printed, owns=LONG + "/s")
def fdrecv_long_path(b):
    os.mkdir(b.path(LONG))
    b.tool("fdrecv", "-i", LONG + "/s", CAT)


@scenario(proof=peer_printed, owns=None)
def fdsend_long_path(b):
    os.mkdir(b.path(LONG))
    b.peer("fdrecv", "-R", "{R}", "-i", LONG + "/s", CAT)
    b.tool("fdsend", LONG + "/s")


@scenario(client=gives("s"), proof=printed)
def fdrecv_copy_file(b):
    b.tool("fdrecv", "s")


@scenario(client=gives("s"), proof=peer_printed)
def fdrecv_copy_file_to_pipe(b):
    r, w = os.pipe()
    b.start([CAT], stdin=os.fdopen(r))
    b.tool("fdrecv", "s", out=os.fdopen(w, "w"))


def gives_pipe(b):
    r, w = os.pipe()
    os.write(w, LINE.encode())
    os.close(w)
    return gives("s")(b, stdin=os.fdopen(r))


def receive(sock, b):
    """What comes of SOCK to its end."""
    got, end = "", time.monotonic() + b.limit
    sock.settimeout(0.05)
    while time.monotonic() < end:
        try:
            data = sock.recv(100)
        except TimeoutError:
            if b.status(b.t): # it failed, and nothing comes
                return got
            continue
        except ConnectionError:
            return got
        if not data:
            return got
        got += data.decode()
    return None


def gives_socket(b):
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(LINE.encode())
        ours.shutdown(socket.SHUT_WR)
        said = gives("s")(b, stdin=theirs)
        b.echoed = receive(ours, b)
    return said


@scenario(client=gives_pipe, proof=printed)
def fdrecv_copy_pipe(b):
    b.tool("fdrecv", "s")


@scenario(client=gives_socket, proof=lambda b: printed(b) and b.echoed == LINE)
def fdrecv_copy_socket(b):
    b.tool("fdrecv", "s")


@scenario(proof=printed, owns=None)
def fdrecv_c(b):
    b.peer("fdsend", "-R", "{R}", "-l", "-k", "s")
    b.tool("fdrecv", "-c", "-i", "s", CAT)


@scenario(proof=printed, owns=None)
def fdrecv_exec(b):
    b.tool("fdrecv", "-i", "exec:fdsend fd:1 3 3<notes", CAT)


def holder(b):
    b.peer("fdhold", "-q", "-R", "{R}", "s")
    for name in ("a", "b"):
        subprocess.run(["fdsend", "s", name + "=0"], cwd=b.dir, stdin=open(b.path("notes")), check=True)


@scenario(proof=printed, owns=None)
def fdrecv_all(b):
    holder(b)
    b.tool("fdrecv", "-c", "--all", "s", "/bin/sh", "-c", "exec /bin/cat <&3")


@scenario(proof=printed, owns=None)
def fdrecv_asks(b):
    holder(b)
    b.tool("fdrecv", "-c", "-f", "a=0", "s", CAT)


@scenario(proof=lambda b: b.read("out").startswith("a\t"), owns=None)
def fdhold_list(b):
    holder(b)
    b.tool("fdhold", "--list", "s")


@scenario(owns=None, proof=lambda b: True)
def fdhold_drop(b):
    holder(b)
    b.tool("fdhold", "--drop", "a", "s")


def keeps(b):
    """Put, get, list, drop; the one name each time, so that what is not dropped is in the way."""
    limit = ["-t", str(b.limit), "-w", str(b.limit)]
    name = "n" + str(b.count)
    for argv, want in ((["fdsend", *limit, "s", name + "=0"], ""),
                       (["fdrecv", "-c", *limit, "-f", name + "=0", "s", CAT], None),
                       (["fdhold", *limit, "--list", "s"], None),
                       (["fdhold", *limit, "--drop", name, "s"], "")):
        said = b.client(*argv, want=want)
        if said != "ok":
            return said
    return "ok"


@scenario(client=keeps, service=True)
def fdhold(b):
    b.tool("fdhold", "-A", "addr", "s", "web=127.0.0.1:0")


@scenario(client=takes("-f", "old=0", "s", *IS_FILE), service=True, objects=("old", "fd3"))
def fdhold_adopts(b):
    b.tool("fdhold", "s", env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "old"}, with_3=True)


@scenario(client=gives("s"), service=True)
def fdexec(b):
    b.tool("fdexec", "-i", "s", CAT)


@scenario(client=gives("s", "a=0"), service=True)
def fdexec_names(b):
    b.tool("fdexec", "-i", "s", CAT)


@scenario(proof=printed, owns=None)
def fdexec_S(b):
    b.tool("fdexec", "-S", "3", "/bin/sh", "-c", "exec /bin/cat <&3 >&3")


HANDLER = ["/bin/echo", LINE.strip()]
SERVE = ["fdserve", "--ack-timeout", "2s", "-A", "addr"]


@scenario(client=Box.tcp, service=True, owns=None)
def fdserve(b):
    b.peer("fdexec", "-q", "-R", "{R}", "w", *HANDLER)
    b.tool(*SERVE, "127.0.0.1:0", "w")


@scenario(client=Box.tcp, service=True, owns=None)
def fdserve_P(b):
    b.peer("fdexec", "-q", "-R", "{R}", "w", *HANDLER)
    b.tool("fdserve", "-P", "-A", "addr", "127.0.0.1:0", "w")


@scenario(client=Box.tcp, service=True, owns="w")
def fdserve_l(b):
    b.tool(*SERVE, "-l", "127.0.0.1:0", "w")
    b.peer("fdexec", "-q", "-c", "w", *HANDLER)


@scenario(client=Box.tcp, service=True)
def fdexec_serve(b):
    b.tool("fdexec", "s", *HANDLER)
    b.peer(*SERVE, "-q", "127.0.0.1:0", "s")


@scenario(client=Box.tcp, service=True, owns=None)
def fdexec_c(b):
    b.peer(*SERVE, "-q", "-R", "{R}", "-l", "127.0.0.1:0", "s")
    b.tool("fdexec", "-c", "s", *HANDLER)


@scenario(client=Box.tcp, service=True, owns=None)
def fdserve_command(b):
    b.tool("fdserve", "-C", "9", "-A", "addr", "127.0.0.1:0", "--", *HANDLER)


@scenario(proof=lambda b: b.read("out") == "1 3\n" and b.read("addr"), owns=None)
def fdserve_L_command(b):
    b.tool("fdserve", "-L", "-A", "addr", "127.0.0.1:0", "--", "/bin/sh", "-c", "echo $LISTEN_FDS $FDKIT_FDS")


@scenario(proof=lambda b: b.read("out.1") == "1\n", owns=None)
def fdserve_L_socket(b):
    b.peer("fdrecv", "-R", "{R}", "s", "/bin/sh", "-c", "echo $LISTEN_FDS")
    b.tool("fdserve", "-L", "-A", "addr", "127.0.0.1:0", "s")


@scenario(client=lambda b: b.client("fdrecv", "-c", "-q", "-t", str(b.limit), "-w", str(b.limit), "s", "/bin/sh", "-c",
                                    "echo $LISTEN_FDS", want="1\n"), service=True)
def fdserve_L_l(b):
    b.tool("fdserve", "-L", "-l", "127.0.0.1:0", "s")


# ---- one run, and what came of it ----

Result = collections.namedtuple("Result", "word tool lines calls trace seconds")

CRASHES = {-n for n in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)}


def said(b):
    """The lines by which the tool names an object and the reason."""
    words = [w for word in b.argv[1:] for w in (word, word.rpartition("=")[0], word.rpartition("=")[2]) if w]
    words += [*b.scenario.objects, "0", "ADDRESS", "standard input", "standard output", "fd", "process", "/dev/null"]
    objects = "|".join(map(re.escape, words))
    return [line for line in b.read("err").splitlines() if re.match(rf"{b.argv[0]}: ({objects})(?!\w).*?: .", line + " ")]


def news(b):
    return [line for line in said(b) if "ended by SIG" not in line]


def judge_end(b, status):
    """The tool has ended by itself."""
    if status in CRASHES:
        return "CRASH"
    if status == -signal.SIGPIPE:
        return "sigpipe"
    if status == 0 and b.scenario.service:
        return "SILENT"
    if status == 0:
        return ("said" if news(b) else "fine") if until(lambda: b.scenario.proof(b), LIMIT) else "LOST"
    if status not in (124, 125, 126, 127):
        return f"STATUS {status}"
    return str(status) if said(b) else "SILENT"


def stop(b):
    """A signal ends the tool; one that has something to finish first, a second."""
    for seconds in (0.2, 0.2) if b.deaf else (2, 4):
        os.kill(b.t.pid, signal.SIGTERM)
        if until(lambda: not b.alive(), seconds):
            break
    return b.status(b.t)


def run_once(b):
    """A tool with one thing to do: clients come as long as it waits for one."""
    for _ in range(3):
        if b.scenario.client:
            answer = b.scenario.client(b)
            until(lambda: not b.alive(), 0.5)
        else:
            until(lambda: not b.alive(), b.limit)
        if not b.alive():
            return judge_end(b, b.status(b.t))
        if not b.scenario.client or answer == "none":
            break
    return "HANG" if stop(b) is None else "waits"


def run_service(b):
    """Clients come one after another; when the calls are recorded fewer, so that no fault is the last one's."""
    answers = []
    while len(answers) < (3 if b.inject else 2) and b.alive() and "none" not in answers[-1:]:
        answers.append(b.scenario.client(b))
    if not b.alive():
        return judge_end(b, b.status(b.t))
    status = stop(b)
    if status is None:
        return "HANG"
    if status in CRASHES:
        return "CRASH"
    if "lost" in answers and not news(b):
        return "LOST"
    if status != 0:
        return f"ends {status}" if said(b) else "SILENT"
    if answers[-1] == "none":
        return "waits"
    if answers[-1] != "ok":
        return "all fail"
    if len(set(answers)) > 1:
        return "one fails"
    return "said" if news(b) else "fine"


def joined(text):
    """The lines of a trace, those together that strace has written in two parts."""
    lines, begun = [], {}
    for line in text.splitlines():
        pid = line.partition(" ")[0]
        resumed = re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line)
        if line.endswith(" <unfinished ...>"):
            begun[pid] = len(lines)
            lines.append(line.removesuffix(" <unfinished ...>"))
        elif resumed and pid in begun:
            lines[begun.pop(pid)] += resumed.group(1)
        else:
            lines.append(line)
    return lines


def left(b, name):
    """Is there a socket file, other than the one before?"""
    try:
        return os.lstat(b.path(name)).st_ino != b.stale
    except FileNotFoundError:
        return False


def run(scenario, inject=(), env=None, limit=LIMIT, most=None):
    b = Box(scenario, inject, env, limit, most)
    begun = time.monotonic()
    try:
        scenario.start(b)
        try:
            word = run_service(b) if scenario.service else run_once(b)
        except Spin:
            word = "SPIN"
        if word == "HANG" and b.deaf:
            word = "deaf"
        until(lambda: re.search(rf"^{b.t.pid} +\+\+\+ ", b.read("trace"), re.M), 1)
        trace = joined(b.read("trace"))
        if any(re.search(r"killed by SIG(SEGV|ABRT|BUS|ILL|FPE|TRAP)", line) for line in trace):
            word = "CRASH"
        if scenario.owns and word not in ("HANG", "SPIN", "deaf") and left(b, scenario.owns):
            word += " left" if any(re.search("stat|unlink", i) for i in inject) else " LEFT"
        return Result(word, b.argv[0], b.read("err").splitlines(), len(trace), trace, time.monotonic() - begun)
    finally:
        b.close()


# ---- what to make fail ----

CALL = re.compile(r"(\d+) +(\w+)\((.*)")
MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1:glibc.malloc.mmap_max=1000000:glibc.malloc.arena_max=1"}


def calls(trace):
    """(process, name, kind, which of its name in this process) for each call but the tool's own execve,
    which strace does not count."""
    count, first = collections.Counter(), None
    for line in trace:
        found = CALL.match(line)
        if not found:
            continue
        pid, name, args = found.groups()
        if first is None:
            first = pid
            if name == "execve":
                continue
        count[pid, name] += 1
        yield pid, name, kind_of(name, args), count[pid, name]


def startup(tool, env):
    """How often each call is made before main: what the tool does when it only says what it misses."""
    with tempfile.NamedTemporaryFile("r", dir=BASE) as f:
        subprocess.run(["strace", "-f", "-q", "-o", f.name, tool], env=dict(os.environ, **env), stderr=subprocess.DEVNULL)
        trace = f.read().splitlines()
    return collections.Counter(name for _, name, kind, _ in calls(trace) if not kind.startswith(("write", "exit")))


def targets(trace, before):
    """For each kind of call after the start of main: the places of the first and the last among its name's."""
    found = {}
    for _, name, kind, n in calls(trace):
        if n > before[name]: # another process's, too: strace would count the tool's own to the same number
            found[kind, name] = (found.get((kind, name), (n,))[0], n)
    return found


Fault = collections.namedtuple("Fault", "scenario kind errno when inject env normal")


def memory_faults(scenario, every):
    """Each malloc(3) of its own: glibc is told to ask the kernel for every one, and asks four times
    before it gives up."""
    normal = run(scenario, env=MALLOC)
    before = startup(normal.tool, MALLOC)
    last = targets(normal.trace, before).get(("mmap", "mmap"), (0, 0))[1]
    first = before["mmap"] + 1
    heap = [f"-einject=brk:error=ENOMEM:when={before['brk'] + 1}+", "-einject=mremap:error=ENOMEM"]
    for n in range(first, last + 1):
        if every or n in (first, (first + last) // 2, last):
            yield Fault(scenario, "memory", "ENOMEM", "once", [f"-einject=mmap:error=ENOMEM:when={n}..{n + 3}", *heap], MALLOC, normal)
    if last >= first:
        yield Fault(scenario, "memory", "ENOMEM", "always", [f"-einject=mmap:error=ENOMEM:when={first}+", *heap], MALLOC, normal)


def faults_of(scenario, every):
    """The faults to try, and the kinds of call for which there is no rule."""
    normal = run(scenario)
    if normal.word not in ("fine", "said"):
        return [], [f"{scenario.name}: without a fault: {normal.word}: " + " ".join(normal.lines)]
    faults, unknown, seen = [], [], set()
    for (kind, name), (first, last) in sorted(targets(normal.trace, startup(normal.tool, {})).items()):
        if kind in CANNOT or name in CANNOT:
            continue
        ways = list(failures_of(kind, every))
        if not ways:
            unknown.append(f"{scenario.name}: {kind}: a call without a line in FAILURES")
        for errno, lasting in ways:
            for when, where in (("once", f"{first}"), ("last", f"{last}"), ("always", f"{first}+")):
                inject = f"-einject={name}:error={errno}:when={where}"
                if inject in seen or (when == "always" and not lasting) or (when == "last" and not every):
                    continue
                seen.add(inject)
                faults.append(Fault(scenario, kind, errno, when, [inject], {}, normal))
    return faults + list(memory_faults(scenario, every)), unknown


def selected(faults):
    """What is the first of its kind for a tool, and each call's first way to fail, once."""
    tried, failed = set(), set()
    for f in faults:
        way, call = (f.normal.tool, f.kind, f.errno, f.when), (f.scenario, f.kind)
        if way not in tried or call not in failed:
            yield f
        tried.add(way)
        failed.add(call)


# ---- the table ----

def parse_table(path):
    rows = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 5:
                    raise SystemExit(f"{path}:{number}: five fields, with a tab between them")
                rows.append([field.split(",") for field in fields[:4]] + [fields[4].split("|")])
    return rows


def expected(rows, fault):
    """What the first row that fits says; None without one."""
    for *patterns, words in rows:
        if all(any(fnmatch.fnmatchcase(v, p) for p in ps)
               for v, ps in zip((fault.kind, fault.errno, fault.when, fault.scenario.name), patterns)):
            return words
    return None


RED = re.compile(r"[A-Z]{4}")


def right(words, result):
    return result.word in (words or ()) and not RED.search(result.word)


def attempt(fault, rows):
    words = expected(rows, fault)
    quiet = {"waits", "all fail", "deaf"}.issuperset(words or ())
    limit = max(QUIET, TIMES * fault.normal.seconds) if quiet else LIMIT
    result = run(fault.scenario, fault.inject, fault.env, min(limit, LIMIT), 10 * fault.normal.calls + 2000)
    return fault, words, result


def reached(fault, result):
    """Was it this call that failed first? It may be another process's of the same number, or come no more."""
    if fault.kind == "memory":
        return any("mmap(" in line and "(INJECTED)" in line for line in result.trace)
    for line in result.trace:
        found = CALL.match(line)
        if found and "(INJECTED)" in line:
            return kind_of(*found.groups()[1:]) == fault.kind
    return False


GLOBS = ["fdsend*", "fdrecv*", "fdhold*", "fdexec*", "fdserve*", "fdrecv-copy*", "fdsend-l*", "fdhold-*", "fdserve-L*"]


def shorten(names, others):
    """NAMES as patterns that none of OTHERS fits."""
    short, names = [], set(names)
    for glob in GLOBS:
        some = fnmatch.filter(names, glob)
        if len(some) > 1 and not fnmatch.filter(others, glob):
            short.append(glob)
            names -= set(some)
    return ",".join(sorted(short) + sorted(names))


def write_table(results):
    """Rows for what came of it: for each kind what most scenarios show, after the exceptions."""
    seen = collections.defaultdict(set)
    for fault, _, result in results:
        seen[fault.kind, fault.errno, fault.when, fault.scenario.name].add(result.word)
    rows = collections.defaultdict(lambda: collections.defaultdict(list))
    for kind in sorted({k[0] for k in seen}):
        cases = collections.defaultdict(dict)
        for (k, errno, when, name), words in seen.items():
            if k == kind:
                cases[errno, when][name] = "|".join(sorted(words))
        common = collections.Counter(w for c in cases.values() for w in c.values()).most_common(1)[0][0]
        lines = collections.defaultdict(lambda: collections.defaultdict(set))
        for (errno, when), of in cases.items():
            of_word = collections.defaultdict(list)
            for name, word in of.items():
                if word != common:
                    of_word[word].append(name)
            for word, names in of_word.items():
                names = "*" if len(names) == len(of) else shorten(names, set(of) - set(names))
                lines[word, names][errno].add(when)
        for (word, names), errnos in sorted(lines.items()):
            by_when = collections.defaultdict(list)
            for errno, whens in errnos.items():
                by_when[",".join(sorted(whens))].append(errno)
            for whens, es in sorted(by_when.items()):
                print(kind, ",".join(sorted(es)), whens, names, word, sep="\t")
        print(kind, "*", "*", "*", common, sep="\t")


def main(argv):
    global BASE
    writes = argv[0] == "-w"
    table, names = argv[writes], argv[writes + 1:]
    rows = [] if writes and not os.path.exists(table) else parse_table(table)
    every = os.environ.get("FAULTS") == "all"
    wanted = [s for s in SCENARIOS.values() if not names or any(fnmatch.fnmatchcase(s.name, n) for n in names)]
    wrong, results, missed = [], [], 0
    with tempfile.TemporaryDirectory(prefix="f") as BASE, concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        os.chdir(BASE)
        BASE = "."
        faults = []
        for some, unknown in pool.map(lambda s: faults_of(s, every), wanted):
            faults += some
            wrong += unknown
        if not every:
            faults = selected(faults)
        for fault, words, result in pool.map(lambda f: attempt(f, rows), faults):
            if not reached(fault, result) and not RED.search(result.word):
                missed += 1
                continue
            results.append((fault, words, result))
            if not right(words, result) if not writes else RED.search(result.word):
                wrong.append("\t".join((fault.kind, fault.errno, fault.when, fault.scenario.name, result.word)) +
                             f"\n  {' '.join(fault.inject)}: the table says " + ("|".join(words) if words else "nothing") +
                             "".join("\n  | " + line for line in result.lines[:5]))
        os.chdir("/")
    if writes:
        write_table(results)
    print("\n".join(wrong), file=sys.stderr)
    words = collections.Counter(result.word for _, _, result in results)
    print(f"# {len(results)} faults in {len(wanted)} scenarios, {missed} not reached: " +
          ", ".join(f"{n} {word}" for word, n in words.most_common()), file=sys.stderr if writes else sys.stdout)
    return 1 if wrong else 0


WIDTH = 8   # many runs wait for something

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
