#!/usr/bin/python3
"""Writes to a device until the power goes, and tells afterwards whether that lost anything.

  power_writer.py TARGET FOLDER [--check-only]

TARGET is a block device or the socket of an NBD server. FOLDER is outside the machine that loses
its power: `acknowledged` there gets the number of each batch of blocks when it is safe (a flush has
returned, or, for every third batch, writes with FUA), `verdicts` a line for each start. On a start
each block must be that of the last batch that was acknowledged and wrote it, or of the one that was
under way.
"""

import argparse
import mmap
import os
import pathlib
import random
import stat
import struct
import sys

BLOCK = 4096
LONGEST_RUN = 16  # blocks of one write
WRITES_OF_A_BATCH = 4


def batch(number, blocks):
    """The writes of a batch: (first block, how many)."""
    generator = random.Random(number)
    for _ in range(WRITES_OF_A_BATCH):
        count = generator.randint(1, LONGEST_RUN)
        yield generator.randrange(blocks - count + 1), count


def content(number, first, count):
    return b"".join(struct.pack("<QQ", number, block) * (BLOCK // 16)
                    for block in range(first, first + count))


def with_fua(number):
    return number % 3 == 0


class BlockDevice:
    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.size = os.lseek(self.descriptor, 0, os.SEEK_END)
        self.buffer = mmap.mmap(-1, LONGEST_RUN * BLOCK)  # aligned, as O_DIRECT wants it

    def write(self, offset, data, fua):
        self.buffer[:len(data)] = data
        view = memoryview(self.buffer)[:len(data)]
        written = os.pwritev(self.descriptor, [view], offset, os.RWF_DSYNC if fua else 0)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were written")

    def flush(self):
        os.fsync(self.descriptor)

    def read(self, offset):
        os.preadv(self.descriptor, [memoryview(self.buffer)], offset)
        return bytes(self.buffer)


class Socket:
    def __init__(self, path):
        import nbd  # of libnbd; only this transport needs it
        self.fua = nbd.CMD_FLAG_FUA
        self.client = nbd.NBD()
        self.client.connect_unix(path)
        self.size = self.client.get_size()

    def write(self, offset, data, fua):
        self.client.pwrite(data, offset, self.fua if fua else 0)

    def flush(self):
        self.client.flush()

    def read(self, offset):
        return self.client.pread(LONGEST_RUN * BLOCK, offset)


def write_batch(target, number):
    fua = with_fua(number)
    for first, count in batch(number, target.size // BLOCK):
        target.write(first * BLOCK, content(number, first, count), fua)
    if not fua:
        target.flush()


def check(target, acknowledged):
    """Returns what is wrong, one text for each block."""
    blocks = target.size // BLOCK
    last = [0] * blocks
    for number in range(1, acknowledged + 1):
        for first, count in batch(number, blocks):
            last[first:first + count] = [number] * count
    under_way = {block for first, count in batch(acknowledged + 1, blocks)
                 for block in range(first, first + count)}
    wrong = []
    for start in range(0, blocks, LONGEST_RUN):
        data = target.read(start * BLOCK)
        for block in range(start, start + LONGEST_RUN):
            found = data[(block - start) * BLOCK:(block - start + 1) * BLOCK]
            allowed = [last[block]] + ([acknowledged + 1] if block in under_way else [])
            if found not in [content(number, block, 1) if number else bytes(BLOCK)
                             for number in allowed]:
                wrong.append(f"block {block} begins {struct.unpack_from('<QQ', found)}, "
                             f"expected batch {allowed}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--check-only", action="store_true")
    options = parser.parse_args()
    is_device = stat.S_ISBLK(os.stat(options.target).st_mode)
    target = BlockDevice(options.target) if is_device else Socket(options.target)

    # Unbuffered: what is written here has left the machine when the call returns.
    with (open(options.folder / "acknowledged", "a+b", buffering=0) as acknowledged,
          open(options.folder / "verdicts", "ab", buffering=0) as verdicts):
        acknowledged.seek(0)
        number = int((acknowledged.read().split() or [0])[-1])
        wrong = check(target, number)
        verdicts.write(f"{len(wrong)} blocks are wrong after {number} batches "
                       f"{'; '.join(wrong[:5])}\n".encode())
        if wrong:
            sys.exit(1)
        while not options.check_only:
            number += 1
            write_batch(target, number)
            acknowledged.write(b"%d\n" % number)


if __name__ == "__main__":
    main()
