"""The rows of seeds.py, the systems in each, and what each is to reach. Host and guest read it."""

import dataclasses

import rows
from rows import PSYNC_JOBS, libaio
from targets import Target, ratio, value

# Every policy that a row names. Where ringloop has no policy of an optional name, the rows go
# without it: it exists to show what a part of another policy is good for.
POLICIES = ("linux-3.19", "linux-4.0", "linux-4.0-capped", "linux-5.14", "nowait-no-hint",
            "loop-nowait", "auto")
OPTIONAL_POLICIES = ("nowait-no-hint",)
BUFFERED = "-buffered"  # behind a policy: the image goes through the page cache
ALONE = "alone"  # the neighbour without anything beside it

# In the order of the tables, and in which they take turns.
SYSTEMS = ("file", ALONE, "loop-dio", "loop-buffered", "linux-3.19", "linux-4.0",
           "linux-4.0-capped", "linux-4.0" + BUFFERED, "linux-5.14", "nowait-no-hint",
           "loop-nowait", "auto")

# What moves through a row: fio on one device, or a boot's readers on images inside one another,
# alone or beside a process that computes.
FIO, NESTED, NEIGHBOUR = "fio", "nested", "neighbour"


@dataclasses.dataclass(frozen=True)
class SeedRow(rows.Row):
    kind: str = FIO
    slow: bool = False  # the image lies on the disk with the delay
    cpus: int = 2  # of the guest


def row(name, title, systems, *fio, **keywords):
    return SeedRow(name, title, fio, systems, **keywords)


CONVERSION = ("loop-dio", "linux-3.19", "linux-4.0", "auto")
SPARSE = ("file", "loop-dio", "linux-5.14", "nowait-no-hint", "loop-nowait", "auto")
TWELVE_JOBS = ("file", "loop-dio", "linux-3.19", "linux-5.14", "nowait-no-hint", "loop-nowait",
               "auto")
LIVE = ("loop-buffered", "linux-4.0", "linux-4.0-capped", "auto")
LIVE_CPUS = (1, 2, 4)

ROWS = (
    *(row(f"003-{pattern}", f"4k {pattern}, libaio qd64, slow disk", CONVERSION,
          *libaio(pattern, 64), slow=True)
      for pattern in ("randread", "read", "randwrite", "write")),
    row("004-randread", "4k randread, libaio qd64: through the page cache or around it",
        ("file", "loop-dio", "linux-4.0" + BUFFERED, "auto"), *libaio("randread", 64)),
    row("002-sparse-randwrite", "4k randwrite, libaio qd16, sparse file", SPARSE,
        *libaio("randwrite", 16), sparse=True),
    row("002-sparse-write", "4k write, libaio qd16, sparse file", SPARSE,
        *libaio("write", 16), sparse=True),
    row("002-rw-psync-j12", "4k rw, psync, 12 jobs", TWELVE_JOBS, *PSYNC_JOBS),
    row("002-rw-qd16-j12", "4k rw, libaio qd16, 12 jobs", TWELVE_JOBS,
        *libaio("rw", 16, "--numjobs=12")),
    *(row(f"000-boot-{cpus}cpu", f"iso in it squashfs in it ext4, 16 readers, {cpus} CPUs", LIVE,
          kind=NESTED, cpus=cpus) for cpus in LIVE_CPUS),
    row("000-neighbour", "the same on 2 CPUs beside a process that computes", (ALONE, *LIVE),
        kind=NEIGHBOUR),
)

# A row of each kind.
SMOKE_ROWS = ("003-randread", "004-randread", "002-sparse-randwrite", "000-boot-2cpu",
              "000-neighbour")
SMOKE_SYSTEMS = {"003-randread": ("linux-3.19", "auto"),
                 "004-randread": ("linux-4.0" + BUFFERED, "auto"),
                 "002-sparse-randwrite": ("loop-nowait", "auto"),
                 "000-boot-2cpu": ("loop-buffered", "auto"), "000-neighbour": (ALONE, "auto")}


def plan(row_patterns=(), smoke=False, without=()):
    """A list of (SeedRow, names of systems), without the systems in `without`."""
    chosen = []
    for each in rows.choose_rows(row_patterns or (SMOKE_ROWS if smoke else ()), ROWS):
        names = SMOKE_SYSTEMS.get(each.name, each.systems) if smoke else each.systems
        chosen.append((each, [name for name in SYSTEMS if name in names and name not in without]))
    return chosen


def policy_of(system):
    """None for what is not ringloop."""
    name = system.removesuffix(BUFFERED)
    return name if name in POLICIES else None


# ---- what is to be reached ---------------------------------------------------------------------


# The published figures behind them: README.md.
TARGETS = (
    # One thread against concurrent reads; the writes have one thread in both.
    ratio("003-randread", "linux-4.0", "linux-3.19", at_least=5.0),
    ratio("003-randread", "auto", "linux-3.19", at_least=5.0),
    ratio("003-read", "linux-4.0", "linux-3.19"),
    ratio("003-randwrite", "linux-4.0", "linux-3.19", at_least=0.95, at_most=1.05),
    ratio("003-write", "linux-4.0", "linux-3.19", at_least=0.95, at_most=1.05),
    # Adjacent writes reach the image together.
    *(target for system in ("linux-4.0", "auto") for target in (
        value("003-write", system, "disk_kib_per_io", at_least=32.0),
        value("003-write", system, "merged", at_least=1))),
    ratio("004-randread", "auto", "file", at_least=0.9),
    ratio("004-randread", "auto", "linux-4.0" + BUFFERED, at_least=2.0),
    ratio("004-randread", "auto", "linux-4.0" + BUFFERED, figure="ctxt_per_io"),
    value("004-randread", "auto", "cached_mib", at_most=1.0),
    value("004-randread", "linux-4.0" + BUFFERED, "cached_mib"),
    ratio("002-sparse-randwrite", "loop-nowait", "linux-5.14", at_least=0.95),
    ratio("002-sparse-randwrite", "nowait-no-hint", "linux-5.14"),
    ratio("002-sparse-randwrite", "auto", "loop-dio", at_least=2.0),
    ratio("002-sparse-write", "loop-nowait", "linux-5.14"),
    ratio("002-sparse-write", "nowait-no-hint", "linux-5.14"),
    *(target for jobs in ("002-rw-psync-j12", "002-rw-qd16-j12") for target in (
        ratio(jobs, "auto", "linux-3.19", at_least=3.0),
        ratio(jobs, "loop-nowait", "linux-5.14"),
        ratio(jobs, "auto", "file"))),
    *(Target("000-boot-4cpu", "seconds", system, against_row="000-boot-1cpu", at_most=limit)
      for system, limit in (("loop-buffered", None), ("linux-4.0", None),
                            ("linux-4.0-capped", 1.1), ("auto", 1.1))),
    *(value(f"000-boot-{cpus}cpu", system, "runnable", at_most=limit) for cpus in LIVE_CPUS
      for system, limit in (("linux-4.0", None), ("linux-4.0-capped", 16), ("auto", 16))),
    *(ratio("000-neighbour", system, ALONE, figure="rate", at_least=limit)
      for system, limit in (("loop-buffered", None), ("linux-4.0", None),
                            ("linux-4.0-capped", None), ("auto", 0.9))),
    ratio("000-neighbour", "auto", "loop-buffered", figure="rate"),
)

# `auto` against the best other policy of each row, by the figure that counts there.
AUTO_AT_LEAST = 0.97
LESS_IS_BETTER = ("seconds",)


def deciding_figure(name):
    """Of a row."""
    kinds = {each.name: each.kind for each in ROWS}
    return {FIO: "iops", NESTED: "seconds", NEIGHBOUR: "rate"}[kinds[name]]
