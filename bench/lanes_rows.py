"""The rows of lanes.py and what each is to reach. Host and guest read it."""

import dataclasses

import rows
from rows import libaio
from targets import ratio, value

# `--charge`: the server's own cgroup pays, or the one that issued the request.
OFF, ISSUER = "off", "issuer"
SYSTEMS = (OFF, ISSUER)

# What a row is: fio in one cgroup; a cgroup beside one that is throttled; cgroups that come and go.
COST, NEIGHBOUR, LIFE = "cost", "neighbour", "life"
UBLK, NBD = "ublk", "nbd"

# Of the throttled cgroup, on the disk below, each way.
THROTTLED_BYTES_S = 1 << 20


@dataclasses.dataclass(frozen=True)
class LanesRow(rows.Row):
    kind: str = COST
    transport: str = UBLK
    direct: bool = True  # the image; the client of a block device always is


def row(name, title, *fio, **keywords):
    return LanesRow(name, title, fio, SYSTEMS, **keywords)


def nbd(pattern, depth):
    return ("--ioengine=nbd", f"--rw={pattern}", "--bs=4k", f"--iodepth={depth}")


ROWS = (
    *(row(f"{pattern}-qd32", f"4k {pattern}, libaio qd32", *libaio(pattern, 32))
      for pattern in ("randread", "read", "randwrite", "write")),
    *(row(f"{pattern}-qd1", f"4k {pattern}, libaio qd1", *libaio(pattern, 1))
      for pattern in ("randread", "randwrite")),
    *(row(f"buffered-{pattern}-qd32", f"4k {pattern}, libaio qd32, image through the page cache",
          *libaio(pattern, 32), direct=False) for pattern in ("randread", "randwrite")),
    *(row(f"nbd-{pattern}-qd32", f"4k {pattern}, NBD over a Unix socket, qd32", *nbd(pattern, 32),
          transport=NBD) for pattern in ("randread", "randwrite")),
    *(row(f"neighbour-{pattern}", f"4k {pattern}, qd32, beside the same in a cgroup with 1 MiB/s",
          *libaio(pattern, 32), kind=NEIGHBOUR) for pattern in ("randread", "randwrite")),
    *(row(f"nbd-neighbour-{pattern}", f"the same, 4k {pattern}, through NBD", *nbd(pattern, 32),
          kind=NEIGHBOUR, transport=NBD) for pattern in ("randread", "randwrite")),
    row("life", "cgroups made, used for a write and a read, and removed", kind=LIFE),
)

# A row of each kind.
SMOKE_ROWS = ("randread-qd32", "nbd-neighbour-randread", "life")


def plan(row_patterns=(), smoke=False):
    """A list of (LanesRow, names of systems)."""
    chosen = rows.choose_rows(row_patterns or (SMOKE_ROWS if smoke else ()), ROWS)
    return [(each, list(each.systems)) for each in chosen]


# ---- what is to be reached ---------------------------------------------------------------------

# What a figure is called in a sentence.
NAMES = {"iops": "IOPS", "p99_us": "p99", "server_us_per_io": "server's CPU per I/O",
         "server_ctxt_per_io": "server's switches per I/O",
         "kept": "IOPS beside the throttled / alone", "p99_ratio": "p99 beside / alone",
         "throttled_mib_s": "MiB/s of the throttled",
         "charged": "cgroups that were charged, of all",
         "removable_s": "seconds from the last use to rmdir, at most",
         "pss_mib": "server's PSS grew, MiB", "fds": "more descriptors",
         "processes": "more processes", "kernel_mib": "kernel's memory grew, MiB",
         "dying": "more dying cgroups"}


def cost_targets(each):
    deep = each.name.endswith("-qd32")
    yield ratio(each.name, ISSUER, OFF, at_least=0.85 if deep else None)
    yield ratio(each.name, ISSUER, OFF, figure="p99_us")
    yield ratio(each.name, ISSUER, OFF, figure="server_us_per_io")
    for system in SYSTEMS:
        yield value(each.name, system, "server_ctxt_per_io")


def neighbour_targets(each):
    """Without lanes the limit, which is on the disk below, meets nobody: that shows that the row
    can tell the difference."""
    mib_s = THROTTLED_BYTES_S / (1 << 20)
    yield value(each.name, ISSUER, "kept", at_least=0.95)
    yield value(each.name, ISSUER, "p99_ratio", at_most=2.0)
    yield value(each.name, ISSUER, "throttled_mib_s", at_most=1.1 * mib_s)
    yield value(each.name, OFF, "kept")
    yield value(each.name, OFF, "p99_ratio")
    yield value(each.name, OFF, "throttled_mib_s", at_least=1.1 * mib_s)


def life_targets(each):
    yield value(each.name, ISSUER, "charged", at_least=1.0)
    yield value(each.name, OFF, "charged", at_most=0.0)
    yield value(each.name, ISSUER, "removable_s")
    yield value(each.name, ISSUER, "pss_mib", at_most=1.0)
    yield value(each.name, ISSUER, "fds", at_most=0)
    yield value(each.name, ISSUER, "processes", at_most=0)
    for system in SYSTEMS:
        yield value(each.name, system, "kernel_mib")
        yield value(each.name, system, "dying")


TARGETS = tuple(target for each in ROWS for target in
                {COST: cost_targets, NEIGHBOUR: neighbour_targets, LIFE: life_targets}[each.kind](
                    each))
