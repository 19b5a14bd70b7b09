#!/usr/bin/python3
"""Does a block device lose what it acknowledged, when the filesystem of its image is full?

  full_disk.py --device ringloop|loop [--filesystem ext4,xfs,...] [--mode buffered,direct]
               [--block 4K,512K,...] [--fills N] [--json FILE]

Needs root, and some 400 MiB in --folder or a disk that may be overwritten (--disk). For each
combination: makes a small filesystem, fills it, frees a little (another amount for each of the
fills), and writes through the device to a sparse image on it, with O_DIRECT, until writes fail.
Then fsync. Where that returns 0, each 4 KiB that a write acknowledged must be in the image: caches
are dropped, and everything is read back, from the device and from the image.

Prints a line for each combination. The exit status is 1 when anything that was acknowledged is
missing, 2 when a combination could not be tried, 0 otherwise.
"""

import argparse
import ctypes
import dataclasses
import errno
import fcntl
import json
import mmap
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UNIT = 4096  # each carries its own number, so that a part of a block cannot get lost unseen
IMAGE_BYTES = 12 << 20
ALL_FILLS = 64
READ_BYTES = 1 << 20
FAILURES_IN_A_ROW = 8  # then the filesystem is full, whatever else is tried
BLKFLSBUF = 0x1261  # linux/fs.h: write back and forget the device's cached blocks
OWNER = 4711  # of the image, where a quota limits it: root's own files know no limit
PUNCH_HOLE_KEEP_SIZE = 3  # linux/falloc.h

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


@dataclasses.dataclass(frozen=True)
class Filesystem:
    kind: str
    size: int  # bytes; as small as its mkfs makes it
    make: tuple = ()
    mount: str = "defaults"
    quota: int = 0  # bytes that the image's owner may have, 0 for all there is


FILESYSTEMS = {
    "ext4": Filesystem("ext4", 64 << 20, ("mkfs.ext4", "-q", "-F", "-m0")),
    "ext4-journal": Filesystem("ext4", 64 << 20, ("mkfs.ext4", "-q", "-F", "-m0"),
                               "data=journal"),
    "xfs": Filesystem("xfs", 304 << 20, ("mkfs.xfs", "-q", "-f")),
    "xfs-quota": Filesystem("xfs", 304 << 20, ("mkfs.xfs", "-q", "-f"), "uquota", 24 << 20),
    "btrfs": Filesystem("btrfs", 256 << 20, ("mkfs.btrfs", "-q", "-f")),
    "tmpfs": Filesystem("tmpfs", 32 << 20),
}


class CannotTry(Exception):
    """Why a combination says nothing."""


@dataclasses.dataclass
class Cell:
    """What came of one combination; the JSON has these names."""
    filesystem: str
    mode: str
    block: int
    fills: int = 0
    acknowledged: int = 0  # units of 4 KiB, like those below; only where fsync then returned 0
    lost: int = 0
    fills_that_lost: int = 0
    first_lost: str = ""
    write_errors: dict = dataclasses.field(default_factory=dict)  # name -> writes
    fsync_errors: dict = dataclasses.field(default_factory=dict)  # name -> fills
    seconds: float = 0
    cannot: str = ""


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotTry((done.stderr or done.stdout or command[0]).strip().split("\n")[0])
    return done.stdout.strip()


def fallocate(descriptor, mode, offset, length):
    """Returns whether there was room."""
    if LIBC.fallocate(descriptor, mode, offset, length) == 0:
        return True
    if ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT):
        return False
    raise CannotTry(f"fallocate: {os.strerror(ctypes.get_errno())}")


class Mounted:
    """A filesystem of its own, at `point`."""

    def __init__(self, filesystem, folder, disk):
        self.point = folder / "mounted"
        self.point.mkdir(exist_ok=True)
        self.backing = None
        if filesystem.kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={filesystem.size}", "none", str(self.point))
            return
        options = filesystem.mount
        if not disk:
            self.backing = folder / "filesystem"
            with open(self.backing, "wb") as file:
                file.truncate(filesystem.size)
            disk = self.backing
            options += ",loop"
        size = {"ext4": [str(disk), f"{filesystem.size >> 10}K"],
                "xfs": ["-d", f"size={filesystem.size}", str(disk)],
                "btrfs": ["-b", str(filesystem.size), str(disk)]}[filesystem.kind]
        run(*filesystem.make, *size)
        run("mount", "-t", filesystem.kind, "-o", options, str(disk), str(self.point))
        if filesystem.quota:
            run("xfs_quota", "-x", "-c", f"limit -u bhard={filesystem.quota} {OWNER}",
                str(self.point))

    def create(self, name):
        """A new file of the owner, opened for both."""
        descriptor = os.open(self.point / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.fchown(descriptor, OWNER, OWNER)
        return descriptor

    def close(self):
        run("umount", str(self.point))
        if self.backing:
            self.backing.unlink()


def free_room(options, block, fill):
    """Bytes to leave. By steps of an odd number of units, so that blocks end at other places each
    time; large blocks get more room, or there would be no full write at all."""
    least = 256 << 10 if block <= 64 << 10 else 1 << 20
    step = UNIT * (min(block >> 16, 16) | 1)
    # The same range, however many fills are asked for.
    return least + fill * step * max(1, ALL_FILLS // options.fills)


class Filler:
    """A file that takes all room but a little."""

    def __init__(self, mounted):
        self.path = mounted.point / "filler"
        self.descriptor = mounted.create(self.path.name)
        self.size = 0

    def leave(self, free):
        """Afterwards some `free` bytes are left for others."""
        step = 64 << 20
        while step >= UNIT:
            if fallocate(self.descriptor, 0, self.size, step):
                self.size += step
            else:
                step //= 2
        self.size -= free
        os.ftruncate(self.descriptor, self.size)
        os.sync()  # what was freed can be had only after the journal's commit

    def close(self):
        os.close(self.descriptor)
        self.path.unlink()


class Patterns:
    """What is written: another text for each unit, and another for each fill."""

    def __init__(self, fills):
        size = IMAGE_BYTES + fills * UNIT
        self.buffer = mmap.mmap(-1, size)  # aligned, as O_DIRECT wants it
        for at in range(0, size, UNIT):
            self.buffer[at:at + UNIT] = (at | 1 << 63).to_bytes(8, "little") * (UNIT // 8)
        self.view = memoryview(self.buffer)

    def to_write(self, fill, offset, length):
        start = fill * UNIT + offset
        return self.view[start:start + length]

    def expected(self, fill, offset, length):
        start = fill * UNIT + offset
        return self.buffer[start:start + length]


def attach(options, mode, image):
    direct = "on" if mode == "direct" else "off"
    if options.device == "ringloop":
        return run(options.ringloop, "attach", f"--direct-io={direct}", str(image))
    device = run("losetup", "--find", "--show", f"--direct-io={direct}", str(image))
    shown = run("losetup", "--noheadings", "--output", "DIO", device).strip()
    if shown != ("1" if mode == "direct" else "0"):
        run("losetup", "--detach", device)  # the driver falls back without a word
        raise CannotTry(f"the driver does not do {mode} I/O here")
    return device


def detach(options, device):
    if options.device == "ringloop":
        run(options.ringloop, "detach", device)
    else:
        run("losetup", "--detach", device)


def count(errors, error):
    name = errno.errorcode[error.errno]
    errors[name] = errors.get(name, 0) + 1


def write_until_full(device, patterns, fill, block, cell):
    """Acknowledged ranges as (offset, bytes)."""
    acknowledged = []
    failures = 0
    for offset in range(0, IMAGE_BYTES - block + 1, block):
        try:
            written = os.pwrite(device, patterns.to_write(fill, offset, block), offset)
            acknowledged.append((offset, written))
            failures = 0
        except OSError as error:
            count(cell.write_errors, error)
            failures += 1
            if failures == FAILURES_IN_A_ROW:
                break
    return acknowledged


def missing(descriptor, acknowledged, patterns, fill, found):
    """Offsets of units that were acknowledged and are not there."""
    places = set()
    for start, end in joined(acknowledged):
        for offset in range(start, end, READ_BYTES):
            length = min(READ_BYTES, end - offset)
            expected = patterns.expected(fill, offset, length)
            found[:length] = bytes(length)  # what cannot be read is missing
            try:
                os.preadv(descriptor, [memoryview(found)[:length]], offset)
            except OSError as error:
                print(f"cannot read {length} bytes at {offset}: {error}", file=sys.stderr)
            if found[:length] != expected:
                places.update(offset + at for at in range(0, length, UNIT)
                              if found[at:at + UNIT] != expected[at:at + UNIT])
    return places


def joined(acknowledged):
    """(offset, bytes), in order -> (start, end), neighbours as one."""
    ranges = []
    for offset, written in acknowledged:
        if ranges and ranges[-1][1] == offset:
            ranges[-1][1] += written
        else:
            ranges.append([offset, offset + written])
    return ranges


def try_fill(device, image, patterns, fill, cell, found):
    acknowledged = write_until_full(device, patterns, fill, cell.block, cell)
    cell.fills += 1
    try:
        os.fsync(device)
    except OSError as error:
        count(cell.fsync_errors, error)
        return  # who asked was told: nothing is promised
    os.sync()
    fcntl.ioctl(device, BLKFLSBUF)
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("1", encoding="ascii")
    lost = (missing(device, acknowledged, patterns, fill, found)
            | missing(image, acknowledged, patterns, fill, found))
    cell.acknowledged += sum(written for _, written in acknowledged) // UNIT
    cell.lost += len(lost)
    if lost:
        cell.fills_that_lost += 1
        cell.first_lost = cell.first_lost or f"fill {fill}, offset {min(lost)}"


def try_all_fills(options, mounted, device, image, patterns, cell):
    found = mmap.mmap(-1, READ_BYTES)
    filler = Filler(mounted)
    descriptor = os.open(device, os.O_RDWR | os.O_DIRECT)
    image_descriptor = os.open(image, os.O_RDWR)
    try:
        for fill in range(options.fills):
            fallocate(image_descriptor, PUNCH_HOLE_KEEP_SIZE, 0, IMAGE_BYTES)
            os.sync()
            filler.leave(free_room(options, cell.block, fill))
            try_fill(descriptor, image_descriptor, patterns, fill, cell, found)
    finally:
        os.close(image_descriptor)
        os.close(descriptor)
        filler.close()


def try_cells(options, folder, patterns, cells):
    """Cells of one filesystem and mode: one mount and one device do for all. Yields each."""
    mounted = Mounted(FILESYSTEMS[cells[0].filesystem], folder, options.disk)
    try:
        image = mounted.point / "image"
        descriptor = mounted.create(image.name)
        os.ftruncate(descriptor, IMAGE_BYTES)
        os.close(descriptor)
        device = attach(options, cells[0].mode, image)
        try:
            for cell in cells:
                started = time.monotonic()
                try_all_fills(options, mounted, device, image, patterns, cell)
                cell.seconds = round(time.monotonic() - started, 1)
                yield cell
        finally:
            detach(options, device)
    finally:
        mounted.close()


def try_all(options, folder):
    """Yields each combination as it is done."""
    patterns = Patterns(options.fills)
    for filesystem in options.filesystem:
        for mode in options.mode:
            cells = [Cell(filesystem, mode, block) for block in options.block]
            try:
                yield from try_cells(options, folder, patterns, cells)
            except (CannotTry, OSError) as error:
                for cell in cells:
                    if not cell.fills:
                        cell.cannot = str(error)
                        yield cell


def size_text(size):
    return f"{size >> 20} MiB" if size % (1 << 20) == 0 else f"{size >> 10} KiB"


def errors_text(errors):
    return ", ".join(f"{count} {name}" for name, count in errors.items()) or "none"


def show_header():
    print(f"{'filesystem':<13}{'mode':<10}{'block':<9}{'fills':>5}  {'acknowledged':>12}"
          f"{'lost':>7}{'  fills that lost':>17}  failed writes; failed fsyncs", flush=True)


def show(cell):
    start = f"{cell.filesystem:<13}{cell.mode:<10}{size_text(cell.block):<9}"
    if cell.cannot:
        print(f"{start}cannot be tried: {cell.cannot}", flush=True)
        return
    print(f"{start}{cell.fills:>5}  {cell.acknowledged:>12}{cell.lost:>7}"
          f"{cell.fills_that_lost:>17}  {errors_text(cell.write_errors)}; "
          f"{errors_text(cell.fsync_errors)}", flush=True)


def size_of(text):
    factor = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:].upper())
    size = int(text[:-1]) * factor if factor else int(text)
    if size < UNIT or size % UNIT != 0 or size > IMAGE_BYTES:
        raise argparse.ArgumentTypeError(f"{text}: a multiple of 4K up to 12M is needed")
    return size


def list_of(choices=None, read=str):
    def read_list(text):
        values = [read(word) for word in text.split(",")]
        for value in values:
            if choices and value not in choices:
                raise argparse.ArgumentTypeError(f"{value} is none of {', '.join(choices)}")
        return values
    return read_list


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("ringloop", "loop"), required=True)
    parser.add_argument("--filesystem", type=list_of(FILESYSTEMS), default=list(FILESYSTEMS),
                        help="of " + ",".join(FILESYSTEMS) + " [all]")
    parser.add_argument("--mode", type=list_of(("buffered", "direct")),
                        default=["buffered", "direct"], help="how the device uses its image [both]")
    parser.add_argument("--block", type=list_of(read=size_of),
                        default=[4 << 10, 64 << 10, 512 << 10, 1 << 20, 4 << 20],
                        help="bytes of a write [4K,64K,512K,1M,4M]")
    parser.add_argument("--fills", type=int, default=ALL_FILLS, help="amounts of free room [64]")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--folder", type=pathlib.Path, help="for the filesystem [a temporary one]")
    parser.add_argument("--disk", type=pathlib.Path,
                        help="make the filesystem on this disk instead: ALL ON IT IS LOST")
    parser.add_argument("--ringloop", default=shutil.which("ringloop") or "ringloop",
                        help="the program [the one in PATH]")
    return parser.parse_args()


def write_json(options, cells):
    if options.json:
        options.json.write_text(json.dumps(
            {"device": options.device, "kernel": os.uname().release,
             "cells": [dataclasses.asdict(cell) for cell in cells]}, indent=1) + "\n",
            encoding="utf-8")


def main():
    options = parse_options()
    if os.geteuid() != 0:
        sys.exit("full_disk.py: root is needed, to mount and to attach")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("full_disk.py: terminated"))
    cells = []
    show_header()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="full-disk-") as folder:
        for cell in try_all(options, pathlib.Path(folder)):
            show(cell)
            cells.append(cell)
            write_json(options, cells)  # a run that is ended early leaves what it has
    lost = sum(cell.lost for cell in cells)
    tried = [cell for cell in cells if not cell.cannot]
    print(f"{options.device} on Linux {os.uname().release}: {lost} of "
          f"{sum(cell.acknowledged for cell in cells)} acknowledged blocks of 4 KiB are lost, in "
          f"{sum(cell.fills for cell in cells)} fills of {len(tried)} combinations")
    sys.exit(1 if lost else 2 if len(tried) < len(cells) else 0)


if __name__ == "__main__":
    main()
