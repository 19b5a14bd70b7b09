"""Arithmetic at 2^31, 2^32 and 2^63: what is zeroed is zero, and nothing else is.

Around each boundary and at both ends of a range stand marks of 4 KiB that say where they are. A
server that loses the upper bits, takes a length for signed or forgets the rest of a long range
leaves a mark alive inside, or kills one outside.
"""

import os
import pathlib
import struct
import tempfile

import wire
from cases import allocated, case
from server import KIND

GIB = 1 << 30
MARK_BYTES = 4096
LENGTH_MAX = (1 << 32) - MARK_BYTES  # of a request without extended headers, in whole marks


def mark(offset):
    return struct.pack(">QQ", offset, ~offset & (1 << 64) - 1) * (MARK_BYTES // 16)


def marked_image(test, size, offsets, folder=None):
    path = (folder or test.folder) / "boundary.img"
    with open(path, "wb") as file:
        file.truncate(size)
        for offset in offsets:
            os.pwrite(file.fileno(), mark(offset), offset)
    return path


def around(begin, end, size):
    """Marks at the ends of a range, on both sides, and at each power of two and a bit within."""
    places = {begin - MARK_BYTES, begin, end - MARK_BYTES, end}
    for boundary in (64 << 20, 128 << 20, *(1 << bit for bit in range(28, 63))):
        for base in (0, begin):
            places |= {base + boundary - MARK_BYTES, base + boundary}
    return sorted(place for place in places if 0 <= place <= size - MARK_BYTES)


def check_marks(client, offsets, begin, end):
    for offset in offsets:
        found = client.read(offset, MARK_BYTES)
        if begin <= offset < end:
            assert found == bytes(MARK_BYTES), f"data at {offset:#x}, {begin:#x}..{end:#x} is zero"
        else:
            assert found == mark(offset), f"no data at {offset:#x}, outside {begin:#x}..{end:#x}"


RANGES = ((1 << 31, MARK_BYTES * 2), ((1 << 31) - MARK_BYTES, MARK_BYTES * 2),
          ((1 << 32) - MARK_BYTES, MARK_BYTES * 2), (GIB, 2 * GIB), (MARK_BYTES, LENGTH_MAX),
          (0, 1 << 31), (3 * GIB, LENGTH_MAX), (0, (1 << 31) - MARK_BYTES),
          (MARK_BYTES, 65 << 20), ((1 << 32) + MARK_BYTES, (1 << 31) + MARK_BYTES))


def cover(test, command, flags=0):
    size = 16 * GIB
    for begin, length in RANGES:
        end = begin + length
        places = around(begin, end, size)
        server = test.serve(marked_image(test, size, places))
        with wire.connect(server.path) as client:
            client.must(command, begin, length, flags)
            check_marks(client, places, begin, end)
        server.stop()
        test.servers.remove(server)
        assert os.stat(server.image).st_size == size, "the image's size was changed"


@case
def write_zeroes_covers_its_whole_range(test):
    """nbdkit before 1.46 zeroed 64 MiB of what was asked for, where the filesystem could not punch;
    a length of 2^31 is negative to who keeps it in an int."""
    cover(test, wire.WRITE_ZEROES)


@case
def write_zeroes_with_fua_covers_its_whole_range(test):
    cover(test, wire.WRITE_ZEROES, wire.FLAG_FUA)


@case
def trim_stays_within_its_range(test):
    """A trim may free less, but here it frees everything: the files can punch."""
    cover(test, wire.TRIM)


@case
def zeroing_without_holes_keeps_the_blocks(test):
    test.only_ringloop("may do as it likes")
    size = 64 << 20
    server = test.serve(test.filled_image(size))
    before = allocated(server.image)
    with wire.connect(server.path) as client:
        client.must(wire.WRITE_ZEROES, 0, size, wire.FLAG_NO_HOLE)
        assert client.read(0, 1 << 20) == bytes(1 << 20)
        assert allocated(server.image) >= before, "blocks were given back"
        client.must(wire.WRITE_ZEROES, 0, size)
        assert allocated(server.image) < before // 2, "blocks were not given back"


@case
def reads_and_writes_work_at_every_boundary(test):
    size = 16 * GIB
    server = test.serve(test.image(size))
    with wire.connect(server.path, structured=True) as client:
        for boundary in (1 << 31, 1 << 32, 1 << 33, 3 << 32, size):
            for begin, length in ((boundary - 8192, 8192), (boundary - 100, 200),
                                  (boundary - 1, 2)):
                if begin + length <= size:
                    data = struct.pack(">Q", begin) * (length // 8 + 1)
                    client.write(begin, data[:length])
                    assert client.read(begin, length) == data[:length], f"{begin:#x}+{length}"
        assert client.read(0, MARK_BYTES) == bytes(MARK_BYTES)


def check_extents(client, offset, length):
    """Walks the range as a client does; returns [(begin, end, flags)] without what repeats."""
    found, at = [], offset
    while at < offset + length:
        asked = min(length - (at - offset), LENGTH_MAX)
        answer = client.must(wire.BLOCK_STATUS, at, asked)
        assert answer.extents, "no extent at all"
        covered = sum(size for size, _ in answer.extents)
        # The protocol lets the last extent be longer than what was asked for. We never do that.
        assert covered <= asked, f"{covered - asked} bytes behind the range"
        for size, flags in answer.extents:
            assert size > 0, "an extent of no length"
            if found and found[-1][2] == flags:
                found[-1] = (found[-1][0], at + size, flags)
            else:
                found.append((at, at + size, flags))
            at += size
    return found


@case
def block_status_neither_wraps_nor_exceeds_its_range(test):
    """CVE-2025-47711: one byte too many; CVE-2025-47712: a length that wrapped at 2^32 gave an
    extent of nothing, and a client that asks again and again."""
    if KIND == "nbdkit":
        test.skip("nbdkit: tells more than was asked for, which is allowed")
    size = 16 * GIB
    data = (0, (1 << 31) - MARK_BYTES, 1 << 31, (1 << 32) - MARK_BYTES, 3 << 32, size - MARK_BYTES)
    server = test.serve(marked_image(test, size, data))
    with wire.connect(server.path, allocation=True) as client:
        found = check_extents(client, 0, size)
        holes = [(begin, end) for begin, end, flags in found if flags & wire.STATE_HOLE]
        for place in data:
            assert not any(begin <= place < end for begin, end in holes), f"{place:#x} is data"
        covered = sum(end - begin for begin, end in holes)
        assert covered >= size - 64 * len(data) * MARK_BYTES, "holes were not told"
        for begin, length in (((1 << 31) + 1, 0xFFFFFFFF), (1, 1), (size - 1, 1), (4095, 2),
                              (5 * GIB, 0xFFFFFFFF), (0, 0x80000000), (0, 0x7FFFFFFF)):
            extents = client.must(wire.BLOCK_STATUS, begin, length).extents
            covered = sum(length for length, _ in extents)
            assert 0 < covered <= length and all(one for one, _ in extents), (begin, extents)


@case
def ranges_over_four_gib_work_with_extended_headers(test):
    test.only_ringloop("has no extended headers")
    size = 16 * GIB
    begin, end = GIB, 12 * GIB
    places = around(begin, end, size)
    server = test.serve(marked_image(test, size, places))
    with wire.Client(server.path).greet() as client:
        try:
            client.want_extended()
        except wire.Refused as error:
            assert error.code == wire.UNSUP, error
            test.skip("the server has no extended headers")
        client.want_allocation().go()
        client.must(wire.WRITE_ZEROES, begin, end - begin)
        check_marks(client, places, begin, end)
        extents = client.must(wire.BLOCK_STATUS, 0, size).extents
        assert all(length > 0 for length, _ in extents)
        assert sum(length for length, _ in extents) <= size
        for offset, length in ((0, size + 1), (size, 1), (1, (1 << 64) - 1), ((1 << 64) - 1, 2),
                               (1 << 63, 1 << 63)):
            assert client.call(wire.TRIM, offset, length).error == wire.EINVAL
            assert client.call(wire.WRITE_ZEROES, offset, length).error == wire.ENOSPC
            assert client.call(wire.BLOCK_STATUS, offset, length).error == wire.EINVAL
            assert client.call(wire.READ, offset, length).error == wire.EINVAL
        check_marks(client, places, begin, end)


@case
def an_image_of_almost_eight_exbibytes_works_to_its_last_byte(test):
    """Linux ends files at 2^63-1 bytes. tmpfs takes such a file; ext4 ends at 16 TiB."""
    folder = tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ringloop-test-")
    test.at_end.append(folder.cleanup)
    size = (1 << 63) - MARK_BYTES
    places = [0, 1 << 32, 1 << 62, size - 2 * MARK_BYTES, size - MARK_BYTES]
    try:
        image = marked_image(test, size, places, pathlib.Path(folder.name))
    except OSError as error:
        test.skip(f"no file of 8 EiB here: {error.strerror}")
    server = test.serve(image)
    with wire.connect(server.path) as client:
        assert client.size == size, client.size
        check_marks(client, places, 0, 0)
        client.write(size - 5, b"last!")
        assert client.read(size - 5, 5) == b"last!"
        client.must(wire.WRITE_ZEROES, size - MARK_BYTES, MARK_BYTES)
        client.must(wire.WRITE_ZEROES, 1 << 62, MARK_BYTES)
        for begin, length in ((size - 1, 2), (size, 1), ((1 << 63) - 1, 1), (1 << 63, 512),
                              ((1 << 64) - MARK_BYTES, MARK_BYTES), ((1 << 64) - 1, 1)):
            assert client.call(wire.READ, begin, length).error == wire.EINVAL, begin
            assert client.call(wire.WRITE_ZEROES, begin, length).error == wire.ENOSPC, begin
        assert client.read(0, MARK_BYTES) == mark(0)
        assert client.read(1 << 62, MARK_BYTES) == bytes(MARK_BYTES)
        assert client.read(size - 2 * MARK_BYTES, 2 * MARK_BYTES) == (
            mark(size - 2 * MARK_BYTES) + bytes(MARK_BYTES))
