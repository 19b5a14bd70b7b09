#!/usr/bin/python3
"""Prints what seeds.py measured, what was to be reached, and how `auto` did: seeds_table.py FILE"""

import json
import pathlib
import statistics
import sys

import seeds_rows
import table

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
        parts.append("What is to be reached.\n\n" + aligned(verdict_lines(found)))
    best = auto_against_best(cells, names)
    if best:
        parts.append(f"auto against the best other policy of each row: at least "
                     f"{seeds_rows.AUTO_AT_LEAST:.2f}.\n\n" + aligned(best_lines(best)))
    parts += [NOTE, table.NOTE]
    meta = results["meta"]
    if meta["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in meta["failures"]))
    return "\n\n".join(parts)


def with_columns(lines):
    """Without the columns in which nothing was measured."""
    kept = [column for column in range(len(lines[0]))
            if column < 2 or any(line[column] != "-" for line in lines[1:])]
    return [[line[column] for column in kept] for line in lines]


def aligned(lines):
    """All columns are text."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


# ---- targets -----------------------------------------------------------------------------------


def verdicts(cells):
    """One for each target whose figures are there, as it stands in the JSON."""
    found = []
    for target in seeds_rows.TARGETS:
        over = cells.get((target.row, target.system), {}).get(target.figure)
        under = None
        if target.is_ratio:
            under = cells.get((target.against_row or target.row, target.against or target.system),
                              {}).get(target.figure)
        if not over or (target.is_ratio and not under):
            continue
        compared = compare(over, under) if target.is_ratio else spread(over)
        if compared is None:
            continue
        found.append({"row": target.row, "what": describe(target), "unit": unit(target),
                      "at_least": target.at_least, "at_most": target.at_most,
                      **compared, "missed_by": missed_by(target, compared["found"])})
    return found


def compare(over, under):
    """Medians; round by round where both have as many."""
    if not all(under):
        return None
    rounds = ([one / other for one, other in zip(over, under)] if len(over) == len(under)
              else [])
    return spread(rounds) | {"found": statistics.median(over) / statistics.median(under)}


def spread(values):
    if not values:
        return {"lowest": None, "highest": None}
    return {"found": statistics.median(values), "lowest": min(values), "highest": max(values)}


def missed_by(target, found):
    """0 when it is reached; None when there is nothing to reach."""
    if target.at_least is None and target.at_most is None:
        return None
    below = target.at_least - found if target.at_least is not None else 0
    above = found - target.at_most if target.at_most is not None else 0
    return max(below, above, 0)


def describe(target):
    name = NAMES[target.figure]
    if target.against_row:
        return f"{name}: {target.system}, beside {target.against_row}"
    if target.against:
        return f"{name}: {target.system} / {target.against}"
    return f"{name}: {target.system}"


def unit(target):
    return " x" if target.is_ratio else ""


def verdict_lines(found):
    lines = [["row", "what", "found", "verdict"]]
    shown = ""
    for one in found:
        bracket = (f" [{number(one['lowest'])} {number(one['highest'])}]"
                   if one["lowest"] not in (None, one["highest"]) else "")
        lines.append([one["row"] if one["row"] != shown else "", one["what"],
                      f"{number(one['found'])}{one['unit']}{bracket}", sentence(one)])
        shown = one["row"]
    return lines


def sentence(one):
    """The target, and whether it is reached."""
    limits = [f"{sign} {number(one[key])}" for sign, key in ((">=", "at_least"), ("<=", "at_most"))
              if one[key] is not None]
    if not limits:
        return "no target"
    target = f"target {' and '.join(limits)}{one['unit']}: {number(one['found'])}"
    return f"{target} reached" if not one["missed_by"] else \
        f"{target} missed by {number(one['missed_by'])}"


def number(value):
    return f"{value:.2f}" if isinstance(value, float) and abs(value) < 1000 else f"{value:.0f}"


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
