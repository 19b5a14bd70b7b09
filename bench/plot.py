#!/usr/bin/python3
"""Draws what a benchmark measured: SVG beside the JSON, the same for the same JSON.

    bench/plot.py FILE...       of run.py, seeds.py, lanes.py, nbd.py or in_process.py

Rows that compare the same systems share a picture, each row with a scale of its own. A bar is the
median of the rounds, the line on it reaches from the lowest to the highest.
"""

import json
import pathlib
import re
import statistics
import sys
from xml.sax.saxutils import escape

# (key of the JSON, what it is): the first that a row has is drawn.
FIGURES = (("iops", "IOPS, more is better"),
           ("total_ms", "milliseconds, less is better"),
           ("seconds", "seconds, less is better"))
# The systems that the benchmarks are about.
OURS = re.compile(r"^(ringloop|auto|issuer)")

WIDTH = 760
MARGIN = 20
LABEL_END = 200
BAR_BEGIN = 212
BAR_WIDTH = 430  # of the highest value; its number stands behind it
HEADER = 64
TITLE_HEIGHT = 28
BAR_STEP = 22
BAR_HEIGHT = 14
PANEL_GAP = 14
FOOTER = 30

# Neutral bars for the others, one colour for ours; both stand out on white and on black.
STYLE = """\
    svg { color: #1f2328; font: 12px system-ui, sans-serif; }
    text { fill: currentColor; }
    .head { font-size: 16px; font-weight: 600; }
    .row { font-size: 13px; font-weight: 600; }
    .faint { opacity: 0.7; }
    .label { text-anchor: end; }
    .bar { fill: #8c959f; }
    .ours { fill: #2b7de0; }
    .axis { stroke: currentColor; opacity: 0.3; }
    .range { stroke: currentColor; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      svg { color: #e6edf3; }
      .bar { fill: #6e7681; }
      .ours { fill: #3d8bfd; }
    }"""


def write(json_path):
    """Draws every group of the file; the paths of the pictures, which begin with its name."""
    json_path = pathlib.Path(json_path)
    results = json.loads(json_path.read_text(encoding="utf-8"))
    written = []
    for (title, _), rows in groups(results["rows"]).items():
        name = re.sub(r"[^\w.-]", "-", next(iter(rows)))
        path = json_path.with_name(f"{json_path.stem}-{name}.svg")
        path.write_text(picture(json_path.stem, title, rows, results["meta"]), encoding="utf-8")
        written.append(path)
    return written


def groups(cells):
    """{(what is drawn, names of systems): {row: {system: values}}}, in the order of the file. A
    system without a value is left out: its measurements failed."""
    rows = {}
    for cell in cells:
        title, values = figure_of(cell)
        if values:
            rows.setdefault((cell["row"], title), {})[cell["system"]] = values
    found = {}
    for (name, title), systems in rows.items():
        found.setdefault((title, tuple(systems)), {})[name] = systems
    return found


def figure_of(cell):
    for key, title in FIGURES:
        if cell.get(key):
            return title, cell[key]
    return "", []


def picture(stem, title, rows, meta):
    parts, y = [], HEADER
    for name, systems in rows.items():
        panel, y = draw_row(name, systems, y)
        parts += panel
    made = " · ".join(f"{word} {meta[key]}" for key, word in
                      (("kernel", "Linux"), ("commit", "commit"), ("date", "measured"))
                      if meta.get(key))
    height = y + FOOTER
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">',
        f"  <title>{escape(stem)}: {escape(title)}</title>",
        f"  <style>\n{STYLE}\n  </style>",
        text(MARGIN, 28, f"{stem}: {title}", "head"),
        text(MARGIN, 48, "Bar: median. Line: lowest and highest round. "
                         "Each row has its own scale.", "faint"),
    ]
    return "\n".join([*head, *parts, text(MARGIN, y + 12, made, "faint"), "</svg>", ""])


def draw_row(name, systems, y):
    """(elements, where the next row begins)"""
    highest = max(max(values) for values in systems.values()) or 1
    parts = [text(MARGIN, y + 16, name, "row")]
    begin = y + TITLE_HEIGHT
    y = begin
    for system, values in systems.items():
        parts += draw_bar(system, values, BAR_WIDTH / highest, y)
        y += BAR_STEP
    parts.append(line(BAR_BEGIN, begin - 4, BAR_BEGIN, y, "axis"))
    return parts, y + PANEL_GAP


def draw_bar(system, values, scale, y):
    median = statistics.median(values)
    low, high = (BAR_BEGIN + value * scale for value in (min(values), max(values)))
    middle = y + BAR_HEIGHT / 2
    kind = "ours" if OURS.match(system) else "bar"
    parts = [
        text(LABEL_END, middle + 4, system, "label"),
        f'  <rect class="{kind}" x="{BAR_BEGIN}" y="{y}" width="{median * scale:.1f}" '
        f'height="{BAR_HEIGHT}" rx="2"/>',
        text(high + 8, middle + 4, number(median)),
    ]
    if len(values) > 1:
        parts.append(line(low, middle, high, middle, "range"))
        parts += [line(x, middle - 4, x, middle + 4, "range") for x in (low, high)]
    return parts


def text(x, y, content, kind=""):
    attribute = f' class="{kind}"' if kind else ""
    return f'  <text{attribute} x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'  <line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[1:]:
        for path in write(name):
            print(path)


if __name__ == "__main__":
    main()
