#!/usr/bin/python3
"""Runs inside the guest: measures every row of the plan and writes the results as JSON.

run.py starts it; see README.md for what the figures mean.
"""

import argparse
import os
import pathlib
import sys
import time

import measure
import rows
from rows import words
from systems import SystemFailure, make_systems

IMAGE_BYTES = 1 << 30
SMOKE_IMAGE_BYTES = 256 << 20


def time_attach(system, image):
    """Milliseconds until the device is there, until a read came back, until it is gone."""
    begin = time.monotonic()
    device = system.attach(image)
    attached = time.monotonic()
    try:
        descriptor = os.open(device, os.O_RDONLY)
        try:
            if len(os.pread(descriptor, 4096, 0)) != 4096:
                raise SystemFailure(f"{device} ends before 4096 bytes")
        finally:
            os.close(descriptor)
        usable = time.monotonic()
    finally:
        measure.detach(system, device)
    end = time.monotonic()
    return {"attach_ms": (attached - begin) * 1000, "usable_ms": (usable - begin) * 1000,
            "detach_ms": (end - usable) * 1000, "total_ms": (end - begin) * 1000}


class Bench(measure.Turns):
    def __init__(self, options, plan):
        self.options = options
        self.image = options.scratch / "image.raw"
        names = {name for _, names in plan for name in names}
        super().__init__(options.out, plan,
                         make_systems(names, options.ringloop, options.ublksrv))

    def repetitions(self, row):
        return self.options.cycles if row.name == rows.ATTACH_ROW else self.options.rounds

    def prepare(self):
        measure.write_whole(self.image, SMOKE_IMAGE_BYTES if self.options.smoke else IMAGE_BYTES)
        if not self.options.smoke:
            measure.write_free_space(self.options.scratch)
        os.sync()

    def measure(self, row, name, turn):
        with measure.image_for(row, self.image) as image:
            if row.name == rows.ATTACH_ROW:
                return time_attach(self.systems[name], image)
            figures = self.run_fio(row, name, image, self.options.seconds)
        self.tell(f"{row.name} {name} {turn + 1}: {figures['iops']:.0f} IOPS, "
                  f"p99 {figures['p99_us']:.0f} us")
        return figures

    def tell_row(self, row, cells):
        if row.name != rows.ATTACH_ROW:
            return
        for name, cell in cells.items():
            times = sorted(cell.get("total_ms", []))
            if times:
                self.tell(f"{row.name} {name}: {times[len(times) // 2]:.0f} ms, "
                          f"median of {len(times)}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--cycles", type=int, required=True)
    parser.add_argument("--rows", type=words, default=[])
    parser.add_argument("--systems", type=words, default=[])
    parser.add_argument("--ringloop")
    parser.add_argument("--ublksrv")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def main():
    options = parse_options()
    plan = rows.plan(options.rows, options.systems, bool(options.ublksrv), options.smoke)
    bench = Bench(options, plan)
    bench.prepare()
    bench.run()
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
