#!/usr/bin/python3
"""Measures ringloop beside the kernel's loop driver, in a guest with a real kernel.

    bench/run.py [--rows PATTERN,...] [--systems NAME,...] [--seconds S] [--rounds N]
    bench/run.py --smoke        a minute: does the benchmark still work?
    bench/run.py --list         the rows and what they compare

`make bench` is this without options. README.md beside it says what is measured and how to read
the tables. The exit status is 0 when every measurement succeeded.
"""

import argparse
import math
import pathlib

import host
import rows
import table
from host import BUILD, BenchError, positive
from rows import words

CPUS = 2
SMOKE = {"seconds": 1, "rounds": 1, "cycles": 2}
# What a measurement may take beside fio's own seconds before the guest counts as hanging.
CELL_LIMIT_S = 20
PREPARE_LIMIT_S = 300


def run(options):
    plan = rows.plan(options.rows, options.systems, bool(options.ublksrv), options.smoke)
    if not plan:
        raise BenchError("nothing to measure: none of these rows has one of these systems")
    if options.list:
        show(plan)
        return 0
    check_files(options, plan)
    status, results = run_guest(options, plan)
    host.publish(results, options.json, table.text(results))
    return 1 if status or results["meta"]["failures"] else 0


def show(plan):
    width = max(len(row.name) for row, _ in plan)
    for row, names in plan:
        print(f"{row.name.ljust(width)}  {row.title}: {', '.join(names)}")


def check_files(options, plan):
    names = {name for _, names in plan for name in names}
    if names & set(rows.RINGLOOP):
        host.check_binary(options.binary)
    if options.ublksrv and not options.ublksrv.is_file():
        raise BenchError(f"no {options.ublksrv}: --ublksrv takes the path of ublksrv's 'ublk'")


def run_guest(options, plan):
    inside = ["--seconds", options.seconds, "--rounds", options.rounds,
              "--cycles", options.cycles, "--rows", ",".join(options.rows),
              "--systems", ",".join(options.systems)]
    if options.ublksrv:
        inside += ["--ublksrv", options.ublksrv.resolve()]
    if options.smoke:
        inside.append("--smoke")
    return host.run_guest("guest.py", inside, CPUS, limit_s(options, plan), options.binary)


def limit_s(options, plan):
    cells = sum(len(names) * (options.cycles if row.name == rows.ATTACH_ROW else options.rounds)
                for row, names in plan)
    return math.ceil(PREPARE_LIMIT_S + cells * (options.seconds + CELL_LIMIT_S))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=host.TREE / "build/release/ringloop",
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
    return host.settle(parser.parse_args(), {"seconds": 4, "rounds": 3, "cycles": 20}, SMOKE)


if __name__ == "__main__":
    host.main("run.py", lambda: run(parse_options()))
