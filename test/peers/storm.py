#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""storm.py push|pull CONNECTIONS: fdserve and fdexec under fire.

Clients each send an id and want it back, while workers are killed with SIGKILL every 100 ms and
started again. The commands log each id. Prints one line of figures; status 0 if no connection was lost
(its id did not come back) and none was served twice (its id is logged more than once)."""
import asyncio, collections, os, signal, subprocess, sys, time

mode, total = sys.argv[1], int(sys.argv[2])
AT_ONCE, EVERY, WORKERS = 64, 0.1, 1 if mode == "push" else 4
COMMAND = ["sh", "-c", "read -r id && echo \"$id\" >>ids && echo \"$id\""]

open("ids", "w").close()
if os.path.exists("addr"):
    os.unlink("addr")
serve = ["fdserve", "-q", "-A", "addr", "-b", "4096", "127.0.0.1:0", "s"]
work = ["fdexec", "-q", "-j", "16", "s"] + COMMAND
if mode == "pull":
    serve.insert(1, "-l")
    work.insert(1, "-c")


def worker():
    return subprocess.Popen(work, stdin=subprocess.DEVNULL)


async def client(number, limit):
    async with limit:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"%d\n" % number)
            reply = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return reply == b"%d\n" % number
        except (OSError, asyncio.TimeoutError):
            return False


async def killer(workers, killed):
    while True:
        await asyncio.sleep(EVERY)
        workers[0].kill()
        workers[0].wait()
        workers.append(worker())
        workers.pop(0)
        killed.append(1)


async def main():
    workers, killed, limit = [worker() for _ in range(WORKERS)], [], asyncio.Semaphore(AT_ONCE)
    storm = asyncio.create_task(killer(workers, killed))
    answers = await asyncio.gather(*(client(n, limit) for n in range(total)))
    storm.cancel()
    for w in workers:
        w.terminate()
        w.wait()
    return answers.count(False), len(killed)


server = subprocess.Popen(serve, stdin=subprocess.DEVNULL)
while not os.path.exists("addr"):
    time.sleep(0.01)
port = int(open("addr").read().rsplit(":", 1)[1])
start = time.monotonic()
lost, killed = asyncio.run(main())
server.terminate()
status = server.wait()
logged = collections.Counter(open("ids").read().split())
twice = sum(1 for n in logged.values() if n > 1)
print(f"{mode}: {total} connections, {killed} workers killed, lost {lost}, twice {twice}, "
      f"logged {len(logged)}, {time.monotonic() - start:.1f} s")
sys.exit(lost != 0 or twice != 0 or len(logged) != total or status != 0 or killed == 0)
