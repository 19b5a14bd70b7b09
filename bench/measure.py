"""What the benchmarks have in common inside the guest: images, one run of fio, and taking turns."""

import contextlib
import dataclasses
import json
import mmap
import os
import pathlib
import platform
import select
import subprocess
import time

from systems import SystemFailure, block_folder, queue_settings, run

# fio writes each block of it once at most, so all that it writes is new.
SPARSE_BYTES = 2 << 30
KEPT_FREE_BYTES = 64 << 20

FIO_OUTPUT = pathlib.Path("/tmp/fio.json")
FIO_START_LIMIT_S = 60
# The first I/Os are fio's looking around.
STARTED_IOS = 16
# The part of a run in which processor time and context switches are counted: fio's own start and
# end, which take longer than a second here, stay outside.
WINDOW_BEGINS = 0.1
WINDOW_LENGTH = 0.8


class StillAttached(Exception):
    """One line. The image is not free: nothing more can be measured."""


def say(text):
    print(text, flush=True)


# ---- images ------------------------------------------------------------------------------------


def write_whole(path, size):
    """Allocates in one piece, then writes every block: reading an extent that was never written
    would not reach the disk."""
    block = mmap.mmap(-1, 4 << 20)  # O_DIRECT asks for alignment
    block.write(os.urandom(len(block)))
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        for _ in range(size // len(block)):
            os.write(descriptor, block)
    finally:
        os.close(descriptor)


def write_free_space(folder):
    """The scratch disk is a sparse file of the host: who writes to a block first would pay for
    the host's allocation."""
    status = os.statvfs(folder)
    write_whole(folder / "filler", status.f_bavail * status.f_frsize - KEPT_FREE_BYTES)
    (folder / "filler").unlink()


def drop_cache(path):
    """Of the image alone; fio and the tools stay in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def image_for(row, image):
    """The path of what the row attaches: `image`, or a new, empty one beside it. The disk is at
    rest afterwards."""
    path = image
    if row.sparse:
        path = image.with_name("sparse.img")
        with open(path, "xb") as sparse:
            sparse.truncate(SPARSE_BYTES)
    drop_cache(path)
    try:
        yield str(path)
    finally:
        if row.sparse:
            path.unlink()
        os.sync()


# ---- one measurement ---------------------------------------------------------------------------


@dataclasses.dataclass
class Sample:
    """Since boot, for the whole guest."""
    seconds: float
    busy_us: float
    switches: int


def take_sample():
    seconds = time.monotonic()
    ticks_us = 1e6 / os.sysconf("SC_CLK_TCK")
    text = pathlib.Path("/proc/stat").read_text(encoding="ascii")
    counters = {words[0]: words[1:] for words in map(str.split, text.splitlines())}
    # Time in idle is measured, time in user and system mode is sampled by the tick: what is not
    # idle (fourth and fifth: idle and waiting for I/O) is the better measure of work.
    idle_us = (int(counters["cpu"][3]) + int(counters["cpu"][4])) * ticks_us
    return Sample(seconds, seconds * 1e6 * os.cpu_count() - idle_us, int(counters["ctxt"][0]))


def completed_ios(folder):
    """Reads and writes, from the block device's `stat`."""
    fields = (folder / "stat").read_text(encoding="ascii").split()
    return int(fields[0]) + int(fields[4])


class Fio:
    """One run of fio against a path; the window's samples are taken while it runs."""

    def __init__(self, row, path, seconds, output=FIO_OUTPUT):
        self.path = path
        self.seconds = seconds
        self.output = output
        self.command = ["fio", "--name=bench", "--fallocate=none", f"--runtime={seconds}",
                        "--group_reporting", "--unified_rw_reporting=1", "--eta=never",
                        "--output-format=json", f"--output={output}", *row.fio, *self.place()]
        if not row.sparse:
            self.command.append("--time_based")

    def place(self):
        """What fio reads and writes, as its options. Behind those of the row: fio knows an
        engine's own only once it knows the engine."""
        return [f"--filename={self.path}", "--direct=1"]

    def folder(self):
        """In sysfs: of the block device whose I/Os show that fio has begun."""
        return block_folder(self.path)

    def sample(self):
        """At both ends of the window."""
        return take_sample()

    def start(self):
        return subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def run(self):
        """The figures of one cell."""
        folder = self.folder()
        before = completed_ios(folder)
        with self.start() as process:
            try:
                self.wait_for_start(process, folder, before)
                self.ends_within(process, self.seconds * WINDOW_BEGINS)
                first = self.sample()
                self.ends_within(process, self.seconds * WINDOW_LENGTH)
                last = self.sample()
                said, _ = process.communicate(timeout=self.seconds + FIO_START_LIMIT_S)
            except subprocess.TimeoutExpired:
                raise SystemFailure(f"fio on {self.path} does not end") from None
            finally:
                if process.poll() is None:
                    process.kill()
        if process.returncode != 0:
            raise SystemFailure(f"'{' '.join(self.command)}' failed: {said.decode().strip()}")
        return self.figures(first, last)

    def wait_for_start(self, process, folder, before):
        deadline = time.monotonic() + FIO_START_LIMIT_S
        while completed_ios(folder) < before + STARTED_IOS:
            if self.ends_within(process, 0.02):
                return
            if time.monotonic() > deadline:
                raise SystemFailure(f"fio on {self.path} did no I/O in {FIO_START_LIMIT_S} s")

    @staticmethod
    def ends_within(process, seconds):
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(descriptor)

    def done(self):
        """What fio says of all its jobs, reads and writes together."""
        text = self.output.read_text(encoding="utf-8")
        # fio's engine for NBD may print a line of its own in front.
        job = json.loads(text[text.index("{"):])["jobs"][0]
        if job["error"] != 0 or job["mixed"]["total_ios"] == 0:
            raise SystemFailure(f"fio on {self.path} reports error {job['error']} "
                                f"after {job['mixed']['total_ios']} I/Os")
        return job["mixed"]

    def figures(self, first, last):
        done = self.done()
        ios = done["iops"] * (last.seconds - first.seconds)
        return {"iops": done["iops"],
                "p50_us": done["clat_ns"]["percentile"]["50.000000"] / 1000,
                "p99_us": done["clat_ns"]["percentile"]["99.000000"] / 1000,
                "cpu_us_per_io": (last.busy_us - first.busy_us) / ios,
                "ctxt_per_io": (last.switches - first.switches) / ios}


def detach(system, device):
    try:
        system.detach(device)
    except SystemFailure as error:
        raise StillAttached(str(error)) from None


# ---- the run -----------------------------------------------------------------------------------


class Turns:
    """Measures every cell of a plan, the systems of a row in turn, and saves the figures."""

    def __init__(self, out, plan, systems):
        self.out = out
        self.plan = plan
        self.systems = systems  # name -> system
        self.fio_version = run("fio", "--version").strip()
        self.queues = {}
        self.failures = []
        self.notes = {}  # more for the JSON's meta
        self.done = 0
        self.count = sum(self.repetitions(row) * len(names) for row, names in plan)

    def repetitions(self, row):
        raise NotImplementedError

    def measure(self, row, name, turn):
        """The figures of one cell by their names; raises SystemFailure or OSError."""
        raise NotImplementedError

    def tell_row(self, row, cells):
        """Called after the last turn of a row."""

    def run(self):
        """Saves after every row: should the guest hang in one, the others are there."""
        results = []
        for row, names in self.plan:
            cells = {name: {"row": row.name, "system": name} for name in names}
            results += cells.values()
            try:
                self.take_turns(row, cells)
            except StillAttached as error:
                self.fail(row, error)
                return
            finally:
                self.save(results)

    def save(self, results):
        """Each of `results`: row, system, and for every figure a list of one per repetition."""
        meta = {"kernel": platform.release(), "cpus": os.cpu_count(), "fio": self.fio_version,
                "queues": self.queues, "failures": self.failures,
                **self.notes}
        self.out.write_text(json.dumps({"meta": meta, "rows": results}), encoding="utf-8")

    def take_turns(self, row, cells):
        """What disturbs the machine for a while disturbs all the systems of the row."""
        for turn in range(self.repetitions(row)):
            for name, cell in cells.items():
                self.done += 1
                try:
                    figures = self.measure(row, name, turn)
                except (SystemFailure, OSError) as error:
                    self.fail(row, f"{name}: {error}")
                    continue
                for figure, value in figures.items():
                    cell.setdefault(figure, []).append(value)
        self.tell_row(row, cells)

    def tell(self, text):
        say(f"[{self.done}/{self.count}] {text}")

    def fail(self, row, error):
        self.failures.append(f"{row.name}: {error}")
        self.tell(f"FAILED {row.name}: {error}")

    def run_fio(self, row, name, image, seconds, before_detach=lambda device: {}):
        """The figures of one run on `image`, and those that before_detach finds afterwards."""
        system = self.systems[name]
        device = system.attach(image)
        try:
            system.check(device)
            if name not in self.queues and device != image:
                self.queues[name] = queue_settings(device)
            return Fio(row, device, seconds).run() | before_detach(device)
        finally:
            detach(system, device)
