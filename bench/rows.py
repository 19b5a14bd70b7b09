"""What is measured: the rows, and which systems each of them compares. Host and guest read it."""

import dataclasses
import fnmatch

# In the order in which they take turns. `file` is no device but the limit of the machine.
SYSTEMS = ("file", "loop-dio", "ringloop", "ublksrv", "loop-buffered", "ringloop-buffered")
DIRECT = SYSTEMS[:4]
BUFFERED = SYSTEMS[4:]
RINGLOOP = ("ringloop", "ringloop-buffered")

# What a smoke run takes: one row of each kind.
SMOKE_ROWS = ("randread-qd64", "rw-psync-j12", "sparse-randwrite-qd16", "read-256k-qd8",
              "buffered-randread-qd64", "attach-detach")
# Those of them in which it tries every system, not only ringloop.
SMOKE_COMPARED = ("randread-qd64", "buffered-randread-qd64", "attach-detach")

# Times attach, first read and detach instead of running fio.
ATTACH_ROW = "attach-detach"


class PlanError(Exception):
    """One line for the person at the terminal."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The first system is what the others are read against; the client always uses O_DIRECT."""
    name: str
    title: str
    fio: tuple = ()
    systems: tuple = DIRECT
    sparse: bool = False  # every run gets a new, empty sparse image


def row(name, title, *fio, **keywords):
    return Row(name, title, fio, **keywords)


def libaio(pattern, depth, *more, block="4k"):
    return ("--ioengine=libaio", f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}", *more)


# Twelve jobs that all walk through the same image from its start, half of them reading: the
# workload of the kernel's NOWAIT series.
PSYNC_JOBS = ("--ioengine=psync", "--rw=rw", "--bs=4k", "--numjobs=12")

ROWS = (
    row("randread-qd64", "4k randread, libaio qd64", *libaio("randread", 64)),
    row("read-qd64", "4k read, libaio qd64", *libaio("read", 64)),
    row("randwrite-qd64", "4k randwrite, libaio qd64", *libaio("randwrite", 64)),
    row("write-qd64", "4k write, libaio qd64", *libaio("write", 64)),
    row("randread-qd1", "4k randread, libaio qd1", *libaio("randread", 1)),
    row("randwrite-qd1", "4k randwrite, libaio qd1", *libaio("randwrite", 1)),
    row("rw-psync-j12", "4k rw, psync, 12 jobs", *PSYNC_JOBS),
    row("rw-qd16-j12", "4k rw, libaio qd16, 12 jobs", *libaio("rw", 16, "--numjobs=12")),
    row("sparse-randwrite-qd16", "4k randwrite, libaio qd16, sparse file",
        *libaio("randwrite", 16), sparse=True),
    row("read-256k-qd8", "256k read, libaio qd8", *libaio("read", 8, block="256k")),
    row("write-256k-qd8", "256k write, libaio qd8", *libaio("write", 8, block="256k")),
    row("buffered-randread-qd64", "4k randread, libaio qd64, image through the page cache",
        *libaio("randread", 64), systems=BUFFERED),
    row("buffered-read-qd64", "4k read, libaio qd64, image through the page cache",
        *libaio("read", 64), systems=BUFFERED),
    row("buffered-randwrite-qd64", "4k randwrite, libaio qd64, image through the page cache",
        *libaio("randwrite", 64), systems=BUFFERED),
    row("buffered-write-qd64", "4k write, libaio qd64, image through the page cache",
        *libaio("write", 64), systems=BUFFERED),
    row(ATTACH_ROW, "attach, first read, detach", systems=("loop-dio", "ringloop", "ublksrv")),
)


def plan(row_patterns=(), system_names=(), have_ublksrv=False, smoke=False):
    """A list of (Row, names of systems). Named systems run in every chosen row; without names
    each row has its own, and ublksrv only where there is one."""
    for name in system_names:
        if name not in SYSTEMS:
            raise PlanError(f"no system {name}: there are {', '.join(SYSTEMS)}")
    if "ublksrv" in system_names and not have_ublksrv:
        raise PlanError("the system ublksrv needs --ublksrv PATH")
    chosen = []
    for each in choose_rows(row_patterns or (SMOKE_ROWS if smoke else ())):
        systems = [name for name in SYSTEMS if name in (system_names or each.systems)
                   and (name != "ublksrv" or have_ublksrv)
                   and (name != "file" or each.name != ATTACH_ROW)]
        if smoke:
            systems = enough_to_try(each, systems)
        if systems:
            chosen.append((each, systems))
    return chosen


def choose_rows(patterns, among=ROWS):
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(each.name, pattern) for each in among):
            raise PlanError(f"no row {pattern}: there are "
                            f"{', '.join(each.name for each in among)}")
    return [each for each in among
            if not patterns or any(fnmatch.fnmatchcase(each.name, one) for one in patterns)]


def enough_to_try(each, systems):
    if each.name in SMOKE_COMPARED:
        return systems
    return [name for name in systems if name in RINGLOOP] or systems[:1]


def words(text):
    return [word for word in text.split(",") if word]
