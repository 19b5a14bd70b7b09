"""What a benchmark is to reach, as rows of a table, and whether it did. Host and guest read it."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    """A figure of a system, as it is or as a ratio to another system's or another row's. Without
    a limit it is reported and nothing more."""
    row: str
    figure: str
    system: str
    against: str | None = None  # a system
    against_row: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_ratio(self):
        return bool(self.against or self.against_row)


def ratio(row_name, system, against, figure="iops", **limits):
    return Target(row_name, figure, system, against, **limits)


def value(row_name, system, figure, **limits):
    return Target(row_name, figure, system, **limits)


def verdicts(cells, targets, names):
    """One for each target whose figures are there, as it stands in the JSON. `names`: what a
    figure is called in a sentence."""
    found = []
    for target in targets:
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
        found.append({"row": target.row, "what": describe(target, names), "unit": unit(target),
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


def describe(target, names):
    name = names[target.figure]
    if target.against_row:
        return f"{name}: {target.system}, beside {target.against_row}"
    if target.against:
        return f"{name}: {target.system} / {target.against}"
    return f"{name}: {target.system}"


def unit(target):
    return " x" if target.is_ratio else ""


# ---- as text -----------------------------------------------------------------------------------


def tell_limits(row, targets, names):
    """What is to be reached in a row, a line each."""
    for target in targets:
        limits = [f"{sign} {limit}" for sign, limit in ((">=", target.at_least),
                                                        ("<=", target.at_most))
                  if limit is not None]
        if target.row == row and limits:
            yield f"{describe(target, names)} {' and '.join(limits)}"


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


def number(figure):
    return f"{figure:.2f}" if isinstance(figure, float) and abs(figure) < 1000 else f"{figure:.0f}"


def aligned(lines):
    """All columns are text."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
                     for line in lines)


def with_columns(lines):
    """Without the columns in which nothing was measured."""
    kept = [column for column in range(len(lines[0]))
            if column < 2 or any(line[column] != "-" for line in lines[1:])]
    return [[line[column] for column in kept] for line in lines]
