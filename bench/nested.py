"""Inside the guest: an iso, in it a squashfs, in it an ext4, read by many as a live CD boots."""

import contextlib
import functools
import json
import mmap
import os
import pathlib
import random
import select
import signal
import time

from measure import detach, drop_cache, take_sample
from systems import Ringloop, SystemFailure, run

READERS = 16
SEED = 1210857
READ_SIZE = 128 << 10
SAMPLE_PERIOD_S = 0.05
ALONE_S = 4
LOOPS_COUNTED = 1000

# (filesystem, the image of the next one in it)
LAYERS = (("iso9660", "live/squashfs.img"), ("squashfs", "ext4.img"), ("ext4", None))
POINTS = pathlib.Path("/run/bench-nested")


def choose_files(listing, bytes_per_reader):
    """A list of paths for each reader, another order for each, the same in every run."""
    files = json.loads(listing.read_text(encoding="utf-8"))["files"]
    chosen = []
    for reader in range(READERS):
        shuffled = random.Random(f"{SEED}-{reader}").sample(files, len(files))
        paths, size = [], 0
        while size < bytes_per_reader and shuffled:
            path, length = shuffled.pop()
            paths.append(path)
            size += length
        chosen.append(paths)
    return chosen


@contextlib.contextmanager
def attached(system, iso):
    """All layers attached by `system` and mounted: the devices, and where the files are. Nothing
    of them is in a page cache but what that took."""
    with contextlib.ExitStack() as stack:
        image, devices = iso, []
        # The filesystems inside are new each time, and so are their caches.
        drop_cache(iso)
        for filesystem, inner in LAYERS:
            device = system.attach(str(image), read_only=True)
            stack.callback(detach, system, device)
            system.check(device)
            devices.append(device)
            point = POINTS / filesystem
            point.mkdir(parents=True, exist_ok=True)
            run("mount", "-t", filesystem, "-o", "ro", device, str(point))
            stack.callback(run, "umount", str(point))
            image = point / inner if inner else None
        yield devices, point



# ---- processes ---------------------------------------------------------------------------------


class Children:
    """Processes that wait for start(), so that making them is not part of the measurement. What
    is left of them at the end of the `with` is killed."""

    def __init__(self):
        self.pids = []
        self.wait_end, self.start_end = os.pipe()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(self.wait_end)
        os.close(self.start_end)

    def add(self, work):
        pid = os.fork()
        if pid:
            self.pids.append(pid)
            return
        status = 1
        try:
            os.read(self.wait_end, 1)
            work()
            status = 0
        finally:
            os._exit(status)

    def start(self):
        os.write(self.start_end, bytes(len(self.pids)))

    def wait(self, while_waiting=None):
        """Until all of them are done, calling while_waiting every SAMPLE_PERIOD_S."""
        failed = 0
        while self.pids:
            if while_waiting:
                self.wait_for(self.pids[0], while_waiting)
            failed += os.waitpid(self.pids.pop(0), 0)[1] != 0
        if failed:
            raise SystemFailure(f"{failed} of the readers failed")

    @staticmethod
    def wait_for(pid, while_waiting):
        descriptor = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            while not poll.poll(SAMPLE_PERIOD_S * 1000):
                while_waiting()
        finally:
            os.close(descriptor)


def read_files(root, paths):
    for path in paths:
        descriptor = os.open(root / path, os.O_RDONLY)
        while os.read(descriptor, READ_SIZE):
            pass
        os.close(descriptor)


class Neighbour(Children):
    """A process that does nothing but compute, and counts how far it comes."""

    def __init__(self):
        super().__init__()
        self.count = mmap.mmap(-1, 8)  # shared with the child
        self.started = 0.0
        self.add(self.compute)

    def compute(self):
        done = 0
        while True:
            for _ in range(LOOPS_COUNTED):
                pass
            done += 1
            self.count[:] = done.to_bytes(8, "little")

    def start(self):
        super().start()
        self.started = time.monotonic()

    def rate(self):
        """Loops in a second since start()."""
        loops = int.from_bytes(self.count[:], "little") * LOOPS_COUNTED
        return loops / (time.monotonic() - self.started)


# ---- workers -----------------------------------------------------------------------------------


class Workers:
    """How many of a server's workers were runnable at once: threads of io_uring that run, could
    run, or wait for a disk. The kernel's driver shares its threads with everybody."""

    def __init__(self, system, devices):
        self.servers = []
        self.most = [0] * len(devices)
        if isinstance(system, Ringloop):
            self.servers = [system.status(device, "pid")["pid"] for device in devices]

    def sample(self):
        for index, pid in enumerate(self.servers):
            self.most[index] = max(self.most[index], runnable_workers(pid))


def runnable_workers(pid):
    count = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", "rb", buffering=0) as file:
                text = file.read(128)
        except OSError:  # it has just ended
            continue
        # proc(5): the name in brackets, then the state.
        name, _, rest = text.partition(b"(")[2].rpartition(b") ")
        count += name.startswith(b"iou-wrk") and rest[:1] in (b"R", b"D")
    return count


# ---- one measurement ---------------------------------------------------------------------------


def measure(system, iso, files, counters, neighbour=None):
    """The figures of one boot."""
    with attached(system, iso) as (devices, root), readers(root, files) as children:
        before = take_sample()
        children.start()
        if neighbour:
            neighbour.start()
        children.wait()
        rate = {"rate": neighbour.rate()} if neighbour else {}
        after = take_sample()
        found = [counters(device) for device in devices]
    return {"seconds": after.seconds - before.seconds,
            "cpu_s": (after.busy_us - before.busy_us) / 1e6,
            "switches": after.switches - before.switches, **rate,
            **{name: max(one[name] for one in found) for name in found[0]}}


def watch(system, iso, files):
    """The same, only to count the workers: that costs so much that the time means nothing."""
    with attached(system, iso) as (devices, root), readers(root, files) as children:
        workers = Workers(system, devices)
        children.start()
        children.wait(workers.sample)
    return {"runnable": max(workers.most)} if workers.servers else {}


@contextlib.contextmanager
def readers(root, files):
    """Ready to start."""
    with Children() as children:
        for paths in files:
            children.add(functools.partial(read_files, root, paths))
        yield children


def measure_alone(neighbour):
    neighbour.start()
    time.sleep(ALONE_S)
    return {"rate": neighbour.rate()}
