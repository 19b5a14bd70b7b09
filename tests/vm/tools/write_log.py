"""Reads what dm-log-writes recorded, and makes the disk as it was at any point of it.

The log holds a super block, then for each write a header sector and its data. All is little endian
and counted in the log's own sectors.
"""

import ctypes
import dataclasses
import fcntl
import os
import random
import struct

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8  # flags of an entry
MAGIC = 0x6A736677736872
SUPER_BLOCK = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
HEADER = struct.Struct("<QQQQ")  # sector, sectors, flags, bytes of a mark

DM_TARGET_MESSAGE = 0xC138FD0E  # linux/dm-ioctl.h
DM_HEAD = struct.Struct("<3I2IIiIIIQ128s129s7x")  # struct dm_ioctl
PUNCH_HOLE_KEEP_SIZE = 3  # linux/falloc.h

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


@dataclasses.dataclass
class Entry:
    flags: int
    offset: int  # bytes, on the recorded disk
    length: int  # bytes
    data_at: int  # bytes, in the log
    mark: str


def read_log(path):
    """All entries, in their order."""
    entries = []
    with open(path, "rb") as log:
        magic, version, count, sector = SUPER_BLOCK.unpack(log.read(SUPER_BLOCK.size))
        if magic != MAGIC or version != 1:
            raise ValueError(f"{path} is no log of dm-log-writes")
        position = sector
        for _ in range(count):
            log.seek(position)
            head = log.read(sector)
            start, sectors, flags, data = HEADER.unpack_from(head)
            mark = head[HEADER.size:HEADER.size + data].decode() if flags & MARK else ""
            entries.append(Entry(flags, start * sector, sectors * sector, position + sector, mark))
            position += sector
            if not flags & (DISCARD | MARK):
                position += sectors * sector
    return entries


class Replay:
    """Writes entries to a sparse file, in which zeroes take no room."""

    def __init__(self, log, file):
        self.log = log
        self.file = file

    def apply(self, entry):
        if entry.flags & MARK or entry.length == 0:
            return
        data = b""
        if not entry.flags & DISCARD:
            data = os.pread(self.log, entry.length, entry.data_at)
        if data.strip(b"\0"):
            os.pwrite(self.file, data, entry.offset)
        else:
            LIBC.fallocate(self.file, PUNCH_HOLE_KEEP_SIZE, entry.offset, entry.length)


def crash_at(entries, position, lucky):
    """The entries of which a disk that loses power after `position` of them must and may consist:
    all before the last flush, every write with FUA, and of the others some, as `lucky` says."""
    flush = max((index for index in range(position) if entries[index].flags & FLUSH), default=0)
    return [entry for index, entry in enumerate(entries[:position])
            if index <= flush or entry.flags & FUA or lucky()]


def coin(seed):
    generator = random.Random(seed)
    return lambda: generator.random() < 0.5


class Marker:
    """Puts marks into the log of a device-mapper device, as `dmsetup message` does."""

    def __init__(self, device_name):
        self.name = device_name.encode()
        self.control = os.open("/dev/mapper/control", os.O_RDWR)

    def mark(self, text):
        message = struct.pack("<Q", 0) + b"mark " + text.encode() + b"\0"
        size = DM_HEAD.size + len(message)
        head = DM_HEAD.pack(4, 0, 0, size, DM_HEAD.size, 0, 0, 0, 0, 0, 0, self.name, b"")
        fcntl.ioctl(self.control, DM_TARGET_MESSAGE, bytearray(head + message))
