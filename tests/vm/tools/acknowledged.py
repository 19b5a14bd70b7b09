#!/usr/bin/python3
"""Writes all of a block device and counts what was acknowledged and is missing afterwards.

  acknowledged.py [--block BYTES] DEVICE IMAGE

DEVICE may be a ringloop device or a loop device: anything that stores its bytes in IMAGE. The
filesystem of IMAGE should have less room than DEVICE has bytes, so that writes begin to fail.
Every block that a write acknowledged is read back from DEVICE and from IMAGE, after the caches
were dropped. Prints one line; the exit status is 1 when a block is missing, or when a write failed
with another error than ENOSPC, or the fsync after them failed.
"""

import argparse
import errno
import fcntl
import mmap
import os
import sys

BLKFLSBUF = 0x1261  # linux/fs.h: write back and forget the device's cached blocks
UNIT = 4096  # each carries its own number, so that a part of a block cannot get lost unseen


def fill(buffer, offset):
    for at in range(0, len(buffer), UNIT):
        buffer[at:at + UNIT] = ((offset + at) | 1 << 63).to_bytes(8, "little") * (UNIT // 8)


def write_all(device, size, block):
    """(acknowledged ranges as (offset, bytes), errno -> how often)."""
    acknowledged, errors = [], {}
    buffer = mmap.mmap(-1, block)  # aligned, as O_DIRECT wants it
    for offset in range(0, size - block + 1, block):
        fill(buffer, offset)
        try:
            written = os.pwrite(device, buffer, offset)
        except OSError as error:
            errors[error.errno] = errors.get(error.errno, 0) + 1
        else:
            acknowledged.append((offset, written))
    return acknowledged, errors


def missing(descriptor, acknowledged, block):
    """Where the units are that were acknowledged and are not there."""
    found, expected = mmap.mmap(-1, block), mmap.mmap(-1, block)
    places = []
    for offset, written in acknowledged:
        fill(expected, offset)
        os.preadv(descriptor, [found], offset)
        if found[:written] != expected[:written]:
            places += [offset + at for at in range(0, written, UNIT)
                       if found[at:at + UNIT] != expected[at:at + UNIT]]
    return places


def count_of(places):
    return f"{len(places)} (first at {places[0]})" if places else "0"


def drop_caches(device):
    os.sync()
    fcntl.ioctl(device, BLKFLSBUF)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3")


def fsync_error(device):
    try:
        os.fsync(device)
    except OSError as error:
        return error.errno
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", type=int, default=UNIT)
    parser.add_argument("device")
    parser.add_argument("image")
    options = parser.parse_args()

    device = os.open(options.device, os.O_RDWR | os.O_DIRECT)
    size = os.lseek(device, 0, os.SEEK_END)
    acknowledged, errors = write_all(device, size, options.block)
    fsync = fsync_error(device)
    drop_caches(device)
    lost_on_device = missing(device, acknowledged, options.block)
    image = os.open(options.image, os.O_RDONLY)
    lost_in_image = missing(image, acknowledged, options.block)

    failed = ", ".join(f"{count} {errno.errorcode[number]}" for number, count in errors.items())
    print(f"block {options.block}: {len(acknowledged)} writes acknowledged, failed: "
          f"{failed or 'none'}, fsync: {errno.errorcode.get(fsync, 'ok')}; of "
          f"{sum(written for _, written in acknowledged) // UNIT} units "
          f"{count_of(lost_on_device)} are missing on the device, "
          f"{count_of(lost_in_image)} in the image")
    good = (not lost_on_device and not lost_in_image and fsync == 0
            and set(errors) <= {errno.ENOSPC})
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
