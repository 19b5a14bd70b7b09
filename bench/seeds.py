#!/usr/bin/python3
"""Measures every way in which the kernel's loop driver ever dispatched, as policies of ringloop.

    bench/seeds.py [--rows PATTERN,...] [--seconds S] [--rounds N]
    bench/seeds.py --smoke      a minute: does the benchmark still work?
    bench/seeds.py --list       the rows, what they compare, and what is to be reached

`make bench-seeds` is this without options. README.md beside it says what is measured and how to
read the tables. The exit status is 0 when every measurement succeeded, whatever came out.
"""

import argparse
import math
import pathlib

import host
import nested_image
import seeds_rows
import seeds_table
import targets
from host import BUILD, positive
from rows import words
from seeds_rows import FIO

DEFAULTS = {"seconds": 3, "rounds": 3, "nested_rounds": 2}
SMOKE = {"seconds": 1, "rounds": 1, "nested_rounds": 1}
# What a measurement may take beside fio's own seconds before the guest counts as hanging.
CELL_LIMIT_S = 20
NESTED_LIMIT_S = 120
PREPARE_LIMIT_S = 300


def run(options):
    plan = seeds_rows.plan(options.rows, options.smoke)
    if options.list:
        show(plan)
        return 0
    host.check_binary(options.binary)
    iso = None
    if any(row.kind != FIO for row, _ in plan):
        iso = nested_image.make(options.smoke)
    results = {"meta": {"failures": [], "queues": {}, "boots": []}, "rows": []}
    worst = 0
    for cpus, part in boots(plan):
        status, found = run_guest(options, cpus, part, iso)
        worst = max(worst, status)
        add(results, cpus, found)
        # After every boot: should the next one not come up, the others are there.
        conclude(results)
        host.keep(results, options.json)
    host.publish(results, options.json, seeds_table.text(results))
    return 1 if worst or results["meta"]["failures"] else 0


def boots(plan):
    """A guest for the devices, then one for each number of CPUs that nested images are read with:
    (CPUs, that part of the plan)."""
    keys = dict.fromkeys((row.kind != FIO, row.cpus) for row, _ in plan)
    return [(key[1], [(row, names) for row, names in plan if (row.kind != FIO, row.cpus) == key])
            for key in keys]


def run_guest(options, cpus, part, iso):
    is_nested = part[0][0].kind != FIO
    rounds = options.nested_rounds if is_nested else options.rounds
    inside = ["--seconds", options.seconds, "--rounds", rounds,
              "--rows", ",".join(row.name for row, _ in part)]
    if is_nested:
        # Below the tree, which the guest asks for every time: the rest of the host may be stale.
        inside += ["--nested", pathlib.Path("/tree") / iso.relative_to(host.TREE)]
    if options.smoke:
        inside.append("--smoke")
    cells = sum(len(names) * (rounds + 1) for _, names in part)
    limit_s = PREPARE_LIMIT_S + cells * (NESTED_LIMIT_S if is_nested
                                         else options.seconds + CELL_LIMIT_S)
    return host.run_guest("seeds_guest.py", inside, cpus, math.ceil(limit_s), options.binary)


def add(results, cpus, found):
    """What one boot measured. The systems are set up alike in all of them."""
    meta = found["meta"]
    results["rows"] += found["rows"]
    results["meta"]["failures"] += meta.pop("failures")
    results["meta"]["queues"] |= meta.pop("queues")
    results["meta"]["boots"].append(meta | {"cpus": cpus})


def conclude(results):
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    results["targets"] = seeds_table.verdicts(cells)
    results["auto"] = seeds_table.auto_against_best(
        cells, list(dict.fromkeys(cell["row"] for cell in results["rows"])))


def show(plan):
    width = max(len(row.name) for row, _ in plan)
    for row, names in plan:
        print(f"{row.name.ljust(width)}  {row.title}: {', '.join(names)}")
        for line in targets.tell_limits(row.name, seeds_rows.TARGETS, seeds_table.NAMES):
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
    parser.add_argument("--nested-rounds", type=positive,
                        help="the same in the rows of nested images; default 2")
    parser.add_argument("--smoke", action="store_true",
                        help="a row of each kind, once, for a second, on small images")
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "seeds.json", metavar="OUT",
                        help="default build/bench/seeds.json")
    parser.add_argument("--list", action="store_true")
    return host.settle(parser.parse_args(), DEFAULTS, SMOKE)


if __name__ == "__main__":
    host.main("seeds.py", lambda: run(parse_options()))
