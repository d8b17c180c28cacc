# SPDX-License-Identifier: ISC
"""What run and scale share: programs started and ended by pid, noise noticed, rounds, tables in Markdown.

A table is a list of rows, each a function that returns {column: number}. All rows are measured once a
round, every second round from the last to the first, so that a machine that drifts hits all alike. A
cell is the median of the rounds; a ratio is taken within each round first; the spread is half the range
over the median, of the first column."""
import argparse, contextlib, os, platform, random, resource, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["PATH"] += ":/usr/sbin:/sbin"
os.environ["LC_ALL"] = "C"


class Skip(Exception):
    """A row that cannot be measured here, and why."""


# ---- programs ----

def which(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"no {name}")
    return path


def output(argv, **more):
    """Run ARGV, which prints name=value words: {name: value}."""
    done = subprocess.run(argv, **{"stdin": subprocess.DEVNULL, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    if done.returncode:
        raise Skip(f"FAILED: {os.path.basename(argv[0])}: {(done.stderr.strip() or done.stdout.strip())[-200:]}")
    return {key: float(value) for key, value in (word.split("=") for word in done.stdout.split())}


def end(process):
    """End what we started, with its process group."""
    for sig, patience in (signal.SIGTERM, 3), (signal.SIGKILL, 3):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def program(*argv, at=None, **more):
    """ARGV, running; with AT, once it listens there."""
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more}
    process = subprocess.Popen([str(a) for a in argv], start_new_session=True, **files)
    try:
        if at:
            until(lambda: listening(at) or process.poll() is not None, f"{argv[0]}: does not listen at {at}")
        if process.poll() is not None:
            raise Skip(f"FAILED: {argv[0]} ended with {process.returncode}")
        yield process
    finally:
        end(process)


def until(condition, what, patience=30):
    limit = time.monotonic() + patience
    while not condition():
        if time.monotonic() > limit:
            raise Skip(f"FAILED: {what}")
        time.sleep(0.002)


def listening(at):
    if isinstance(at, str):
        with open("/proc/net/unix") as f:
            return any(line.endswith(" " + at + "\n") and " 00010000 " in line for line in f)
    for name in "/proc/net/tcp", "/proc/net/tcp6":
        with contextlib.suppress(FileNotFoundError), open(name) as f:
            if any(" 0A " in line and line.split()[1].endswith(f":{at:04X}") for line in f):
                return True
    return False


def port():
    """A free one, below those that clients get."""
    for _ in range(1000):
        number = random.randrange(15000, 32000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", number))
            return number
    raise Skip("no free port")


def memory(pid, key="Rss"):
    """KiB, exactly."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))


def cpu(pid):
    """Microseconds that process PID has used (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2) * 1e6


def opened(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# ---- the place: kits, floors, a directory ----

class Bench:
    def __init__(self, about, rounds):
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("-r", "--rounds", type=int, default=rounds)
        parser.add_argument("-b", "--build", default="/tmp", help="where to compile the floors to")
        parser.add_argument("-s", "--section", default="", help="only those whose title has this word")
        parser.add_argument("kit", nargs="+", metavar="NAME=BIN", help="a build of fdkit")
        self.args = parser.parse_args()
        self.kits = dict(kit.split("=", 1) for kit in self.args.kit)
        self.kits = {name: os.path.abspath(bin) for name, bin in self.kits.items()
                     if os.access(os.path.join(bin, "fdserve"), os.X_OK)}
        self.sections, self.notes = [], []
        self.noisy = self.measured = 0
        self.compile()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.nofile = limit if limit != resource.RLIM_INFINITY else 1 << 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.nofile, limit))

    def compile(self):
        """floor and load, static so that they cost least; and floor as programs usually are."""
        to = os.path.abspath(self.args.build)
        os.makedirs(to, exist_ok=True)
        cc = os.environ.get("CC", "cc")
        flags = ["-O2", "-std=c11", "-D_GNU_SOURCE"]
        self.floor, self.load, self.dynamic = (os.path.join(to, n) for n in ("floor", "load", "floor-dynamic"))
        subprocess.run([cc, *flags, "-o", self.dynamic, f"{HERE}/floor.c"], check=True)
        for self.libc in [f"{c} {f}".strip() for c in ("musl-gcc", cc) for f in ("-static", "") if shutil.which(c)]:
            if all(subprocess.run([*self.libc.split(), *flags, "-o", out, f"{HERE}/{name}.c"],
                                  stderr=subprocess.DEVNULL).returncode == 0
                   for out, name in ((self.floor, "floor"), (self.load, "load"))):
                return
        sys.exit("cannot compile floor.c and load.c")

    def path(self, name):
        return os.path.join(self.dir, name)

    def section(self, title, columns, rows, only=None, base=None):
        """COLUMNS: (key, heading, ratio to row BASE, or the first?); ROWS: (label, function). ONLY: so many rounds."""
        if self.args.section in title:
            self.sections.append((title, columns, rows, only, base or rows[0][0], {}))

    # ---- noise, rounds ----

    def quiet(self):
        """Nothing of ours runs: does anything else?"""
        before = sum(ticks())
        time.sleep(0.04)
        return sum(ticks()) - before <= 1

    def measure(self):
        self.began, stolen = time.monotonic(), ticks()[1]
        with tempfile.TemporaryDirectory(prefix="fdb") as self.dir:
            for number in range(self.args.rounds):
                for title, _, rows, only, _, values in self.sections:
                    progress(f"round {number + 1} of {self.args.rounds}: {title[:60]}")
                    if only is None or number < only:
                        self.one_round(number, rows, values)
        self.stolen = (ticks()[1] - stolen) * 1000 // os.sysconf("SC_CLK_TCK")
        progress("")

    def one_round(self, number, rows, values):
        calm = self.quiet()
        for label, function in rows if number % 2 == 0 else rows[::-1]:
            try:
                got = function()
            except (Skip, OSError, subprocess.SubprocessError) as e:
                note = f"{label}: {e}"
                if note not in self.notes:
                    self.notes.append(note)
                continue
            before, calm = calm, self.quiet()
            self.measured += 1
            self.noisy += not (before and calm)
            values.setdefault(label, {})[number] = (got, before and calm)

    # ---- the report ----

    def report(self):
        print(self.facts())
        for title, columns, rows, _, base, values in self.sections:
            print(f"\n{title}\n")
            heads = [""] + [h for _, heading, ratio in columns for h in ([heading, "×"] if ratio else [heading])] + ["spread"]
            lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
            lines += [self.line(label, columns, values[label], values.get(base, {})) for label, _ in rows if label in values]
            widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
            for line in lines:
                print("| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))) + " |")
        if self.notes:
            print("\nNot measured:\n")
            print("\n".join(f"- {note}" for note in self.notes))

    def line(self, label, columns, rounds, floor):
        calm = {n for n, (_, quiet) in rounds.items() if quiet}
        used = calm if 2 * len(calm) > len(rounds) else set(rounds)
        cells = [label + (" ~" if used - calm else "")]
        for key, _, ratio in columns:
            values = [rounds[n][0][key] for n in used if key in rounds[n][0]]
            cells.append(figure(statistics.median(values)) if values else "-")
            if ratio:
                both = [rounds[n][0][key] / floor[n][0][key] for n in used if key in rounds[n][0] and n in floor and floor[n][0].get(key)]
                cells.append(f"{statistics.median(both):.2f}" if both else "-")
        first = [rounds[n][0].get(columns[0][0], 0) for n in used]
        middle = statistics.median(first)
        return cells + [f"±{50 * (max(first) - min(first)) / middle:.0f} %" if middle else "-"]

    def facts(self):
        with open("/proc/cpuinfo") as f:
            text = f.read()
        model = next((line.split(": ")[1] for line in text.splitlines() if line.startswith("model name")), platform.machine())
        cc = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
        virtual = ", virtual" if " hypervisor" in text else ""
        lines = [
            f"{time.strftime('%Y-%m-%d')}: {model}, {os.cpu_count()} CPUs{virtual}; Linux {platform.release()}; {cc}; floors: {self.libc}; "
            f"at most {self.nofile} descriptors.",
            f"{self.args.rounds} rounds in {time.monotonic() - self.began:.0f} s, medians; × is the ratio to the row that has 1.00, "
            "in the same round; spread is half the range of the first column over its median.",
        ]
        if self.noisy:
            lines.append(f"Something else used the CPUs around {self.noisy} of {self.measured} measurements; "
                         "rows marked ~ could not do without those, and are not to be quoted.")
        if self.stolen:
            lines.append(f"The host took {self.stolen} ms of CPU time away.")
        return "\n".join(lines)


def ticks():
    """CPU time that was used, and that the host took away."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return v[0] + v[1] + v[2] + v[5] + v[6], v[7]


def progress(text):
    if sys.stderr.isatty():
        print("\r\033[K" + text, end="", file=sys.stderr, flush=True)


def figure(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"
