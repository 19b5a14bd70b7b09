#!/usr/bin/python3
"""Prints what lanes.py measured and what was to be reached: lanes_table.py FILE"""

import json
import pathlib
import sys

import lanes_rows
import table
import targets
from targets import aligned, with_columns

FIGURES = (*table.FIGURES, ("server CPU us per I/O", "server_us_per_io", "{:.1f}"),
           ("server switches per I/O", "server_ctxt_per_io", "{:.2f}"),
           ("alone IOPS", "alone_iops", "{:.0f}"), ("alone p99 us", "alone_p99_us", "{:.0f}"),
           ("throttled MiB/s", "throttled_mib_s", "{:.2f}"))
LIFE_FIGURES = (("charged", "charged", "{:.2f}"), ("ms per cgroup", "ms_per_cgroup", "{:.0f}"),
                ("removable after s", "removable_s", "{:.1f}"),
                ("server PSS MiB", "pss_mib", "{:+.2f}"), ("fds", "fds", "{:+.0f}"),
                ("processes", "processes", "{:+.0f}"), ("kernel MiB", "kernel_mib", "{:+.2f}"),
                ("dying", "dying", "{:+.0f}"))

NOTE = """\
"off" and "issuer" are `--charge`. The server is all processes of the device: the server itself, the
one that starts lanes, and the lanes. Of `life` the figures are by how much each grew."""


def text(results):
    """The tables of a whole run."""
    cells = {(cell["row"], cell["system"]): cell for cell in results["rows"]}
    names = list(dict.fromkeys(cell["row"] for cell in results["rows"]))
    kinds = {row.name: row.kind for row in lanes_rows.ROWS}
    parts = []
    for is_life, figures in ((False, FIGURES), (True, LIFE_FIGURES)):
        chosen = [name for name in names if (kinds[name] == lanes_rows.LIFE) == is_life]
        if chosen:
            parts.append(table.table(with_columns(table.figure_lines(
                cells, chosen, figures, lanes_rows.SYSTEMS))))
    found = verdicts(cells)
    if found:
        parts.append("What is to be reached: medians, in brackets the lowest and the highest "
                     "round.\n\n" + aligned(targets.verdict_lines(found)))
    parts += [NOTE, table.NOTE]
    if results["meta"]["failures"]:
        parts.append("\n".join(f"FAILED: {failure}" for failure in results["meta"]["failures"]))
    return "\n\n".join(parts)


def verdicts(cells):
    """One for each target whose figures are there, as it stands in the JSON."""
    return targets.verdicts(cells, lanes_rows.TARGETS, lanes_rows.NAMES)


if __name__ == "__main__":
    print(text(json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))))
