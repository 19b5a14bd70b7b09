#!/usr/bin/python3
"""Measures ringloop's NBD server beside nbdkit's file plugin and qemu-nbd, on this machine.

    bench/nbd.py [--rows PATTERN,...] [--systems NAME,...] [--seconds S] [--rounds N]
    bench/nbd.py --smoke        half a minute: does the benchmark still work?
    bench/nbd.py --list         the rows

`make bench` runs this, then run.py. README.md beside it says what is measured and how to read the
tables. The exit status is 0 when every measurement succeeded, whatever came out.
"""

import argparse
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile

import host
import rows
import table
from host import BenchError

sys.path.insert(1, str(host.TREE / "tests/nbd"))
import server

# In the order in which they take turns; the first is what the others are read against.
SYSTEMS = ("nbdkit", "ringloop", "qemu-nbd")
SMOKE = {"seconds": 1, "rounds": 1}
IMAGE_BYTES = 1 << 30
SMOKE_IMAGE_BYTES = 64 << 20
FIO_START_LIMIT_S = 60


def nbd(pattern, depth, *more, block="4k"):
    return (f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}", *more)


def row(name, title, *fio):
    return rows.row(name, title, *fio, systems=SYSTEMS)


ROWS = (
    row("randread-qd32", "4k randread qd32, one connection", *nbd("randread", 32)),
    row("read-256k-qd8", "256k read qd8, one connection", *nbd("read", 8, block="256k")),
    row("randwrite-qd32", "4k randwrite qd32, one connection", *nbd("randwrite", 32)),
    row("randread-qd1", "4k randread qd1, one connection", *nbd("randread", 1)),
    row("randread-qd32-c4", "4k randread qd32, on each of four connections",
        *nbd("randread", 32, "--numjobs=4")),
)
# What is to be reached (the project's targets): ratios to nbdkit, of IOPS and of processor time.
IOPS_TARGETS = {"randread-qd32": 1.0, "read-256k-qd8": 1.0, "randwrite-qd32": 1.3,
                "randread-qd1": 1.3, "randread-qd32-c4": 1.3}
CPU_TARGET = 0.5

FIGURES = (("IOPS", "iops", "{:.0f}"), ("p50 us", "p50_us", "{:.1f}"),
           ("p99 us", "p99_us", "{:.1f}"), ("server CPU us per I/O", "cpu_us_per_io", "{:.2f}"))
RATIOS = (("ringloop/nbdkit", "ringloop", "nbdkit"), ("ringloop/qemu-nbd", "ringloop", "qemu-nbd"),
          ("qemu-nbd/nbdkit", "qemu-nbd", "nbdkit"))

NOTE = """\
The client, fio with its engine for NBD, is one process on the same machine: where a row is limited
by it, all servers show the same IOPS and differ in what they spent. A ratio counts, and only
between systems of one run."""


# ---- one measurement ---------------------------------------------------------------------------


def warm_image(path, size):
    """Written in full, on the disk, and in the page cache: in pieces of 4 KiB, because a write of
    1 MiB leaves large folios behind, and ext4 then walks through hundreds of blocks for each
    4 KiB that any server overwrites."""
    path.unlink(missing_ok=True)
    with open(path, "wb", buffering=0) as image:
        for _ in range(size >> 20):
            data = os.urandom(1 << 20)
            for offset in range(0, len(data), 4096):
                image.write(data[offset:offset + 4096])
    settle(path)
    with open(path, "rb", buffering=0) as image:
        while image.read(1 << 20):
            pass


def settle(path):
    """What one server wrote must not be written back while the next is measured."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def processor_seconds(pid):
    """User and system time of a process since its start, all its threads (those of io_uring
    too), also those that have ended: proc(5), fields 14 and 15 of stat."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_fio(each, uri, seconds, output):
    command = ["fio", "--name=bench", "--ioengine=nbd", f"--uri={uri}", "--time_based",
               f"--runtime={seconds}", "--group_reporting", "--unified_rw_reporting=1",
               "--eta=never", "--randrepeat=0", "--norandommap", "--output-format=json",
               f"--output={output}", *each.fio]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=seconds + FIO_START_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise BenchError("fio does not end") from None
    if done.returncode != 0:
        raise BenchError(f"'{shlex.join(command)}' failed: {done.stderr.strip()}")
    # fio's engine for NBD may print a line of its own in front.
    text = output.read_text(encoding="utf-8")
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"] != 0 or job["mixed"]["total_ios"] == 0:
        raise BenchError(f"fio reports error {job['error']}")
    return job["mixed"]


def measure(each, system, image, seconds):
    """The figures of one cell: a fresh server, one run of fio, its end."""
    with tempfile.TemporaryDirectory(prefix="ringloop-bench-") as folder:
        folder = pathlib.Path(folder)
        started = server.Server(folder, image, kind=system)
        try:
            before = processor_seconds(started.process.pid)
            done = run_fio(each, started.uri, seconds, folder / "fio.json")
            spent = processor_seconds(started.process.pid) - before
        finally:
            if started.process.poll() is None:
                started.stop()
    settle(image)
    return {"iops": done["iops"],
            "p50_us": done["clat_ns"]["percentile"]["50.000000"] / 1000,
            "p99_us": done["clat_ns"]["percentile"]["99.000000"] / 1000,
            "cpu_us_per_io": spent * 1e6 / done["total_ios"]}


# ---- the run -----------------------------------------------------------------------------------


def text(results):
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    names = list(dict.fromkeys(cell["row"] for cell in results["rows"]))
    parts = [table.table(table.figure_lines(cells, names, FIGURES, SYSTEMS))]
    for key, heading in (("iops", "Ratios of IOPS: more is better; medians, in brackets the lowest "
                                  "and the highest round."),
                         ("cpu_us_per_io", "Ratios of the server's processor time per I/O: less is "
                                           "better.")):
        lines = table.ratio_lines(cells, names, key, RATIOS)
        if len(lines) > 1:
            parts.append(f"{heading}\n\n{table.table(with_targets(lines, cells, key))}")
    parts.append(NOTE)
    if results["meta"]["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in results["meta"]["failures"]))
    return "\n\n".join(parts)


def with_targets(lines, cells, key):
    """A column more: what the first ratio is to be, and whether it is."""
    shown = [[*lines[0], "target"]]
    for line in lines[1:]:
        target = IOPS_TARGETS[line[0]] if key == "iops" else CPU_TARGET
        ours, theirs = (cells.get((line[0], name), {}).get(key) for name in ("ringloop", "nbdkit"))
        if not ours or not theirs:
            shown.append([*line, "-"])
            continue
        found = statistics.median(ours) / statistics.median(theirs)
        holds = found >= target if key == "iops" else found <= target
        sign = ">=" if key == "iops" else "<="
        shown.append([*line, f"{sign} {target}: {'yes' if holds else 'no'}"])
    return shown


def run_bench(options):
    plan = rows.choose_rows(options.rows, ROWS)
    if options.list:
        for each in plan:
            print(f"{each.name}  {each.title}")
        return 0
    for name in options.systems:
        if name not in SYSTEMS:
            raise BenchError(f"no system {name}: there are {', '.join(SYSTEMS)}")
    if "ringloop" in options.systems and not os.access(server.RINGLOOP, os.X_OK):
        raise BenchError(f"no {server.RINGLOOP}: build it with 'make', or choose other --systems")
    options.image.parent.mkdir(parents=True, exist_ok=True)
    warm_image(options.image, SMOKE_IMAGE_BYTES if options.smoke else IMAGE_BYTES)
    try:
        cells, failures = host.take_turns(
            [(row, options.systems) for row in plan], options.rounds,
            lambda row, name: measure(row, name, options.image, options.seconds))
    finally:
        options.image.unlink()
    results = {"meta": {"kernel": platform.release(), "cpus": os.cpu_count(),
                        "versions": versions(options.systems), "failures": failures},
               "rows": cells}
    host.publish(results, options.json, text(results))
    return 1 if failures else 0


def versions(systems):
    found = {}
    for name in ("fio", *systems):
        program = server.RINGLOOP if name == "ringloop" else name
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found[name] = (done.stdout.strip() or "unknown").splitlines()[0]
    return found


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=rows.words, default=[], metavar="PATTERN,...",
                        help="names or shell patterns; default all")
    parser.add_argument("--systems", type=rows.words, default=list(SYSTEMS), metavar="NAME,...",
                        help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--seconds", type=host.positive, help="of each measurement; default 4")
    parser.add_argument("--rounds", type=host.positive,
                        help="measurements of each system in each row; default 5")
    parser.add_argument("--image", type=pathlib.Path, default=host.BUILD / "nbd.img",
                        help="where the image is made, on the filesystem to measure with")
    parser.add_argument("--smoke", action="store_true", help="every row once, for a second")
    parser.add_argument("--json", type=pathlib.Path, default=host.BUILD / "nbd.json", metavar="OUT",
                        help="default build/bench/nbd.json")
    parser.add_argument("--list", action="store_true")
    return host.settle(parser.parse_args(), {"seconds": 4, "rounds": 5}, SMOKE)


if __name__ == "__main__":
    host.main("nbd.py", lambda: run_bench(parse_options()))
