#!/usr/bin/python3
"""Runs inside the guest: measures the rows of lanes.py.

lanes.py starts it; see README.md for what the figures mean.
"""

import argparse
import contextlib
import dataclasses
import mmap
import os
import pathlib
import signal
import subprocess
import sys
import time

import cgroups
import lanes_rows
import measure
from cgroups import Cgroup
from lanes_rows import ISSUER, LIFE, NBD, NEIGHBOUR
from rows import words
from systems import SystemFailure, block_folder, run

IMAGE_BYTES = 512 << 20
SMOKE_IMAGE_BYTES = 128 << 20

SOCKET = pathlib.Path("/run/ringloop-bench.sock")
NAME = "bench"

# Of the row `life`: a lane ends soon, so that cgroups can be removed; as many wait for that as have
# lanes at once.
LANE_IDLE_S = 1
WAITING = 48
REMOVAL_LIMIT_S = 60
# Used and removed before anything is counted: what the first one makes the server load stays.
WARM_UP = 2
BLOCK = 4096

ENDLESS_S = 3600
THROTTLED_OUTPUT = pathlib.Path("/tmp/fio-throttled.json")


class Charging:
    """`ringloop attach --charge`: a block device, or a socket that speaks NBD."""

    def __init__(self, binary, charge):
        self.binary = binary
        self.charge = charge

    def attach(self, row, image):
        options = ["--charge", self.charge, f"--direct-io={'on' if row.direct else 'off'}"]
        if row.kind == LIFE:
            options += ["--lane-idle", str(LANE_IDLE_S)]
        if row.transport == NBD:
            run(self.binary, "attach", *options, "--transport", "socket", "--name", NAME,
                "--nbd", f"unix:{SOCKET}", image)
            return f"nbd+unix:///?socket={SOCKET}"
        return run(self.binary, "attach", *options, image).strip()

    def detach(self, device):
        run(self.binary, "detach", NAME if "socket=" in device else device)

    def check(self):
        """While a client is at it: the lane is there, or the row measures nothing."""
        if bool(cgroups.lanes()) != (self.charge == ISSUER):
            raise SystemFailure(f"{len(cgroups.lanes())} lanes with --charge {self.charge}")


class Client(measure.Fio):
    """fio in a cgroup, on a block device or a socket of ours."""

    def __init__(self, row, device, cgroup, disk, seconds, **keywords):
        super().__init__(row, device, seconds, **keywords)
        self.cgroup = cgroup
        self.disk = disk
        self.spent = []  # at both ends of the window

    def place(self):
        if "socket=" in self.path:
            return [f"--uri={self.path}", "--randrepeat=0", "--norandommap"]
        return super().place()

    def folder(self):
        """The socket is no device, but its image lies on one."""
        return block_folder(self.disk if "socket=" in self.path else self.path)

    def sample(self):
        self.spent.append(cgroups.spent())
        return super().sample()

    def start(self):
        return self.cgroup.start(self.command, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def figures(self, first, last):
        ios = self.done()["iops"] * (last.seconds - first.seconds)
        begin, end = self.spent
        return super().figures(first, last) | {
            "server_us_per_io": (end.seconds - begin.seconds) * 1e6 / ios,
            "server_ctxt_per_io": (end.switches - begin.switches) / ios}


@contextlib.contextmanager
def in_background(client):
    """From its first I/Os on until the end of the block, then as if its time was over."""
    folder = client.folder()
    before = measure.completed_ios(folder)
    with client.start() as process:
        try:
            client.wait_for_start(process, folder, before)
            if process.poll() is not None:
                raise SystemFailure(f"fio ended: {process.stdout.read().decode().strip()}")
            yield
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=measure.FIO_START_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise SystemFailure("the throttled fio does not end") from None
        finally:
            if process.poll() is None:
                process.kill()


@contextlib.contextmanager
def two_cgroups():
    """Removed once no lane is in them."""
    pair = [Cgroup("bench-a"), Cgroup("bench-b")]
    try:
        yield pair
    finally:
        for each in pair:
            each.remove(REMOVAL_LIMIT_S)


class Bench(measure.Turns):
    def __init__(self, options, plan):
        self.options = options
        self.image = options.scratch / "image.raw"
        status = os.stat(options.scratch)
        self.disk = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
        super().__init__(options.out, plan, {name: Charging(options.ringloop, name)
                                             for name in lanes_rows.SYSTEMS})

    def repetitions(self, row):
        return self.options.life_rounds if row.kind == LIFE else self.options.rounds

    def prepare(self):
        cgroups.prepare()
        smoke = self.options.smoke
        measure.write_whole(self.image, SMOKE_IMAGE_BYTES if smoke else IMAGE_BYTES)
        if not smoke:
            measure.write_free_space(self.options.scratch)
        os.sync()

    def measure(self, row, name, turn):
        system = self.systems[name]
        work = {NEIGHBOUR: self.measure_neighbour, LIFE: self.measure_life}.get(
            row.kind, self.measure_cost)
        with measure.image_for(row, self.image) as image, two_cgroups() as pair:
            device = system.attach(row, image)
            try:
                figures = work(row, system, device, *pair)
            finally:
                measure.detach(system, device)
        shown = ("iops", "p99_us", "server_us_per_io", "kept", "p99_ratio", "throttled_mib_s",
                 "charged", "pss_mib", "kernel_mib", "removable_s")
        self.tell(f"{row.name} {name} {turn + 1}: " + ", ".join(
            f"{figure} {figures[figure]:.2f}" for figure in shown if figure in figures))
        return figures

    def client(self, row, device, cgroup, seconds=None, **keywords):
        return Client(row, device, cgroup, self.image, seconds or self.options.seconds, **keywords)

    def measure_cost(self, row, system, device, cgroup, _):
        figures = self.client(row, device, cgroup).run()
        system.check()
        return figures

    def measure_neighbour(self, row, system, device, cgroup, other):
        alone = self.client(row, device, cgroup).run()
        other.limit(self.disk, lanes_rows.THROTTLED_BYTES_S)
        throttled = self.client(row, device, other, ENDLESS_S, output=THROTTLED_OUTPUT)
        with in_background(throttled):
            beside = self.client(row, device, cgroup).run()
            system.check()
        # What processors did is partly the throttled one's.
        kept = {figure: beside[figure] for figure in ("iops", "p50_us", "p99_us")}
        return kept | {"alone_iops": alone["iops"], "alone_p99_us": alone["p99_us"],
                         "kept": beside["iops"] / alone["iops"],
                         "p99_ratio": beside["p99_us"] / alone["p99_us"],
                         "throttled_mib_s": throttled.done()["bw_bytes"] / (1 << 20)}

    def measure_life(self, _row, _system, device, *_):
        self.live(device, WARM_UP)
        before = cgroups.held()
        begin = time.monotonic()
        charged, removable_s = self.live(device, self.options.cgroups)
        seconds = time.monotonic() - begin
        after = cgroups.held()
        grown = {name: value - getattr(before, name)
                 for name, value in dataclasses.asdict(after).items()}
        return grown | {"charged": charged / self.options.cgroups, "removable_s": removable_s,
                        "ms_per_cgroup": seconds * 1000 / self.options.cgroups,
                        "before": dataclasses.asdict(before), "after": dataclasses.asdict(after)}

    def live(self, device, count):
        """How many of the cgroups were charged, and how long one could not be removed, at most."""
        waiting = {}  # cgroup: when it was used
        charged, longest_s = 0, 0.0
        for number in range(count):
            cgroup = Cgroup(f"life-{number}")
            use(cgroup, device, number)
            charged += all(each >= BLOCK for each in cgroup.charged(self.disk))
            waiting[cgroup] = time.monotonic()
            full = WAITING if number + 1 < count else 1
            while True:
                longest_s = max(longest_s, remove_some(waiting))
                if len(waiting) < full:
                    break
                time.sleep(cgroups.LOOK_AGAIN_S)
        return charged, longest_s


def remove_some(waiting):
    """Those that can be; how long the slowest of all has waited."""
    now = time.monotonic()
    longest_s = max((now - used_at for used_at in waiting.values()), default=0.0)
    if longest_s > REMOVAL_LIMIT_S:
        raise SystemFailure(f"a cgroup is still busy after {REMOVAL_LIMIT_S} s")
    for cgroup in [each for each in waiting if each.removed()]:
        del waiting[cgroup]
    return longest_s


def use(cgroup, device, number):
    """One write and one read by a process in the cgroup."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(OSError):
            cgroup.enter()
            block = mmap.mmap(-1, BLOCK)  # O_DIRECT asks for alignment
            descriptor = os.open(device, os.O_RDWR | os.O_DIRECT)
            moved = os.pwritev(descriptor, [block], number * BLOCK)
            status = 0 if moved == os.preadv(descriptor, [block], number * BLOCK) == BLOCK else 2
        os._exit(status)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemFailure(f"a process in {cgroup.path} could not use {device}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--life-rounds", type=int, required=True)
    parser.add_argument("--cgroups", type=int, required=True)
    parser.add_argument("--rows", type=words, default=[])
    parser.add_argument("--ringloop")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def main():
    options = parse_options()
    bench = Bench(options, lanes_rows.plan(options.rows, options.smoke))
    bench.prepare()
    bench.run()
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
