#!/usr/bin/python3
"""Measures ringloop beside the kernel's loop driver, in a guest with a real kernel.

    bench/run.py [--rows PATTERN,...] [--systems NAME,...] [--seconds S] [--rounds N]
    bench/run.py --smoke        a minute: does the benchmark still work?
    bench/run.py --list         the rows and what they compare

`make bench` is this without options. README.md beside it says what is measured and how to read
the tables. The exit status is 0 when every measurement succeeded.
"""

import argparse
import datetime
import json
import math
import pathlib
import shlex
import signal
import subprocess
import sys

import plot
import rows
import table

TREE = pathlib.Path(__file__).resolve().parent.parent
BUILD = TREE / "build/bench"
RESULTS = BUILD / "vm"  # what the guest sees as /results

KERNEL = "6.12"
CPUS = 2
SMOKE = {"seconds": 1, "rounds": 1, "cycles": 2}
# What a measurement may take beside fio's own seconds before the guest counts as hanging.
CELL_LIMIT_S = 20
PREPARE_LIMIT_S = 300


class BenchError(Exception):
    """One line for the person at the terminal."""


def run(options):
    plan = rows.plan(options.rows, options.systems, bool(options.ublksrv), options.smoke)
    if not plan:
        raise BenchError("nothing to measure: none of these rows has one of these systems")
    if options.list:
        show(plan)
        return 0
    check_files(options, plan)
    status = run_guest(options, plan)
    try:
        results = json.loads((RESULTS / "guest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"the guest left no results (status {status})") from None
    results["meta"] |= {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                        "commit": commit(), "command": shlex.join(sys.argv)}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    pictures = plot.write(options.json)
    print("\n" + "\n".join([table.text(results) + "\n", str(options.json), *map(str, pictures)]))
    return 1 if status or results["meta"]["failures"] else 0


def show(plan):
    width = max(len(row.name) for row, _ in plan)
    for row, names in plan:
        print(f"{row.name.ljust(width)}  {row.title}: {', '.join(names)}")


def check_files(options, plan):
    names = {name for _, names in plan for name in names}
    if names & set(rows.RINGLOOP) and not options.binary.is_file():
        raise BenchError(f"no {options.binary}: build it with 'make', or choose other systems "
                         "with --systems")
    if options.ublksrv and not options.ublksrv.is_file():
        raise BenchError(f"no {options.ublksrv}: --ublksrv takes the path of ublksrv's 'ublk'")


def run_guest(options, plan):
    """Shows what the guest says; its figures are in guest.json afterwards."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "guest.json").unlink(missing_ok=True)
    # The guest sees the host's files under the same paths, the tree also under RINGLOOP_TREE.
    inside = ["--out", "/results/guest.json", "--seconds", options.seconds,
              "--rounds", options.rounds, "--cycles", options.cycles,
              "--rows", ",".join(options.rows), "--systems", ",".join(options.systems)]
    if options.ublksrv:
        inside += ["--ublksrv", options.ublksrv.resolve()]
    if options.smoke:
        inside.append("--smoke")
    code = ('python3 -B "$RINGLOOP_TREE/bench/guest.py" --scratch "$SCRATCH" '
            f'--ringloop "$RINGLOOP" {shlex.join(map(str, inside))}')
    command = [TREE / "tests/vm/run.py", "--kernel", KERNEL, "--smp", CPUS, "--out", RESULTS,
               "--timeout", limit_s(options, plan), "--command", code]
    if options.binary.is_file():
        command += ["--binary", options.binary]
    return subprocess.run(list(map(str, command)), check=False).returncode


def limit_s(options, plan):
    cells = sum(len(names) * (options.cycles if row.name == rows.ATTACH_ROW else options.rounds)
                for row, names in plan)
    return math.ceil(PREPARE_LIMIT_S + cells * (options.seconds + CELL_LIMIT_S))


def commit():
    """With a '+' when the tree has changes that are in no commit."""
    def git(*words):
        return subprocess.run(["git", "-C", TREE, *words], capture_output=True, text=True,
                              check=False)

    head = git("rev-parse", "--verify", "--short=12", "HEAD")
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("+" if git("status", "--porcelain").stdout else "")


def words(text):
    return [word for word in text.split(",") if word]


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=TREE / "build/release/ringloop",
                        help="default build/release/ringloop")
    parser.add_argument("--ublksrv", type=pathlib.Path, metavar="PATH",
                        help="a ublksrv binary (ublk), if you have one, to compare with as well")
    parser.add_argument("--rows", type=words, default=[], metavar="PATTERN,...",
                        help="names or shell patterns; default all")
    parser.add_argument("--systems", type=words, default=[], metavar="NAME,...",
                        help=f"of {', '.join(rows.SYSTEMS)}, all of them in every row; default: "
                             "what each row compares")
    parser.add_argument("--seconds", type=positive, help="of each measurement; default 4")
    parser.add_argument("--rounds", type=positive,
                        help="measurements of each system in each row; default 3")
    parser.add_argument("--cycles", type=positive,
                        help=f"repetitions of the row {rows.ATTACH_ROW}; default 20")
    parser.add_argument("--smoke", action="store_true",
                        help="a row of each kind, once, for a second, on a small image")
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "guest.json", metavar="OUT",
                        help="default build/bench/guest.json")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    for name, value in {"seconds": 4, "rounds": 3, "cycles": 20}.items():
        if getattr(options, name) is None:
            setattr(options, name, SMOKE[name] if options.smoke else value)
    return options


def main():
    # As an exception: what runs below this process then ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: terminated"))
    try:
        sys.exit(run(parse_options()))
    except (BenchError, rows.PlanError) as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
