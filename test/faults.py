#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Let every system call of the tools fail, and judge the outcome: faults.py TABLE [SCENARIO...]

Each scenario runs one tool under strace(1) and its peers beside it. The first run records the tool's system calls.
Then there is a run for each call and errno, in which strace makes that call fail: the first of its kind (once),
the last (last, with FAULTS=all), or all from the first on (always). strace counts each process for itself.

An outcome is one word (allowed() says which faults may lead to which):
  fine       all is done, and nothing shows
  said       all is done, and a line says what happened
  125        the tool ends with this status and a line; 126, 127: with a line that names COMMAND
  one fails  a service: a client or a line reports the failure, and the next client is served
  all fail   a service: the same for every client as long as the fault lasts
  waits      the tool waits as long as the fault lasts, with pauses, and a signal ends it
  deaf       the same, but poll(2) itself fails, and the tool notices no signal
  sigpipe    the tool dies of SIGPIPE, as cat would
Words in capitals are wrong:
  HANG       the tool does not end after a signal, or serves others and leaves a client without an answer
  SPIN       the tool makes far more calls than without the fault
  CRASH      the tool dies of a signal of its own
  SILENT     the tool fails and prints no line TOOL: OBJECT: REASON
  LOST       a descriptor is lost, and neither the tool nor its peer reports it
  LEFT       the tool has ended, and a file or a process of its own remains
  STATUS     the exit status is one that no manual page has
TABLE has the exceptions, each with its reason.

FAULTS=all tries every errno, the last calls and every single allocation, in every scenario. Without it a scenario
tries the faults that no scenario of the same tool has tried before, and each of its calls once.
"""
import collections
import concurrent.futures
import fnmatch
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# How each call can fail, by its manual page. The first errno of a line is always tried once, as are those with *.
# +: also from now on for good; not where the kernel cannot repeat a fault (an aborted connection, an interrupted call).
# =: nothing may show, for there is another way, or another try; the same holds for every EINTR.
FAILURES = {
    "accept4": "EMFILE+ ENFILE+ ENOBUFS+ ENOMEM+ ECONNABORTED*= EPERM EAGAIN*= EINTR*",
    "access": "EACCES+ ENOMEM",
    "bind": "EACCES+ EADDRINUSE+* ENOMEM+ ENOSPC+ EROFS+",
    "connect": "ECONNREFUSED+ EAGAIN*= EINTR* EACCES+ ENOENT",
    "dup": "EMFILE+ EBADF",
    "epoll_create1": "EMFILE+ ENOMEM+",
    "epoll_ctl": "ENOSPC+ ENOMEM+ EPERM",
    "epoll_wait": "EINTR",
    "execve": "EACCES+ ENOENT+* ENOMEM+ E2BIG+ ETXTBSY",
    "fchmod": "EPERM+ EROFS+",
    "fcntl(F_DUPFD_CLOEXEC)": "EMFILE+",
    "fcntl(F_GETFL)": "EBADF",
    "fcntl(F_GETPIPE_SZ)": "EBADF=",
    "fcntl(F_SETPIPE_SZ)": "EPERM+= ENOMEM+=",
    "flock": "EAGAIN* ENOLCK+",
    "fork": "EAGAIN+ ENOMEM+",
    "getdents64": "ENOMEM+",
    "getpeername": "ENOTCONN+ ENOBUFS+",
    "getsockname": "ENOBUFS+",
    "getsockopt": "ENOPROTOOPT+ ENOMEM",
    "getsockopt(SO_PEERCRED)": "ENOTCONN+",
    "ioctl": "ENOTTY+= EIO",
    "kill": "ESRCH=",
    "listen": "EADDRINUSE+ ENOBUFS",
    "lseek": "ESPIPE+=",
    "memory": "ENOMEM+",
    "nanosleep": "EINTR*",
    "openat": "EMFILE+ ENFILE+ EACCES+* ENOMEM",
    "pidfd_getfd": "EPERM+ EMFILE+ EBADF",
    "pidfd_open": "ESRCH EMFILE+* ENOSYS+",
    "pipe": "EMFILE+ ENFILE+",
    "poll": "EINTR ENOMEM+*",
    "prlimit64(set)": "EPERM",
    "read": "EIO EINTR* EAGAIN=",
    "read(signalfd)": "EINTR EAGAIN=",
    "recvfrom": "ECONNRESET EAGAIN*= EINTR* ENOMEM*",
    "recvmsg": "ECONNRESET EAGAIN*= EINTR* ENOMEM+* ENOBUFS",
    "rename": "EACCES+ ENOSPC",
    "rt_sigtimedwait": "EAGAIN= EINTR",
    "sendmsg": "EPIPE+ EAGAIN*= EINTR* ENOBUFS+ ENOMEM+* EPERM+ ETOOMANYREFS+* ECONNRESET",
    "sendto": "EPIPE+ EAGAIN* ECONNREFUSED ENOENT ENOBUFS",
    "setsid": "EPERM+",
    "setsockopt": "ENOMEM+",
    "shutdown": "ENOTCONN+",
    "signalfd4": "EMFILE+ ENOMEM+",
    "socket": "EMFILE+ ENFILE+ ENOBUFS+ ENOMEM EACCES+",
    "socketpair": "EMFILE+ ENFILE+",
    "splice": "EINVAL+= EAGAIN*= EINTR* EPIPE* EIO* ENOMEM+",
    "stat": "ENOMEM+ EACCES+*",
    "unlink": "EACCES+ EROFS ENOENT",
    "wait": "EINTR ECHILD",
    "write": "EIO EAGAIN EINTR* ENOSPC* EPIPE*",
}
UNKNOWN = "EPERM+"  # any other call, as a filter of seccomp(2) rejects it

# Nobody's fault, but a shortage that may pass: a tool may wait for that.
SHORTAGE = {"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSPC", "ETOOMANYREFS", "EAGAIN"}

# Not made to fail:
CANNOT = set("""
    exit_group getpid getppid gettid geteuid getuid getegid getgid umask rt_sigprocmask rt_sigaction rt_sigreturn
    restart_syscall setitimer getrandom prctl clock_gettime futex prlimit64(get) munmap mprotect madvise
    """  # these do not fail with right arguments (their manual pages);
    "close close_range "                         # kernel: closed whatever it returns, and strace would leave it open;
    "fcntl(F_GETFD) fcntl(F_SETFD) fcntl(F_SETFL) "  # kernel: they fail for a descriptor that is not open, and for no other;
    "write(2) "                                  # without it nothing can be said, and nothing heard;
    "brk mmap mremap".split())                   # malloc(3) uses these: see memory_faults().

SAME = {
    "newfstatat": "stat", "fstat": "stat", "lstat": "stat", "statx": "stat", "vfork": "fork", "clone": "fork", "clone3": "fork",
    "ppoll": "poll", "dup2": "dup", "dup3": "dup", "clock_nanosleep": "nanosleep", "wait4": "wait", "waitid": "wait",
    "faccessat2": "access", "faccessat": "access",
    "unlinkat": "unlink", "renameat": "rename", "renameat2": "rename", "open": "openat", "pipe2": "pipe",
    "epoll_pwait": "epoll_wait", "writev": "write",
}

WORD = {"fcntl": r"\b(F_\w+)", "getsockopt": r"\b(SO_\w+|TCP_\w+|IPV6_\w+)", "setsockopt": r"\b(SO_\w+|IPV6_\w+)",
        "ioctl": r"\b(TIOC\w+|TCGETS|FION\w+|SIOC\w+)", "socket": r"\bAF_(\w+)", "write": r"^(2),", "openat": r"(/dev/null|O_DIRECTORY|O_CREAT)",
        "fork": r"flags=(CLONE_FILES)"}


def kind_of(name, args):
    """The name of a call in FAILURES: one for the forms of it, with the word that says what it is about."""
    name = SAME.get(name, name)
    if name == "read" and args.endswith(", 128) = 128"):
        return "read(signalfd)"
    if name == "prlimit64":
        return "prlimit64(get)" if re.match(r"\d+, \w+, NULL", args) else "prlimit64(set)"
    found = name in WORD and re.search(WORD[name], args)
    return f"{name}({found.group(1)})" if found else name


def failures_of(kind, every):
    """(errno, always, harmless) for each way in which a call of KIND can fail."""
    words = FAILURES.get(kind, FAILURES.get(kind.split("(")[0], UNKNOWN)).split()
    for i, word in enumerate(words):
        if every or i == 0 or "*" in word:
            yield re.sub(r"\W", "", word), "+" in word and (every or i == 0 or kind == "poll"), \
                "=" in word or word.startswith("EINTR")


LIMIT = 8.0    # seconds for what is to come
QUIET = 0.7    # for what an enduring fault may prevent, and at least so many times what the scenario takes without one
TIMES = 3
WIDTH = 8      # runs at a time: many wait for something
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
        self.env = dict(os.environ, LC_ALL="C", **env)
        self.dir = tempfile.mkdtemp(prefix="r", dir=BASE)
        self.processes, self.t, self.echoed, self.stale = [], None, "", None
        self.deaf = any("poll:error=ENOMEM" in i and "+" in i for i in inject) # it cannot wait for signals either
        for name, text in ("notes", LINE), ("trace", ""):
            with open(self.path(name), "w") as f:
                f.write(text)

    def path(self, name):
        return os.path.join(self.dir, name)

    def read(self, name):
        try:
            with open(self.path(name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def printed(self):
        """How often somebody has printed the notes: COMMAND, or a peer that got them."""
        return sum(self.read(name).count(LINE) for name in os.listdir(self.dir) if name.startswith("out"))

    def start(self, argv, stdin=None, out=None, name=None, env=(), fds=()):
        """STDIN and OUT: open files, which are closed here; the notes and a file of its own unless given."""
        name = name or f".{len(self.processes) + 1}"
        files = [stdin or open(self.path("notes")), out or open(self.path("out" + name), "a"), open(self.path("err" + name), "a")]
        p = subprocess.Popen(argv, cwd=self.dir, stdin=files[0], stdout=files[1], stderr=files[2],
                             env=dict(self.env, **dict(env)), pass_fds=fds, start_new_session=True)
        for f in files:
            f.close()
        p.out = "out" + name
        self.processes.append(p)
        return p

    def tool(self, command, with_3=False, **kw):
        """The tool in question. strace is not in between (-D), and follows no command (-b execve)."""
        self.argv = shlex.split(command)
        follow = [] if any("execve" in i for i in self.inject) else ["-b", "execve"]
        shell = ["/bin/sh", "-c", 'exec "$@" 3<notes', "-"] if with_3 else []
        self.t = self.start([*shell, "strace", "-D", "-q", "-f", *follow, "-s", "32", "-o", "trace", *self.inject, *self.argv],
                            name=".tool", **kw)

    def peer(self, command, **kw):
        """Another process; the descriptor {R}, where its words have that, tells when it is ready, which is waited for."""
        if "{R}" not in command:
            return self.start(shlex.split(command), **kw)
        r, w = os.pipe()
        p = self.start(shlex.split(command.replace("{R}", str(w))), fds=(w,), **kw)
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

    def client(self, command, want=None, proof=None, **kw):
        """One of our tools as a client, with -t: an answer in a word."""
        tool, words = command.split(" ", 1)
        p = self.start([tool, "-t", str(self.limit), "-w", str(self.limit), *shlex.split(words)], **kw)
        until(lambda: self.status(p) is not None or not self.alive(), self.limit + 1) # without the tool it need not end
        if self.status(p) in (None, 124):
            return "none"
        if self.status(p) != 0:
            return "told"
        good = (lambda: self.read(p.out) == want) if want is not None else proof or (lambda: True)
        return "ok" if not self.scenario.service or until(good, self.limit if self.alive() else 0.3) else "lost"

    def receive(self, sock):
        """All that comes of SOCK; None if it does not end."""
        got, end = "", time.monotonic() + self.limit
        sock.settimeout(0.05)
        while time.monotonic() < end:
            try:
                data = sock.recv(100)
            except TimeoutError:
                if self.status(self.t): # it failed, and nothing comes
                    return got
                continue
            except ConnectionError:
                return got
            if not data:
                return got
            got += data.decode()
        return None

    def close(self):
        for p in self.processes:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except PermissionError:
                pass
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


# ---- scenarios ----

SCENARIOS = {}


class Scenario:
    """TOOL and its standing PEERS are command lines, or functions that start them; AFTER is a peer that comes when the tool is
    there, CLIENT one that is waited for, again and again to a service. A tool that does one thing and ends with 0 must make
    PROOF true. A service whose end is COMMAND's own ENDS with it. The tool makes, and removes, files whose names begin with a word of OWNS. Its lines may name OBJECTS, too."""

    def __init__(self, name, tool, *peers, after=None, client=None, proof=Box.printed, service=False, ends=False, owns="", objects=()):
        self.name, self.client, self.proof = name, client, proof
        self.service, self.ends, self.owns, self.objects = service, ends, owns.split(), objects
        self.tool, self.peers, self.after = tool, peers, after
        SCENARIOS[name] = self

    def start(self, b):
        for peer in self.peers:
            peer(b) if callable(peer) else b.peer(peer)
        self.tool(b) if callable(self.tool) else b.tool(self.tool)
        if self.after:
            b.peer(self.after)


def takes(words, want=LINE):
    """A client that connects to the tool, and prints what it gets."""
    return lambda b: b.client("fdrecv -c -q " + words, want)


def gives(words):
    """A client that connects to the tool, which prints what it gets."""
    def client(b, **kw):
        before = b.printed()
        return b.client("fdsend " + words, proof=lambda: b.printed() > before, **kw)
    return client


def tcp(b):
    """A client of fdserve, whose address -A tells."""
    read = []
    until(lambda: read.append(b.read("addr").strip()) or read[-1] or not b.alive(), LIMIT)
    host, _, port = read[-1].rpartition(":")
    if not port:
        return "none" if b.alive() else "lost"
    try:
        with socket.create_connection((host, int(port)), b.limit) as sock:
            got = b.receive(sock)
    except ConnectionError:
        return "lost"
    except TimeoutError:
        return "none"
    return "none" if got is None else "ok" if got == LINE else "lost"


def replaced(b):
    """A client, and then a HUP, which is over when the next COMMAND has begun, or a line says why not."""
    answer = tcp(b)
    if answer == "ok":
        before = b.read("starts"), len(news(b))
        os.kill(b.t.pid, signal.SIGHUP)
        until(lambda: (b.read("starts"), len(news(b))) != before or not b.alive(), b.limit)
    return answer


def long_path(b):
    os.mkdir(b.path(LONG))


def store(b):
    """One that holds a and b."""
    b.peer("fdhold -q -R {R} s")
    for name in ("a", "b"):
        subprocess.run(["fdsend", "s", name + "=0"], cwd=b.dir, stdin=open(b.path("notes")), check=True)


def keeps(b):
    """Put, get, list, drop; the one name each time, so that what is not dropped is in the way."""
    name = f"n{len(b.processes)}"
    for command, want in ((f"fdsend s {name}=0", ""), (f"fdrecv -c -f {name}=0 s /bin/cat", None),
                          ("fdhold --list s", None), (f"fdhold --drop {name} s", "")):
        said = b.client(command, want)
        if said != "ok":
            return said
    return "ok"


def sends_of_another(b):
    b.tool(f"fdsend -p {b.peer('/bin/sleep 60').pid} s 0")


def sends_on_a_pair(b):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        b.peer(f"fdrecv -i fd:{theirs.fileno()} /bin/cat", fds=(theirs.fileno(),))
        b.tool(f"fdsend fd:{ours.fileno()}", fds=(ours.fileno(),))


def relays(words, kind="stream"):
    """The notes' descriptor goes from one side to the other, which prints them."""
    def start(b):
        ours, theirs = socket.socketpair(socket.AF_UNIX, {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}[kind])
        with ours:
            b.tool("fdrelay " + words, stdin=theirs)
            b.peer(f"fdsend -T {kind} fd:{ours.fileno()} 0", fds=(ours.fileno(),))
    return start


def stale(b):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b.path("s"))
        b.stale = os.lstat(b.path("s")).st_ino


def copies_to_pipe(b):
    r, w = os.pipe()
    b.peer("/bin/cat", stdin=os.fdopen(r))
    b.tool("fdrecv s", out=os.fdopen(w, "w"))


def gives_pipe(b):
    r, w = os.pipe()
    os.write(w, LINE.encode())
    os.close(w)
    return gives("s")(b, stdin=os.fdopen(r))


def gives_socket(b):
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(LINE.encode())
        ours.shutdown(socket.SHUT_WR)
        said = gives("s")(b, stdin=theirs)
        b.echoed = b.receive(ours)
    return said


LONG = "d" * 100
IS_FILE = "/bin/sh -c 'test -f /dev/stdin && echo pears'"  # the offset of what a service gives is everybody's
COUNT = "/bin/sh -c 'echo $LISTEN_FDS'"
LEAVES = "exec >&- 2>&-; trap \"\" TERM; exec sleep 60'"    # and runs on
KEPT = r"""/bin/sh -c 'trap "kill \$!; exit 0" TERM; fdserve -q fd:3 -- /bin/echo pears &
	notify.py $NOTIFY_SOCKET "READY=1\nFDSTORE=1" notes; echo >>starts; wait'"""
RECEIVE = "fdrecv -R {R} "
SERVE = "fdserve --ack-timeout 2s -A addr "
WORKER = "fdexec -q -R {R} w /bin/echo pears"

Scenario("fdsend", "fdsend s", RECEIVE + "-i s /bin/cat")
Scenario("fdsend-names", "fdsend s a=0 b=1", RECEIVE + "-f b=4,a=0 s /bin/cat")
Scenario("fdsend-many", "fdsend s" + 300 * " 0", RECEIVE + "-f 0 s /bin/cat")
Scenario("fdsend-one-each", "fdsend -1 s 0 0", RECEIVE + "-N 2 -f 0,5 s /bin/cat")
Scenario("fdsend-pid", sends_of_another, RECEIVE + "-i s /bin/cat")
Scenario("fdsend-dgram", "fdsend -T dgram s", RECEIVE + "-T dgram -i s /bin/cat")
Scenario("fdsend-seqpacket", "fdsend -T seqpacket s", RECEIVE + "-T seqpacket -i s /bin/cat")
Scenario("fdsend-fd", sends_on_a_pair)
Scenario("fdsend-exec", "fdsend 'exec:fdrecv -i fd:0 /bin/cat'")
Scenario("fdsend-long-path", f"fdsend {LONG}/s", long_path, RECEIVE + f"-i {LONG}/s /bin/cat")
Scenario("fdsend-l", "fdsend -l s", client=takes("-i s /bin/cat"), owns="s")
Scenario("fdsend-l-stale", "fdsend -l s", stale, client=takes("-i s /bin/cat"), owns="s")
Scenario("fdsend-lk", "fdsend -l -k s", client=takes("-i s " + IS_FILE), service=True, owns="s")
Scenario("fdrecv", "fdrecv -i s /bin/cat", client=gives("s"), owns="s")
Scenario("fdrecv-names", "fdrecv -f a=0,b=4 s /bin/cat", client=gives("s b=1 a=0"), owns="s")
Scenario("fdrecv-N", "fdrecv -N 3 -f 0,4,3 s /bin/cat", client=gives("-1 s 0 0 0"), owns="s")
Scenario("fdrecv-dgram", "fdrecv -T dgram -i s /bin/cat", client=gives("-T dgram s"), owns="s")
Scenario("fdrecv-long-path", f"fdrecv -i {LONG}/s /bin/cat", long_path, client=gives(LONG + "/s"), owns=LONG + "/s")
Scenario("fdrecv-copy-file", "fdrecv s", client=gives("s"), owns="s")
Scenario("fdrecv-copy-file-to-pipe", copies_to_pipe, client=gives("s"), owns="s")
Scenario("fdrecv-copy-pipe", "fdrecv s", client=gives_pipe, owns="s")
Scenario("fdrecv-copy-socket", "fdrecv s", client=gives_socket, proof=lambda b: b.printed() and b.echoed == LINE, owns="s")
Scenario("fdrecv-c", "fdrecv -c -i s /bin/cat", "fdsend -R {R} -l -k s")
Scenario("fdrecv-exec", "fdrecv -i 'exec:fdsend fd:1 3 3<notes' /bin/cat")
Scenario("fdrecv-all", "fdrecv -c --all s /bin/sh -c 'exec /bin/cat <&3'", store)
Scenario("fdrecv-asks", "fdrecv -c -f a=0 s /bin/cat", store)
Scenario("fdhold-list", "fdhold --list s", store, proof=lambda b: b.read("out.tool").startswith("a\t"))
Scenario("fdhold-drop", "fdhold --drop a s", store, proof=lambda b: True)
Scenario("fdhold", "fdhold -A addr s web=127.0.0.1:0", client=keeps, service=True, owns="s addr")
Scenario("fdhold-adopts", lambda b: b.tool("fdhold s", env={"LISTEN_FDS": "1", "LISTEN_FDNAMES": "old"}, with_3=True),
         client=takes("-f old=0 s " + IS_FILE), service=True, owns="s", objects=("old", "fd3"))
Scenario("fdhold-command", "fdhold -A addr s web=127.0.0.1:0 -- /bin/sh -c 'trap \"exit 0\" TERM; while sleep 0.02; do :; done'",
         client=keeps, service=True, ends=True, owns="s addr")
Scenario("fdexec", "fdexec -i s /bin/cat", client=gives("s"), service=True, owns="s")
Scenario("fdexec-names", "fdexec -i s /bin/cat", client=gives("s a=0"), service=True, owns="s")
Scenario("fdexec-drain", "fdexec --drain 100ms -i s /bin/sh -c '/bin/cat; " + LEAVES, client=gives("s"), service=True, owns="s")
Scenario("fdexec-S", "fdexec -S 3 /bin/sh -c 'exec /bin/cat <&3 >&3'")
Scenario("fdexec-serve", "fdexec s /bin/echo pears", after=SERVE + "-q 127.0.0.1:0 s", client=tcp, service=True, owns="s")
Scenario("fdexec-c", "fdexec -c s /bin/echo pears", SERVE + "-q -R {R} -l 127.0.0.1:0 s", client=tcp, service=True)
Scenario("fdserve", SERVE + "127.0.0.1:0 w", WORKER, client=tcp, service=True, owns="addr")
Scenario("fdserve-P", "fdserve -P -A addr 127.0.0.1:0 w", WORKER, client=tcp, service=True, owns="addr")
Scenario("fdserve-l", SERVE + "-l 127.0.0.1:0 w", after="fdexec -q -c w /bin/echo pears", client=tcp, service=True, owns="w addr")
Scenario("fdserve-command", "fdserve -C 9 -A addr 127.0.0.1:0 -- /bin/echo pears", client=tcp, service=True, owns="addr")
Scenario("fdserve-L-command", "fdserve -L -A addr 127.0.0.1:0 -- /bin/sh -c 'echo $LISTEN_FDS $FDKIT_FDS'",
         proof=lambda b: b.read("out.tool") == "1 3\n" and b.read("addr"))
Scenario("fdserve-L-k", "fdserve -L -k -A addr 127.0.0.1:0 -- " + KEPT, client=replaced, service=True, ends=True, owns="addr")
Scenario("fdserve-lease", "fdserve --lease -A addr 127.0.0.1:0 -- /bin/sh -c 'exec fdserve -q $HOST:$PORT -- /bin/echo pears'",
         client=tcp, service=True, ends=True, owns="addr")
Scenario("fdserve-drain", "fdserve --drain 100ms -A addr 127.0.0.1:0 -- /bin/sh -c 'echo pears; exec <&-; " + LEAVES,
         client=tcp, service=True, owns="addr")
Scenario("fdserve-L-socket", "fdserve -L -A addr 127.0.0.1:0 s", RECEIVE + "s " + COUNT, proof=lambda b: b.read("out.1") == "1\n")
Scenario("fdserve-L-l", "fdserve -L -l 127.0.0.1:0 s", client=takes("s " + COUNT, "1\n"), service=True, owns="s")
Scenario("fdrelay", relays("s"), RECEIVE + "-i s /bin/cat")
Scenario("fdrelay-seqpacket", relays("s", "seqpacket"), RECEIVE + "-T seqpacket -i s /bin/cat")
Scenario("fdrelay-exec", relays("'exec:fdrecv -i fd:0 /bin/cat >out.exec'"))
Scenario("fdrelay-v", relays("-v s"), RECEIVE + "-i s /bin/cat")


# ---- one run, and its outcome ----

Result = collections.namedtuple("Result", "word tool lines calls trace seconds")

CRASH = r"SIG(SEGV|ABRT|BUS|ILL|FPE|TRAP)"


def said(b):
    """The lines by which the tool names an object and the reason."""
    words = [w for word in b.argv[1:] for w in (word, word.rpartition("=")[0], word.rpartition("=")[2]) if w]
    words += [*b.scenario.objects, "0", "ADDRESS", "standard input", "standard output", "fd", "process", "/dev/null"]
    objects = "|".join(map(re.escape, words))
    return [line for line in b.read("err.tool").splitlines() if re.match(rf"{b.argv[0]}: ({objects})(?!\w).*?: .", line + " ")]


def news(b):
    return [line for line in said(b) if not re.search("ended by SIG|waiting for|sent (TERM|KILL) to", line)]


def judge_end(b, status):
    """The tool has ended by itself."""
    if status == -signal.SIGPIPE:
        return "sigpipe"
    if status < 0:
        return "CRASH"
    if status == 0 and b.scenario.service:
        return "SILENT"
    if status == 0:
        return ("said" if news(b) else "fine") if until(lambda: b.scenario.proof(b), LIMIT) else "LOST"
    lines = said(b)
    if status not in (124, 125, 126, 127) or lines and status > 125 and ": /bin/" not in lines[-1]:
        return f"STATUS {status}"
    return str(status) if lines else "SILENT"


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
    """Clients come one after another; when the calls are recorded fewer, so that no fault is the last one's. Two more
    come to see whether the failure of the last was the last failure."""
    answers, last = [], "ok"
    while len(answers) < (3 if b.inject else 2) + 2 * (last != "ok") and b.alive() and last != "none":
        last = b.scenario.client(b)
        answers.append(last)
    if last == "lost": # since the tool is about to end?
        until(lambda: not b.alive(), 0.5)
    if not b.alive():
        return judge_end(b, b.status(b.t))
    status = stop(b)
    if status is None:
        return "HANG"
    if "lost" in answers and not news(b):
        return "LOST"
    if status != 0:
        return f"STATUS {status}" if said(b) else "SILENT"
    if last == "none":
        return "waits"
    if last != "ok":
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


def all_ended(b):
    """Has each process of the tool ended, or become COMMAND?"""
    trace = b.read("trace")
    return set(re.findall(r"^\d+", trace, re.M)) == set(re.findall(r"^(\d+) +(?:\+\+\+.*|execve\(.*<(?:detached|unfinished) \.\.\.>)$", trace, re.M))


def left(b):
    """Is there a file of the tool's own, other than the one before?"""
    for start in map(b.path, b.scenario.owns):
        where, name = os.path.split(start)
        for entry in os.scandir(where) if os.path.isdir(where) else ():
            if entry.name.startswith(name) and entry.inode() != b.stale:
                return True
    return False


def run(scenario, inject=(), env=(), limit=LIMIT, most=None):
    b = Box(scenario, inject, dict(env), limit, most)
    begun = time.monotonic()
    try:
        scenario.start(b)
        try:
            word = run_service(b) if scenario.service else run_once(b)
        except Spin:
            word = "SPIN"
        if word == "HANG" and b.deaf:
            word = "deaf"
        ended = word in ("HANG", "SPIN", "deaf") or until(lambda: all_ended(b), LIMIT)
        trace = joined(b.read("trace"))
        if any(re.search("killed by " + CRASH, line) for line in trace):
            word = "CRASH"
        if not ended or word not in ("HANG", "SPIN", "deaf") and left(b):
            word += " LEFT"
        return Result(word, b.argv[0], b.read("err.tool").splitlines(), len(trace), trace, time.monotonic() - begun)
    finally:
        b.close()


# ---- the faults to try ----

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


Fault = collections.namedtuple("Fault", "scenario kind errno when harmless inject env normal")


def memory_faults(scenario, every):
    """Each malloc(3) of its own: glibc is told to ask the kernel for every one, and asks four times
    before it gives up."""
    normal = run(scenario, env=MALLOC)
    before = startup(normal.tool, MALLOC)
    last = targets(normal.trace, before).get(("mmap", "mmap"), (0, 0))[1]
    first = before["mmap"] + 1
    heap = [f"-einject=brk:error=ENOMEM:when={before['brk'] + 1}+", "-einject=mremap:error=ENOMEM"]
    places = [("once", f"{n}..{n + 3}") for n in range(first, last + 1) if every or n in (first, (first + last) // 2, last)]
    for when, where in places + ([("always", f"{first}+")] if places else []):
        yield Fault(scenario, "memory", "ENOMEM", when, False, [f"-einject=mmap:error=ENOMEM:when={where}", *heap], MALLOC, normal)


def faults_of(scenario, every):
    """The faults to try; or a line that says why the scenario cannot be tried."""
    normal = run(scenario)
    if normal.word not in ("fine", "said"):
        return [], [f"{scenario.name}: without a fault: {normal.word}: " + " ".join(normal.lines)]
    faults, seen = [], set()
    for (kind, name), (first, last) in sorted(targets(normal.trace, startup(normal.tool, {})).items()):
        if kind in CANNOT or name in CANNOT:
            continue
        for errno, lasting, harmless in failures_of(kind, every):
            for when, where in (("once", f"{first}"), ("last", f"{last}"), ("always", f"{first}+")):
                inject = f"-einject={name}:error={errno}:when={where}"
                if inject in seen or (when == "always" and not lasting) or (when == "last" and not every):
                    continue
                seen.add(inject)
                faults.append(Fault(scenario, kind, errno, when, harmless, [inject], {}, normal))
    return faults + list(memory_faults(scenario, every)), []


def selected(faults):
    """What is the first of its kind for a tool, and each call's first way to fail, once."""
    tried, failed = set(), set()
    for f in faults:
        way, call = (f.normal.tool, f.kind, f.errno, f.when), (f.scenario, f.kind)
        if way not in tried or call not in failed:
            yield f
        tried.add(way)
        failed.add(call)


# ---- which outcome is right ----

def strike(fault, result):
    """None if the call came no more, or another one of its name was first. Otherwise (waited, child): whether the tool had
    waited for something before, and whether a process that the tool started was hit."""
    tool, waited, first, hit = result.trace[0].partition(" ")[0], False, None, set()
    for found in filter(None, map(CALL.match, result.trace)):
        pid, name, args = found.groups()
        if args.endswith("(INJECTED)") and (fault.kind != "memory" or name == "mmap"):
            first = first or ("memory" if fault.kind == "memory" else kind_of(name, args), waited)
            hit.add(pid)
        waited = waited or (pid == tool and SAME.get(name, name) in ("poll", "epoll_wait"))
    return (first[1], hit != {tool}) if first and first[0] == fault.kind else None


def allowed(fault, waited, child):
    """The outcomes that are right for FAULT, unless an exception has others."""
    if fault.harmless:
        return {"fine"}
    words, service = {"fine", "said"}, fault.scenario.service
    lasts = fault.when == "always" or child # each process has its first call again
    if not (service and waited) or fault.scenario.ends: # nothing else ends a service that has begun
        words.add("127" if fault.kind == "execve" and fault.errno == "ENOENT" else "126")
        words |= set() if fault.kind in ("execve", "dup") else {"125"}
    if service:
        words.add("one fails")
    if service and (lasts or fault.kind == "memory"): # see memory_faults()
        words.add("all fail")
    if lasts and fault.errno in SHORTAGE:
        words |= {"waits", "deaf"} if fault.kind == "poll" else {"waits"}
    if fault.errno == "EPIPE":
        words.add("sigpipe")
    if fault.kind in ("stat", "unlink"): # it cannot tell its socket file from others', or not remove it
        words |= {word + " LEFT" for word in words}
    return words


Exception_ = collections.namedtuple("Exception_", "line patterns words")


def parse_table(path):
    rows = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 6:
                    raise SystemExit(f"{path}:{number}: six fields, with a tab between them")
                rows.append(Exception_(f"{path}:{number}", [field.split(",") for field in fields[:4]], fields[4].split("|")))
    return rows


def exception(rows, fault):
    """The first row that fits."""
    values = (fault.kind, fault.errno, fault.when, fault.scenario.name)
    return next((row for row in rows if all(any(fnmatch.fnmatchcase(v, p) for p in ps)
                                            for v, ps in zip(values, row.patterns))), None)


def attempt(fault, rows):
    """(fault, result, the right outcomes, the exception that was needed); the outcomes are None for a fault that did not
    strike. An enduring fault may keep the tool waiting: a short time first, and all of it only if the outcome is wrong."""
    short = max(QUIET, TIMES * fault.normal.seconds)
    for limit in (min(short, LIMIT), LIMIT) if fault.when == "always" else (LIMIT,):
        result = run(fault.scenario, fault.inject, fault.env, limit, 10 * fault.normal.calls + 2000)
        struck, row = strike(fault, result), exception(rows, fault)
        if not struck and not re.search("[A-Z]{4}", result.word):
            return fault, result, None, None
        words = allowed(fault, *struck) if struck else set()
        if result.word in words:
            return fault, result, words, None
        if row and result.word in row.words:
            return fault, result, words, row
    return fault, result, words | set(row.words if row else ()), None


def main(table, *names):
    global BASE
    rows, every = parse_table(table), os.environ.get("FAULTS") == "all"
    wanted = [s for s in SCENARIOS.values() if not names or any(fnmatch.fnmatchcase(s.name, n) for n in names)]
    wrong, faults, outcomes, needed, missed = [], [], collections.Counter(), set(), 0
    with tempfile.TemporaryDirectory(prefix="f") as BASE, concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        os.chdir(BASE)
        BASE = "."
        for some, impossible in pool.map(lambda s: faults_of(s, every), wanted):
            faults += some
            wrong += impossible
        for fault, result, words, row in pool.map(lambda f: attempt(f, rows), faults if every else selected(faults)):
            if words is None:
                missed += 1
                continue
            outcomes[result.word] += 1
            if row:
                needed.add(row.line)
            elif result.word not in words:
                wrong.append("\t".join((fault.kind, fault.errno, fault.when, fault.scenario.name, result.word)) +
                             f"\n  {' '.join(fault.inject)}: right is " + ", ".join(sorted(words)) +
                             "".join("\n  | " + line for line in result.lines[:5]))
        os.chdir("/")
    for row in rows if every and not names else ():
        if row.line not in needed:
            print(f"# {row.line}: no fault needed this exception")
    print("\n".join(wrong), file=sys.stderr)
    print(f"# {sum(outcomes.values())} faults in {len(wanted)} scenarios, {missed} not reached: " +
          ", ".join(f"{n} {word}" for word, n in outcomes.most_common()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
