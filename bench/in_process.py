#!/usr/bin/python3
"""Measures ringloop's engine, without any device, beside fio on the same file, on this machine.

    bench/in_process.py [--rows PATTERN,...] [--policies NAME,...|all] [--seconds S] [--rounds N]
    bench/in_process.py --limits    only what the machine itself can do
    bench/in_process.py --smoke     half a minute: does the benchmark still work?
    bench/in_process.py --list      the rows

`make bench` runs this first. README.md beside it says what is measured and how to read the tables.
The exit status is 0 when every measurement succeeded, whatever came out.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import platform
import resource
import shlex
import statistics
import subprocess

import host
import table
from host import BenchError
from measure import drop_cache, write_whole
from rows import choose_rows, words

DRIVER = host.TREE / "build/release/in_process_bench"
IMAGE = host.BUILD / "in_process.img"
LIMITS = host.TREE / "build/release/limits_bench"
SMOKE = {"seconds": 1, "rounds": 1}
IMAGE_BYTES = 1 << 30
SMOKE_IMAGE_BYTES = 128 << 20
# Far more than one run writes, so nearly every block that is written is new.
SPARSE_BYTES = 8 << 30
START_LIMIT_S = 60

REFERENCE = "fio-io_uring"
# fio enters the kernel once for each request unless it is told otherwise; the third is told.
FIO = {
    REFERENCE: ("--ioengine=io_uring", "--fixedbufs", "--registerfiles"),
    "fio-libaio": ("--ioengine=libaio",),
    "fio-batched": ("--ioengine=io_uring", "--fixedbufs", "--registerfiles",
                    "--iodepth_batch_submit=16", "--iodepth_batch_complete_min=1",
                    "--iodepth_batch_complete_max=64"),
}
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    title: str
    op: str
    depth: int
    jobs: int = 1
    cached: bool = False  # through the page cache, which holds the whole image
    sparse: bool = False  # every run gets a new, empty sparse file
    target: float = 0     # of auto/fio-io_uring, at least; 0: none


ROWS = (
    Row("randread-qd64", "4k randread qd64, direct", "randread", 64, target=0.95),
    Row("read-qd64", "4k read qd64, direct", "read", 64, target=0.95),
    Row("randwrite-qd64", "4k randwrite qd64, direct", "randwrite", 64, target=0.95),
    Row("write-qd64", "4k write qd64, direct", "write", 64, target=0.95),
    Row("randread-qd1", "4k randread qd1, direct", "randread", 1),
    Row("cached-randread-qd64", "4k randread qd64, all of it in the page cache", "randread", 64,
        cached=True),
    Row("sparse-randwrite-qd16", "4k randwrite qd16, direct, new sparse file", "randwrite", 16,
        sparse=True),
    Row("rw-qd16-j12", "4k rw qd16, direct, 12 jobs", "rw", 16, jobs=12),
)

FIGURES = (("IOPS", "iops", "{:.0f}"), ("p50 us", "p50_us", "{:.1f}"),
           ("p99 us", "p99_us", "{:.1f}"), ("p99.9 us", "p999_us", "{:.1f}"),
           ("CPU us per I/O", "cpu_us_per_io", "{:.2f}"),
           ("switches per I/O", "ctxt_per_io", "{:.3f}"),
           ("system calls per I/O", "syscalls_per_io", "{:.3f}"),
           ("merged per I/O", "merged_per_io", "{:.2f}"))
# (what it is, which figure of limits_bench, its form)
LIMIT_LINES = (("memory copy, blocks of 4k", "copy_4k_gb_per_s", "{:.1f} GB/s"),
               ("memory copy, blocks of 256k", "copy_256k_gb_per_s", "{:.1f} GB/s"),
               ("a system call (getppid)", "syscall_ns", "{:.0f} ns"),
               ("io_uring, one read of /dev/null", "ring_qd1_ns", "{:.0f} ns"),
               ("io_uring, each of 64 such in one enter", "ring_qd64_ns", "{:.0f} ns"),
               ("raw file, 4k randread qd64, fio", "file_randread_iops", "{:.0f} IOPS"))

NOTE = """\
A ratio counts, and only between systems of one run. Sequential rows: the engine merges neighbours
that arrive together into one operation, fio on the file does not; that is what it is for."""


# ---- one measurement ---------------------------------------------------------------------------


def prepare(row, image):
    """The path of the row's file, in the state in which every run of the row begins."""
    if row.sparse:
        path = image.with_name("in_process_sparse.img")
        path.unlink(missing_ok=True)
        with open(path, "xb") as sparse:
            sparse.truncate(SPARSE_BYTES)
        return path
    drop_cache(image)
    if row.cached:
        with open(image, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return image


def run_json(command, seconds):
    """What it printed on stdout, parsed."""
    try:
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, check=False,
                              capture_output=True, text=True, timeout=seconds + START_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} does not end") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise BenchError(f"'{shlex.join(map(str, command))}' failed: {said}")
    return json.loads(done.stdout)


def fio_command(row, engine, path, *length):
    return ["fio", "--name=bench", f"--filename={path}", *engine, f"--rw={row.op}", "--bs=4k",
            f"--iodepth={row.depth}", f"--numjobs={row.jobs}", f"--direct={int(not row.cached)}",
            "--invalidate=0", "--fallocate=none", *length, "--group_reporting",
            "--unified_rw_reporting=1", "--randrepeat=0", "--norandommap", "--clat_percentiles=0",
            "--lat_percentiles=1", "--eta=never", "--output-format=json"]


def run_fio(row, engine, path, seconds):
    """fio counts its own thread only, not the kernel's workers that serve its ring. So everything
    that its processes spent is taken, less what they spend on a run of a single request."""
    idle = fio_overhead(row, engine, path)
    before = spent_by_children()
    done = run_json(fio_command(row, engine, path, "--time_based", f"--runtime={seconds}"), seconds)
    cpu_us, switches = (now - then for now, then in zip(spent_by_children(), before))
    job = done["jobs"][0]
    mixed = job["mixed"]
    ios = mixed["total_ios"]
    if job["error"] != 0 or ios == 0:
        raise BenchError(f"fio reports error {job['error']} after {ios} I/Os")
    percentile = mixed["lat_ns"]["percentile"]
    return {"iops": mixed["iops"],
            "p50_us": percentile["50.000000"] / 1000,
            "p99_us": percentile["99.000000"] / 1000,
            "p999_us": percentile["99.900000"] / 1000,
            "cpu_us_per_io": (cpu_us - idle[0]) / ios,
            "ctxt_per_io": max(0, switches - idle[1]) / ios}


@functools.cache
def fio_overhead(row, engine, path):
    before = spent_by_children()
    run_json(fio_command(row, engine, path, "--number_ios=1"), 0)
    return [now - then for now, then in zip(spent_by_children(), before)]


def spent_by_children():
    """Microseconds of processor time and context switches of all that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6, usage.ru_nvcsw + usage.ru_nivcsw


def run_driver(row, policy, path, seconds):
    done = run_json([DRIVER, path, "--op", row.op, "--policy", policy, "--depth", row.depth,
                     "--jobs", row.jobs, "--seconds", seconds,
                     "--direct-io", "off" if row.cached else "on"], seconds)
    figures = ("iops", "p50_us", "p99_us", "p999_us", "cpu_us_per_io", "ctxt_per_io",
               "syscalls_per_io", "counters")
    return {name: done[name] for name in figures} | {
        "merged_per_io": done["counters"]["merged"] / done["ios"]}


def measure(row, system, image, seconds):
    path = prepare(row, image)
    try:
        if system in FIO:
            return run_fio(row, FIO[system], path, seconds)
        return run_driver(row, system, path, seconds)
    finally:
        if row.sparse:
            path.unlink()


def measure_limits(image, seconds):
    found = run_json([LIMITS], 10)
    figures = measure(ROWS[0], REFERENCE, image, seconds)
    return found | {"file_randread_iops": figures["iops"]}


# ---- the run -----------------------------------------------------------------------------------


def text(results):
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    names = list(dict.fromkeys(cell["row"] for cell in results["rows"]))
    systems = list(dict.fromkeys(cell["system"] for cell in results["rows"]))
    parts = [limits_text(results["meta"]["limits"])]
    if names:
        parts.append(table.table(table.figure_lines(cells, names, FIGURES, systems)))
        for key, heading in (("iops", "Ratios of IOPS: more is better; medians, in brackets the "
                                      "lowest and the highest round."),
                             ("cpu_us_per_io", "Ratios of processor time per I/O: less is better. "
                                               "fio's and the driver's own part are in it.")):
            lines = ratio_lines(cells, names, systems, key)
            if len(lines) > 1:
                parts.append(f"{heading}\n\n{table.table(lines)}")
        parts.append(NOTE)
    if results["meta"]["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in results["meta"]["failures"]))
    return "\n\n".join(parts)


def limits_text(limits):
    lines = [["row", "this machine"]]
    lines += [[title, form.format(limits[key])] for title, key, form in LIMIT_LINES]
    return table.table(lines)


def ratio_lines(cells, names, systems, key):
    """auto beside every fio; of IOPS also beside the best of the other policies, and the target."""
    ratios = [(f"{AUTO}/{name}", AUTO, name) for name in systems if name in FIO]
    lines = table.ratio_lines(cells, names, key, ratios)
    if key != "iops":
        return lines
    others = [name for name in systems if name not in FIO and name != AUTO]
    shown = [[*lines[0], *(["auto/best other policy"] if others else []), "target"]]
    for line in lines[1:]:
        more = [best_other(cells, line[0], others)] if others else []
        shown.append([*line, *more, target(cells, line[0])])
    return shown


def best_other(cells, name, others):
    medians = {other: statistics.median(cells[name, other]["iops"])
               for other in others if cells.get((name, other), {}).get("iops")}
    if not medians:
        return "-"
    best = max(medians, key=medians.get)
    ratio = table.ratio(cells, name, AUTO, best, "iops")
    return f"{ratio} {best}" if ratio else "-"


def target(cells, name):
    wanted = next(row.target for row in ROWS if row.name == name)
    ours, theirs = (cells.get((name, system), {}).get("iops") for system in (AUTO, REFERENCE))
    if not wanted or not ours or not theirs:
        return "-"
    found = statistics.median(ours) / statistics.median(theirs)
    return f">= {wanted}: {'yes' if found >= wanted else 'no'}"


def choose_systems(options):
    for name in options.fio:
        if name not in FIO:
            raise BenchError(f"no {name}: there are {', '.join(FIO)}")
    for binary in (DRIVER, LIMITS):
        if not os.access(binary, os.X_OK):
            raise BenchError(f"no {binary}: build it with 'make bench-programs'")
    done = subprocess.run([DRIVER, "--list-policies"], capture_output=True, text=True, check=True)
    policies = done.stdout.split()
    if options.policies == ["all"]:
        return [*options.fio, *policies]
    for name in options.policies:
        if name not in policies:
            raise BenchError(f"no policy {name}: there are {', '.join(policies)}, or all")
    return [*options.fio, *options.policies]


def run_bench(options):
    plan = choose_rows(options.rows, ROWS)
    if options.list:
        for row in plan:
            print(f"{row.name}  {row.title}")
        return 0
    systems = choose_systems(options)
    options.image.parent.mkdir(parents=True, exist_ok=True)
    if options.image == IMAGE:
        IMAGE.unlink(missing_ok=True)  # of a run that was killed
    elif options.image.exists():
        raise BenchError(f"{options.image} is there already: --image names a file to be made")
    try:
        write_whole(options.image, SMOKE_IMAGE_BYTES if options.smoke else IMAGE_BYTES)
        filesystem = filesystem_of(options.image)
        limits = measure_limits(options.image, options.seconds)
        cells, failures = host.take_turns(
            [] if options.limits else [(row, systems) for row in plan], options.rounds,
            lambda row, name: measure(row, name, options.image, options.seconds))
    finally:
        options.image.unlink(missing_ok=True)
    results = {"meta": {"kernel": platform.release(), "cpus": os.cpu_count(), "fio": fio_version(),
                        "filesystem": filesystem, "limits": limits, "failures": failures},
               "rows": cells}
    if options.limits:
        print(limits_text(limits))
        return 0
    host.publish(results, options.json, text(results))
    return 1 if failures else 0


def filesystem_of(path):
    done = subprocess.run(["stat", "--file-system", "--format=%T", path], capture_output=True,
                          text=True, check=False)
    return done.stdout.strip()


def fio_version():
    return subprocess.run(["fio", "--version"], capture_output=True, text=True,
                          check=False).stdout.strip()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=words, default=[], metavar="PATTERN,...",
                        help="names or shell patterns; default all")
    parser.add_argument("--policies", type=words, default=[AUTO], metavar="NAME,...",
                        help=f"of the dispatcher, or all; default {AUTO}")
    parser.add_argument("--fio", type=words, default=[REFERENCE, "fio-libaio"],
                        metavar="NAME,...", help=f"of {', '.join(FIO)}; default the first two")
    parser.add_argument("--seconds", type=host.positive, help="of each measurement; default 3")
    parser.add_argument("--rounds", type=host.positive,
                        help="measurements of each system in each row; default 3")
    parser.add_argument("--image", type=pathlib.Path, default=IMAGE,
                        help="where the image is made, on the filesystem to measure on")
    parser.add_argument("--limits", action="store_true", help="only what the machine can do")
    parser.add_argument("--smoke", action="store_true", help="every row once, for a second")
    parser.add_argument("--json", type=pathlib.Path, default=host.BUILD / "in_process.json",
                        metavar="OUT", help="default build/bench/in_process.json")
    parser.add_argument("--list", action="store_true")
    return host.settle(parser.parse_args(), {"seconds": 3, "rounds": 3}, SMOKE)


if __name__ == "__main__":
    host.main("in_process.py", lambda: run_bench(parse_options()))
