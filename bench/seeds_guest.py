#!/usr/bin/python3
"""Runs inside the guest: measures the rows of seeds.py that belong in one guest.

seeds.py starts it, once for each number of CPUs; see README.md for what the figures mean.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import shutil
import sys

import measure
import nested
import seeds_rows
from rows import words
from systems import File, Loop, Ringloop, block_folder, run

IMAGE_BYTES = 1 << 30
SLOW_IMAGE_BYTES = 512 << 20
SMOKE_IMAGE_BYTES = 128 << 20

# dm-delay counts in ticks of the kernel (4 ms), so that every I/O waits for one or two of them.
DELAY_MS = 1
SLOW_DISK = "bench-slow"
SLOW_POINT = pathlib.Path("/run/bench-slow")

# Some seconds of reading; a smoke run's share is enough for every layer to be read.
BYTES_PER_READER = 6 << 20
SMOKE_BYTES_PER_READER = 256 << 10

# Of `status --json`, as far as they are there.
COUNTERS = ("merged", "nowait_attempts", "nowait_eagain", "nowait_unsupported", "hint_skips",
            "lane_requests", "serial_overflow", "workers_now", "workers_max_seen", "syscalls",
            "context_switches")


def make_slow_disk(disk):
    run("modprobe", "dm-delay")
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk)
    sectors = run("blockdev", "--getsz", disk).strip()
    run("dmsetup", "create", SLOW_DISK, "--table", f"0 {sectors} delay {disk} 0 {DELAY_MS}")
    SLOW_POINT.mkdir()
    run("mount", "-t", "ext4", "-o", "noatime", f"/dev/mapper/{SLOW_DISK}", str(SLOW_POINT))


def make_system(name, row, ringloop):
    """In nested images direct I/O is possible on the outermost file only: there, ringloop
    decides for itself."""
    policy = seeds_rows.policy_of(name)
    if policy:
        direct_io = None if row.kind != seeds_rows.FIO else name == policy
        return Ringloop(ringloop, direct_io, policy)
    return Loop(name == "loop-dio") if name.startswith("loop-") else File()


def counters_of(system, device):
    if not isinstance(system, Ringloop):
        return {}
    stats = system.status(device, "stats")["stats"]
    return {name: stats[name] for name in COUNTERS if name in stats}


def transferred(folder):
    """I/Os and bytes of a block device, from its `stat`: reads and writes."""
    fields = list(map(int, (folder / "stat").read_text(encoding="ascii").split()))
    return fields[0] + fields[4], (fields[2] + fields[6]) * 512


def cached_bytes(path):
    return int(run("fincore", "--bytes", "--noheadings", "--output", "RES", path))


class Bench(measure.Turns):
    def __init__(self, options, plan):
        self.options = options
        self.image = options.scratch / "image.raw"
        self.slow_image = SLOW_POINT / "image.raw"
        self.iso = options.scratch / "nested.iso"
        self.files = []
        self.watches_cache = {target.row for target in seeds_rows.TARGETS
                              if target.figure == "cached_mib"}
        super().__init__(options.out, plan,
                         {name: make_system(name, row, options.ringloop)
                          for row, names in plan for name in names})

    def repetitions(self, row):
        """In the first of a boot's the workers are counted, and nothing is timed."""
        return self.options.rounds + (row.kind == seeds_rows.NESTED)

    def prepare(self):
        """Only what the rows need."""
        smoke = self.options.smoke
        if self.options.nested:
            shutil.copyfile(self.options.nested, self.iso)
            self.files = nested.choose_files(
                self.options.nested.with_suffix(".json"),
                SMOKE_BYTES_PER_READER if smoke else BYTES_PER_READER)
        if any(row.slow for row, _ in self.plan):
            make_slow_disk(self.options.disk)
            measure.write_whole(self.slow_image, SMOKE_IMAGE_BYTES if smoke else SLOW_IMAGE_BYTES)
        if any(row.kind == seeds_rows.FIO and not row.slow for row, _ in self.plan):
            measure.write_whole(self.image, SMOKE_IMAGE_BYTES if smoke else IMAGE_BYTES)
            if not smoke:
                measure.write_free_space(self.options.scratch)
        os.sync()

    def measure(self, row, name, turn):
        figures = (self.measure_device(row, name) if row.kind == seeds_rows.FIO
                   else self.measure_nested(row, name, turn))
        shown = {"iops": "{:.0f} IOPS", "p99_us": "p99 {:.0f} us", "seconds": "{:.1f} s",
                 "rate": "{:.1f} loops", "runnable": "{} runnable workers"}
        self.tell(f"{row.name} {name} {turn + 1}: " + ", ".join(
            form.format(figures[figure]) for figure, form in shown.items() if figure in figures))
        return figures

    def measure_device(self, row, name):
        with measure.image_for(row, self.slow_image if row.slow else self.image) as image:
            disk = block_folder(image)
            before = transferred(disk)
            cached = cached_bytes(image) if row.name in self.watches_cache else 0

            def look(device):
                ios, size = (now - then for now, then in zip(transferred(disk), before))
                found = {"disk_kib_per_io": size / 1024 / ios} if ios else {}
                if row.name in self.watches_cache:
                    found["cached_mib"] = (cached_bytes(image) - cached) / (1 << 20)
                return found | counters_of(self.systems[name], device)

            return self.run_fio(row, name, image, self.options.seconds, look)

    def measure_nested(self, row, name, turn):
        if row.kind == seeds_rows.NESTED and turn == 0:
            return nested.watch(self.systems[name], self.iso, self.files)
        with contextlib.ExitStack() as stack:
            neighbour = None
            if row.kind == seeds_rows.NEIGHBOUR:
                neighbour = stack.enter_context(nested.Neighbour())
            if name == seeds_rows.ALONE:
                return nested.measure_alone(neighbour)
            system = self.systems[name]
            return nested.measure(system, self.iso, self.files,
                                  functools.partial(counters_of, system), neighbour)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--disk", default=os.environ.get("RAW_DISK"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--rows", type=words, required=True)
    parser.add_argument("--nested", type=pathlib.Path, help="the iso, below the tree")
    parser.add_argument("--ringloop")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def missing_policies(ringloop):
    system = Ringloop(ringloop)
    return [name for name in seeds_rows.OPTIONAL_POLICIES if not system.has_policy(name)]


def main():
    options = parse_options()
    missing = missing_policies(options.ringloop)
    for name in missing:
        measure.say(f"without {name}: this ringloop has no such policy")
    bench = Bench(options, seeds_rows.plan(options.rows, options.smoke, missing))
    bench.notes["without"] = missing
    bench.prepare()
    bench.run()
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
