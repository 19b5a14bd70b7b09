#!/usr/bin/python3
"""Prints what a run measured. Also by itself, for a file that run.py wrote: table.py FILE"""

import json
import pathlib
import statistics
import sys

import rows

# (column, what is measured, what it is measured against)
RATIOS = (("ringloop/loop-dio", "ringloop", "loop-dio"),
          ("buffered: ringloop/loop", "ringloop-buffered", "loop-buffered"),
          ("ringloop/file", "ringloop", "file"),
          ("ringloop/ublksrv", "ringloop", "ublksrv"),
          ("ublksrv/loop-dio", "ublksrv", "loop-dio"))

FIGURES = (("IOPS", "iops", "{:.0f}"), ("p50 us", "p50_us", "{:.0f}"),
           ("p99 us", "p99_us", "{:.0f}"), ("CPU us per I/O", "cpu_us_per_io", "{:.1f}"),
           ("switches per I/O", "ctxt_per_io", "{:.2f}"))
ATTACH_FIGURES = (("attach ms", "attach_ms", "{:.0f}"), ("usable ms", "usable_ms", "{:.0f}"),
                  ("detach ms", "detach_ms", "{:.0f}"), ("total ms", "total_ms", "{:.0f}"))

NOTE = """\
Ratios only: the guest's processors are emulated, so code takes about ten times as long as on a
real machine while the disk does not. A figure here means something beside another one of the same
run, and nothing by itself."""


def text(results):
    """The tables of a whole run."""
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    names = list(dict.fromkeys(cell["row"] for cell in results["rows"]))
    parts = tables(cells, [name for name in names if name != rows.ATTACH_ROW], FIGURES, "iops",
                   "Ratios of IOPS: more is better; medians, in brackets the lowest and the "
                   "highest round.")
    parts += tables(cells, [name for name in names if name == rows.ATTACH_ROW], ATTACH_FIGURES,
                    "total_ms", "Ratios of total time: less is better.")
    parts.append(NOTE)
    if results["meta"]["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in results["meta"]["failures"]))
    return "\n\n".join(parts)


def tables(cells, names, figures, key, heading):
    """The figures, then how the systems compare in the one called `key`."""
    parts = []
    if names:
        parts.append(table(figure_lines(cells, names, figures)))
        ratios = ratio_lines(cells, names, key)
        if len(ratios) > 1:
            parts.append(heading + "\n\n" + table(ratios))
    return parts


def figure_lines(cells, names, figures, systems=rows.SYSTEMS):
    lines = [["row", "system", *(title for title, _, _ in figures)]]
    for name in names:
        shown = name  # once, beside its first system
        for system in systems:
            if (name, system) in cells:
                cell = cells[name, system]
                lines.append([shown, system, *(median(cell, key, form)
                                               for _, key, form in figures)])
                shown = ""
    return lines


def median(cell, key, form):
    return form.format(statistics.median(cell[key])) if cell.get(key) else "-"


def ratio_lines(cells, names, key, ratios=RATIOS):
    """Rows and columns with at least one ratio in them, below their titles."""
    found = {(name, title): ratio(cells, name, above, below, key)
             for name in names for title, above, below in ratios}
    titles = [title for title, _, _ in ratios if any(found[name, title] for name in names)]
    return [["row", *titles],
            *([name, *(found[name, title] or "-" for title in titles)]
              for name in names if any(found[name, title] for title in titles))]


def ratio(cells, name, above, below, key):
    over = cells.get((name, above), {}).get(key, [])
    under = cells.get((name, below), {}).get(key, [])
    if not over or not under:
        return ""
    whole = f"{statistics.median(over) / statistics.median(under):.2f}"
    if len(over) != len(under) or len(over) == 1:
        return whole
    rounds = [one / other for one, other in zip(over, under)]
    return f"{whole} [{min(rounds):.2f} {max(rounds):.2f}]"


def table(lines):
    """Columns as wide as their widest cell; texts to the left, figures to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    is_text = [title in ("row", "system") for title in lines[0]]
    return "\n".join("  ".join(cell.ljust(width) if left else cell.rjust(width)
                               for cell, width, left in zip(line, widths, is_text)).rstrip()
                     for line in lines)


if __name__ == "__main__":
    print(text(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))))
