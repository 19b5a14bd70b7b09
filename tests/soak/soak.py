#!/usr/bin/python3
"""A device under the load of many clients, for an hour, while its server is killed again and again.

    tests/soak/soak.py [--minutes 60] [--clients 64] [--depth 64] [--kill-every 60] [--seed N]
                       [--plant lost-write|corrupt] [--json FILE]

Each client writes, zeroes, flushes and reads stamped blocks in a region of its own, over NBD, and
knows what was acknowledged (ledger.py). Every --kill-every seconds the server dies by SIGKILL and
is recovered, but in the last tenth of the time, in which its memory is judged; one more client
sends half a request and never reads; at a third and at two thirds of the time the image's
filesystem, a small one of its own, is full for a while. At the end every block is read from the
image itself.

A line a minute; at the end one object of JSON. Exit code 0: nothing lost, nothing corrupt, no error
but ENOSPC, no memory that grows. --plant damages one acknowledged block of the image before the
last look, which must be found: proof that the soak can fail. Without root there is no filesystem of
its own, and no full disk. RINGLOOP names the program.
"""

import argparse
import json
import os
import pathlib
import select
import shutil
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(1, str(HERE))

import device as under_test
from client import Client
from ledger import BLOCK_BYTES, ZEROES, stamped

BLOCKS_A_CLIENT = 256
SPARE_BYTES = 16 << 20  # of the filesystem, beside the image
MINUTE_S = 60
SAMPLE_S = 1
DRAIN_LIMIT_S = 60
SHOWN_MAX = 20
IN_A_NAMESPACE = "RINGLOOP_SOAK_IN_A_NAMESPACE"
# Of one life of a server: enough to tell what grows from what is touched for the first time, as the
# buffers of clients are in the first minute.
SAMPLES_JUDGED_MIN = 90
QUIET_END = 0.1  # of the time: the last life is long enough to be judged
SERVER_KIB, CLIENT_KIB = 16 << 10, 6 << 10  # what ARCHITECTURE.md promises, and some
GROWTH_ALLOWED = 1.15
GROWTH_ALLOWED_KIB = 2048


class Memory:
    """What each life of the server took, sampled."""

    def __init__(self):
        self.lives = [[]]  # of (RSS, PSS), KiB

    def sample(self, device):
        self.lives[-1].append(device.memory_kib())

    def next_life(self):
        self.lives.append([])

    def column(self, index):
        return [sample[index] for life in self.lives for sample in life]

    def growth(self, clients):
        """None: flat, or too short to tell; otherwise what grew, for people. Each life is a process
        of its own, and how much of its buffers it touches depends on the load: lives are compared
        with the bound only."""
        judged = [[rss for rss, _ in life] for life in self.lives
                  if len(life) >= SAMPLES_JUDGED_MIN]
        for life in judged:
            third = len(life) // 3
            if self.grew(statistics.mean(life[third:2 * third]), statistics.mean(life[-third:])):
                return f"within one life: {life[third]} to {life[-1]} KiB"
        bound_kib = SERVER_KIB + clients * CLIENT_KIB
        if (top := max(self.column(0), default=0)) > bound_kib:
            return f"above its bound of {bound_kib} KiB: {top} KiB"
        return None

    def judged(self):
        return sum(len(life) >= SAMPLES_JUDGED_MIN for life in self.lives)

    @staticmethod
    def grew(before, after):
        return after > before * GROWTH_ALLOWED + GROWTH_ALLOWED_KIB


class Soak:
    def __init__(self, options, folder, small):
        self.options = options
        self.image = folder / "fs" / "image"
        with open(self.image, "wb") as file:
            file.truncate(options.clients * BLOCKS_A_CLIENT * BLOCK_BYTES)
        self.device = under_test.Device(folder, self.image, options.clients)
        self.ballast = under_test.Ballast(folder / "fs") if small else None
        self.clients = [Client(number, BLOCKS_A_CLIENT, options.depth, options.seed)
                        for number in range(options.clients)]
        self.by_descriptor = {}
        self.poll = select.epoll()
        self.half_dead = None
        self.memory = Memory()
        self.kills = self.full = 0
        self.no_space_by_time = []  # ENOSPC answers of each time that the disk was full
        self.recover_s_max = 0.0
        self.stopping = False
        self.start = time.monotonic()
        self.end = self.start + options.minutes * MINUTE_S

    # ---- the clients ----

    def connect(self):
        for client in self.clients:
            client.connect(self.device.socket)
            self.by_descriptor[client.socket.fileno()] = client
            self.poll.register(client.socket.fileno(), select.EPOLLIN)
            self.push(client)
        self.half_dead = under_test.HalfDead(self.device.socket)

    def push(self, client):
        """Whatever it has to say, and whatever it still wants to know."""
        if not self.stopping:
            client.fill()
        alive = not client.output or client.write_ready()
        events = select.EPOLLIN | (select.EPOLLOUT if client.output else 0)
        self.poll.modify(client.socket.fileno(), events)
        if not alive:
            raise RuntimeError(f"client {client.number} lost a server that nobody killed")

    def turn(self, wait_s):
        for descriptor, events in self.poll.poll(wait_s):
            client = self.by_descriptor[descriptor]
            if events & ~select.EPOLLOUT and not client.read_ready():
                raise RuntimeError(f"client {client.number} lost a server that nobody killed")
            self.push(client)

    # ---- what happens to them ----

    def kill_and_recover(self):
        self.device.kill()
        for client in self.clients:
            self.poll.unregister(client.socket.fileno())
            # What it had answered counts.
            while client.read_ready():
                pass
            client.disconnected()
        self.by_descriptor.clear()
        self.half_dead.close()
        self.kills += 1
        began = time.monotonic()
        self.device.recover()
        self.recover_s_max = max(self.recover_s_max, time.monotonic() - began)
        self.memory.next_life()
        self.connect()

    def fill_disk(self):
        self.no_space_by_time.append(-self.no_space())
        self.ballast.load()

    def empty_disk(self):
        self.ballast.drop()
        self.no_space_by_time[-1] += self.no_space()

    def no_space(self):
        return sum(client.no_space for client in self.clients)

    def plan(self):
        """[(seconds from the start, what happens)], in their order; without the kills."""
        length = self.end - self.start
        hold = min(20.0, length / 8)
        if not self.ballast:
            return []
        return [(at, action) for third in (length / 3, 2 * length / 3)
                for at, action in ((third, self.fill_disk), (third + hold, self.empty_disk))]

    def run(self):
        self.connect()
        plan = self.plan()
        next_kill = self.start + self.options.kill_every
        next_sample = self.start + SAMPLE_S
        next_line = self.start + MINUTE_S
        while (now := time.monotonic()) < self.end:
            # Each by itself: on a starved host all of them are due at once.
            if plan and now - self.start >= plan[0][0]:
                plan.pop(0)[1]()
            if next_kill <= now < self.end - QUIET_END * (self.end - self.start):
                self.kill_and_recover()
                next_kill += self.options.kill_every
            if now >= next_sample:
                self.memory.sample(self.device)
                next_sample = now + SAMPLE_S
            if now >= next_line:
                self.print_line(now)
                next_line += MINUTE_S
            self.turn(0.1)
        for _, action in plan:
            action()
        self.drain()

    def drain(self):
        """Everything is answered, flushed, and nobody has a doubt."""
        self.stopping = True
        self.wait_for_answers()
        for client in self.clients:
            client.flush()
            self.push(client)
        self.wait_for_answers()
        for client in self.clients:
            client.disconnected()
        self.half_dead.close()
        self.device.detach()

    def wait_for_answers(self):
        limit = time.monotonic() + DRAIN_LIMIT_S
        while any(client.in_flight for client in self.clients):
            if time.monotonic() > limit:
                raise RuntimeError(f"requests are not answered after {DRAIN_LIMIT_S} s")
            self.turn(0.1)

    # ---- what came of it ----

    def plant(self):
        """One block of the image as it was before its last write, or as it never was."""
        client = max(self.clients, key=lambda one: one.operations)
        ledger = client.ledger
        block = next(number for number, generation in enumerate(ledger.acknowledged)
                     if generation > 0 and number not in ledger.possible)
        with open(self.image, "r+b") as file:
            file.seek(client.base + block * BLOCK_BYTES)
            if self.options.plant == "corrupt":
                file.write(b"\xff" + ZEROES[1:])
            else:
                file.write(stamped(client.number, block, ledger.acknowledged[block] - 1))

    def verify(self):
        if self.options.plant:
            self.plant()
        with open(self.image, "rb") as file:
            for client in self.clients:
                client.verify(file, "at the end")

    def total(self, what):
        return sum(what(client) for client in self.clients)

    def found(self, kind):
        return [line for client in self.clients for line in getattr(client.ledger, kind)]

    def print_line(self, now):
        rss = (self.memory.lives[-1] or [(0, 0)])[-1][0]
        print(f"{(now - self.start) / MINUTE_S:.0f} min: "
              f"{self.total(lambda client: client.operations)} operations, {self.kills} kills, "
              f"{self.no_space()} ENOSPC, {len(self.found('lost'))} lost, "
              f"{len(self.found('corrupt'))} corrupt, {rss} KiB resident", flush=True)

    def result(self):
        rss, pss = self.memory.column(0) or [0], self.memory.column(1) or [0]
        return {"minutes": self.options.minutes, "clients": self.options.clients,
                "depth": self.options.depth, "seed": self.options.seed,
                "operations": self.total(lambda client: client.operations),
                "flushes": self.total(lambda client: client.flushes),
                "kills": self.kills, "recover_s_max": round(self.recover_s_max, 3),
                "enospc": self.no_space(), "enospc_by_time": self.no_space_by_time,
                "unexpected_errors": self.total(lambda client: len(client.unexpected)),
                "lost": len(self.found("lost")), "corrupt": len(self.found("corrupt")),
                "memory_kib": {"rss_min": min(rss), "rss_max": max(rss),
                               "pss_min": min(pss), "pss_max": max(pss)},
                "memory_lives_judged": self.memory.judged(),
                "memory_growth": self.memory.growth(self.options.clients)}

    def complaints(self):
        lines = self.found("lost") + self.found("corrupt")
        lines += [line for client in self.clients for line in client.unexpected]
        if growth := self.memory.growth(self.options.clients):
            lines.append(f"memory grew {growth}")
        if self.ballast and not all(self.no_space_by_time):
            lines.append(f"a full disk refused nothing: {self.no_space_by_time} answers of ENOSPC")
        return lines


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--depth", type=int, default=64)
    parser.add_argument("--kill-every", type=float, default=60, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", choices=("lost-write", "corrupt"))
    parser.add_argument("--json", type=pathlib.Path, help="the result goes there, too")
    return parser.parse_args()


def enter_namespace():
    """Mounts that nobody else sees and that end with this process; for root."""
    if os.geteuid() != 0 or IN_A_NAMESPACE in os.environ or not shutil.which("unshare"):
        return
    os.environ[IN_A_NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, "-B",
                          *sys.argv])


def soak_in(folder, options):
    (folder / "fs").mkdir()
    size = options.clients * BLOCKS_A_CLIENT * BLOCK_BYTES + SPARE_BYTES
    reason = "a mount needs root" if IN_A_NAMESPACE not in os.environ else \
        under_test.mount_small(folder / "fs", size)
    if reason:
        print(f"no full disk: {reason}", flush=True)
    soak = Soak(options, folder, small=not reason)
    try:
        soak.run()
    except BaseException:
        soak.device.end()
        raise
    soak.verify()
    return soak


def main():
    options = parse_options()
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="ringloop-soak-") as name:
        folder = pathlib.Path(name)
        try:
            soak = soak_in(folder, options)
        finally:
            under_test.unmount(folder / "fs")
    complaints = soak.complaints()
    for line in complaints[:SHOWN_MAX]:
        print(f"    {line}")
    result = soak.result()
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="ascii")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
