"""Inside the guest: cgroups, and what the processes of a ringloop device cost."""

import dataclasses
import errno
import os
import pathlib
import subprocess
import time

from systems import SystemFailure

ROOT = pathlib.Path("/sys/fs/cgroup")
LOOK_AGAIN_S = 0.02


class Cgroup:
    def __init__(self, name):
        self.path = ROOT / name
        self.path.mkdir()

    def start(self, command, **keywords):
        """A Popen: the shell enters the cgroup and becomes the command."""
        entering = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', self.path / "cgroup.procs"]
        return subprocess.Popen([*map(str, entering), *command], **keywords)

    def enter(self):
        """This process."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def limit(self, device, bytes_s):
        """What may be read, and what written, of a disk."""
        (self.path / "io.max").write_text(f"{device} rbps={bytes_s} wbps={bytes_s}",
                                          encoding="ascii")

    def charged(self, device):
        """Bytes of a disk, read and written."""
        for line in (self.path / "io.stat").read_text(encoding="ascii").splitlines():
            name, *figures = line.split()
            if name == device:
                found = dict(figure.split("=") for figure in figures)
                return int(found["rbytes"]), int(found["wbytes"])
        return 0, 0

    def removed(self):
        try:
            self.path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def remove(self, limit_s):
        """A lane stays until it is idle, then its process is gone from the cgroup."""
        deadline = time.monotonic() + limit_s
        while not self.removed():
            if time.monotonic() > deadline:
                raise SystemFailure(f"{self.path} is still busy after {limit_s} s")
            time.sleep(LOOK_AGAIN_S)


def prepare():
    """The controllers that a disk's requests and a process's memory are charged by."""
    (ROOT / "cgroup.subtree_control").write_text("+io +memory", encoding="ascii")


def dying():
    """Cgroups that are removed, and that something in memory still belongs to."""
    for line in (ROOT / "cgroup.stat").read_text(encoding="ascii").splitlines():
        name, count = line.split()
        if name == "nr_dying_descendants":
            return int(count)
    raise SystemFailure(f"{ROOT}/cgroup.stat does not count dying cgroups")


# ---- the processes of the one device that there is ---------------------------------------------

SERVER, NURSERY, LANE = "ringloop", "ringloop-lanes", "ringloop-lane"


def family():
    """{pid: name}: the server, the process that starts lanes, and the lanes."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if name in (SERVER, NURSERY, LANE):
            found[int(folder.name)] = name
    return found


def lanes():
    return [pid for pid, name in family().items() if name == LANE]


@dataclasses.dataclass
class Spent:
    """By the family, since its processes began."""
    seconds: float
    switches: int


def spent():
    total = Spent(0.0, 0)
    for pid in family():
        folder = pathlib.Path(f"/proc/{pid}")
        fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        # User and system time of all threads, those of io_uring too: proc(5), fields 14 and 15.
        total.seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        total.switches += sum(map(switches, (folder / "task").iterdir()))
    return total


def switches(task):
    try:
        text = (task / "status").read_text(encoding="ascii")
    except OSError:
        return 0  # a worker that has just ended
    return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)


@dataclasses.dataclass
class Held:
    """By the family and by the kernel, with nothing going on."""
    pss_mib: float
    fds: int
    processes: int
    kernel_mib: float
    dying: int


KERNEL_MEMORY = ("Slab", "KernelStack", "PageTables", "Percpu", "VmallocUsed")


# The kernel lets go of a cgroup's memory bit by bit, some of it only when it is asked again.
LET_GO_LIMIT_S = 10
ASK_AGAIN_S = 1


def held():
    os.sync()
    deadline = time.monotonic() + LET_GO_LIMIT_S
    while True:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        if dying() == 0 or time.monotonic() > deadline:
            break
        time.sleep(ASK_AGAIN_S)
    meminfo = dict(line.split(":") for line in
                   pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    kernel_kib = sum(int(meminfo[name].split()[0]) for name in KERNEL_MEMORY)
    folders = [pathlib.Path(f"/proc/{pid}") for pid in family()]
    return Held(sum(map(pss_kib, folders)) / 1024,
                sum(len(list((folder / "fd").iterdir())) for folder in folders),
                len(folders), kernel_kib / 1024, dying())


def pss_kib(folder):
    for line in (folder / "smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise SystemFailure(f"{folder}/smaps_rollup has no Pss")
