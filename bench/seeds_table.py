#!/usr/bin/python3
"""Prints what seeds.py measured, what was to be reached, and how `auto` did: seeds_table.py FILE"""

import json
import pathlib
import statistics
import sys

import seeds_rows
import table
import targets
from targets import aligned, with_columns

FIGURES = (*table.FIGURES, ("disk KiB per I/O", "disk_kib_per_io", "{:.1f}"),
           ("merged", "merged", "{:.0f}"), ("cached MiB", "cached_mib", "{:.1f}"),
           ("workers", "workers_max_seen", "{:.0f}"))
NESTED_FIGURES = (("wall s", "seconds", "{:.2f}"), ("CPU s", "cpu_s", "{:.2f}"),
                  ("switches", "switches", "{:.0f}"), ("runnable workers", "runnable", "{:.0f}"),
                  ("workers", "workers_max_seen", "{:.0f}"),
                  ("neighbour, loops/s", "rate", "{:.0f}"))
RATIOS = tuple((f"{above}/{below}", above, below) for above, below in (
    ("auto", "loop-dio"), ("auto", "file"), ("auto", "linux-3.19"), ("auto", "linux-5.14"),
    ("linux-4.0", "linux-3.19"), ("loop-nowait", "linux-5.14")))

# What a figure is called in a sentence.
NAMES = {"iops": "IOPS", "ctxt_per_io": "switches per I/O", "disk_kib_per_io": "disk KiB per I/O",
         "merged": "merged requests", "cached_mib": "MiB of page cache",
         "seconds": "wall time", "runnable": "runnable workers", "rate": "neighbour's rate"}

NOTE = """\
"disk KiB per I/O" is the average request that reached the disk of the image. "workers" is what the
server itself counted (workers_max_seen), "runnable workers" what was seen from outside, every 50 ms
in a run of its own: of one device, the most at once. Less is better for wall time."""


def text(results):
    """The tables of a whole run."""
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    names = list(dict.fromkeys(cell["row"] for cell in results["rows"]))
    kinds = {row.name: row.kind for row in seeds_rows.ROWS}
    devices = [name for name in names if kinds[name] == seeds_rows.FIO]
    boots = [name for name in names if kinds[name] != seeds_rows.FIO]
    parts = []
    for chosen, figures in ((devices, FIGURES), (boots, NESTED_FIGURES)):
        if chosen:
            parts.append(table.table(with_columns(table.figure_lines(
                cells, chosen, figures, seeds_rows.SYSTEMS))))
    ratios = table.ratio_lines(cells, devices, "iops", RATIOS)
    if len(ratios) > 1:
        parts.append("Ratios of IOPS: medians, in brackets the lowest and the highest round.\n\n" +
                     table.table(ratios))
    found = verdicts(cells)
    if found:
        parts.append("What is to be reached.\n\n" + aligned(targets.verdict_lines(found)))
    best = auto_against_best(cells, names)
    if best:
        parts.append(f"auto against the best other policy of each row: at least "
                     f"{seeds_rows.AUTO_AT_LEAST:.2f}.\n\n" + aligned(best_lines(best)))
    parts += [NOTE, table.NOTE]
    meta = results["meta"]
    if meta["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in meta["failures"]))
    return "\n\n".join(parts)


# ---- targets -----------------------------------------------------------------------------------


def verdicts(cells):
    """One for each target whose figures are there, as it stands in the JSON."""
    return targets.verdicts(cells, seeds_rows.TARGETS, NAMES)


# ---- auto --------------------------------------------------------------------------------------


def auto_against_best(cells, names):
    """For each row with `auto` and another policy, as it stands in the JSON."""
    found = []
    for name in names:
        figure = seeds_rows.deciding_figure(name)
        medians = {system: statistics.median(cells[name, system][figure])
                   for system in seeds_rows.SYSTEMS
                   if seeds_rows.policy_of(system) and cells.get((name, system), {}).get(figure)}
        auto = medians.pop("auto", None)
        if not auto or not medians:
            continue
        less = figure in seeds_rows.LESS_IS_BETTER
        best = (min if less else max)(medians, key=medians.get)
        ratio = medians[best] / auto if less else auto / medians[best]
        found.append({"row": name, "figure": figure, "best_other": best, "auto_ratio": ratio,
                      "first": ratio >= 1, "reached": ratio >= seeds_rows.AUTO_AT_LEAST})
    return found


def best_lines(found):
    lines = [["row", "by", "best policy", "auto to the best other", "place", "verdict"]]
    for one in found:
        verdict = f"target >= {seeds_rows.AUTO_AT_LEAST:.2f} x: {one['auto_ratio']:.2f} "
        verdict += ("reached" if one["reached"] else
                    f"missed by {seeds_rows.AUTO_AT_LEAST - one['auto_ratio']:.2f}")
        lines.append([one["row"], NAMES[one["figure"]],
                      "auto" if one["first"] else one["best_other"],
                      f"{one['auto_ratio']:.2f} x {one['best_other']}",
                      "first" if one["first"] else "not first", verdict])
    lines.append([f"first in {sum(one['first'] for one in found)} of {len(found)} rows",
                  "", "", "", "", ""])
    return lines


if __name__ == "__main__":
    print(text(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))))
