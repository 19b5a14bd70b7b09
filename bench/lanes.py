#!/usr/bin/python3
"""Measures what it costs to charge each request to the cgroup that issued it, and what it gives.

    bench/lanes.py [--rows PATTERN,...] [--seconds S] [--rounds N] [--cgroups N]
    bench/lanes.py --smoke      a minute: does the benchmark still work?
    bench/lanes.py --list       the rows, and what is to be reached

`make bench-lanes` is this without options. README.md beside it says what is measured and how to
read the tables. The exit status is 0 when every measurement succeeded, whatever came out.
"""

import argparse
import math
import pathlib

import host
import lanes_rows
import lanes_table
import targets
from host import BUILD, positive
from lanes_rows import LIFE, NEIGHBOUR
from rows import words

CPUS = 2
DEFAULTS = {"seconds": 3, "rounds": 3, "life_rounds": 1, "cgroups": 200}
SMOKE = {"seconds": 1, "rounds": 1, "life_rounds": 1, "cgroups": 5}
# What a measurement may take beside fio's own seconds before the guest counts as hanging.
CELL_LIMIT_S = 25
CGROUP_LIMIT_S = 0.5
PREPARE_LIMIT_S = 300


def run(options):
    plan = lanes_rows.plan(options.rows, options.smoke)
    if options.list:
        show(plan)
        return 0
    host.check_binary(options.binary)
    status, results = run_guest(options, plan)
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    results["targets"] = lanes_table.verdicts(cells)
    results["meta"]["cgroups"] = options.cgroups
    host.publish(results, options.json, lanes_table.text(results))
    return 1 if status or results["meta"]["failures"] else 0


def run_guest(options, plan):
    inside = ["--seconds", options.seconds, "--rounds", options.rounds,
              "--life-rounds", options.life_rounds, "--cgroups", options.cgroups,
              "--rows", ",".join(row.name for row, _ in plan)]
    if options.smoke:
        inside.append("--smoke")
    limit_s = PREPARE_LIMIT_S + sum(len(names) * cell_limit_s(options, row)
                                    for row, names in plan)
    return host.run_guest("lanes_guest.py", inside, CPUS, math.ceil(limit_s), options.binary)


def cell_limit_s(options, row):
    if row.kind == LIFE:
        return options.life_rounds * (CELL_LIMIT_S * 4 + options.cgroups * CGROUP_LIMIT_S)
    runs = 3 if row.kind == NEIGHBOUR else 1
    return options.rounds * runs * (options.seconds + CELL_LIMIT_S)


def show(plan):
    width = max(len(row.name) for row, _ in plan)
    for row, _ in plan:
        print(f"{row.name.ljust(width)}  {row.title}")
        for line in targets.tell_limits(row.name, lanes_rows.TARGETS, lanes_rows.NAMES):
            print(f"{' ' * width}    {line}")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=host.TREE / "build/release/ringloop",
                        help="default build/release/ringloop")
    parser.add_argument("--rows", type=words, default=[], metavar="PATTERN,...",
                        help="names or shell patterns; default all")
    parser.add_argument("--seconds", type=positive, help="of each run of fio; default 3")
    parser.add_argument("--rounds", type=positive,
                        help="measurements of each system in each row of fio; default 3")
    parser.add_argument("--cgroups", type=positive, help="of the row life; default 200")
    parser.add_argument("--life-rounds", type=positive, help="of the row life; default 1")
    parser.add_argument("--smoke", action="store_true",
                        help="a row of each kind, once, for a second, on a small image")
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "lanes.json", metavar="OUT",
                        help="default build/bench/lanes.json")
    parser.add_argument("--list", action="store_true")
    return host.settle(parser.parse_args(), DEFAULTS, SMOKE)


if __name__ == "__main__":
    host.main("lanes.py", lambda: run(parse_options()))
