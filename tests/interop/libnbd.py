"""The tools of libnbd: nbdinfo, nbdcopy, nbdsh. What they say of our server, and what they move."""

import json
import os

from cases import allocated, case

MIB = 1 << 20
SIZE = 64 * MIB
PIECES = ((0, 65536), (5 * MIB, 3 * MIB), (33 * MIB + 4096, 4096), (SIZE - 65536, 65536))


def sparse_image(test, name="sparse.img", size=SIZE):
    """Data in PIECES, holes between them."""
    path = test.image(size, name)
    with open(path, "r+b") as file:
        for offset, length in PIECES:
            file.seek(offset)
            file.write(os.urandom(length))
    return path


def data_bytes():
    return sum(length for _, length in PIECES)


def nbdsh(test, server, code):
    """Runs Python with `h`, a handle that is not connected yet."""
    test.run("nbdsh", "-c", f"uri = {server.uri!r}", "-c", code)


@case
def nbdinfo_tells_the_size_to_the_byte(test):
    for size in (512, MIB, MIB + 1, 3 << 30):
        server = test.serve(test.image(size, f"{size}.img"))
        assert test.run("nbdinfo", "--size", server.uri) == f"{size}\n"


@case
def nbdinfo_finds_what_the_server_can(test):
    server = test.serve(test.image(MIB))
    for ability in ("flush", "fua", "trim", "zero", "multi-conn", "df", "cache", "fast-zero",
                    "structured-reply"):
        test.run("nbdinfo", "--can", ability, server.uri)
    test.run("nbdinfo", "--is", "read-only", server.uri, status=2)
    test.run("nbdinfo", "--is", "tls", server.uri, status=2)


@case
def nbdinfo_knows_a_read_only_export(test):
    server = test.serve(test.image(MIB), read_only=True)
    test.run("nbdinfo", "--is", "read-only", server.uri)
    test.run("nbdinfo", "--can", "write", server.uri, status=2)
    test.run("nbdinfo", "--can", "zero", server.uri, status=2)


@case
def nbdinfo_json_describes_the_export(test):
    server = test.serve(test.image(MIB), export="disk one", description="a disk for tests")
    told = json.loads(test.run("nbdinfo", "--json",
                               f"nbd+unix:///disk%20one?socket={server.path}"))
    assert told["protocol"] == "newstyle-fixed" and told["structured"] is True, told
    export = told["exports"][0]
    assert export["export-name"] == "disk one", export
    assert export["description"] == "a disk for tests", export
    assert export["export-size"] == MIB, export
    assert export["contexts"] == ["base:allocation"], export
    assert export["block_size_minimum"] == 1 and export["block_size_preferred"] >= 512, export
    assert export["block_size_maximum"] >= MIB, export


@case
def nbdinfo_lists_the_exports(test):
    server = test.serve(test.image(MIB), export="disk")
    told = json.loads(test.run("nbdinfo", "--list", "--json", f"nbd+unix:///?socket={server.path}"))
    assert [export["export-name"] for export in told["exports"]] == ["disk"], told
    assert told["exports"][0]["export-size"] == MIB


@case
def nbdinfo_map_finds_the_holes_of_the_image(test):
    server = test.serve(sparse_image(test))
    regions = json.loads(test.run("nbdinfo", "--map", "--json", server.uri))
    at = 0
    for region in regions:
        assert region["offset"] == at and region["length"] > 0, region
        at += region["length"]
    assert at == SIZE, at
    data = [(region["offset"], region["offset"] + region["length"])
            for region in regions if region["type"] == 0]
    for offset, length in PIECES:
        assert any(begin <= offset and offset + length <= end for begin, end in data), offset
    # A filesystem may tell a bit more data than there is, but not everything.
    assert sum(end - begin for begin, end in data) <= data_bytes() + 2 * MIB, data


@case
def nbdinfo_map_of_a_huge_image_is_short(test):
    server = test.serve(test.image(1 << 40))
    regions = json.loads(test.run("nbdinfo", "--map", "--json", server.uri))
    assert sum(region["length"] for region in regions) == 1 << 40
    assert len(regions) <= 2, regions


@case
def nbdcopy_reads_an_image_and_keeps_it_sparse(test):
    server = test.serve(sparse_image(test))
    test.run("nbdcopy", server.uri, "copy.img")
    test.run("cmp", server.image, "copy.img")
    assert allocated(test.folder / "copy.img") <= data_bytes() + 2 * MIB


@case
def nbdcopy_writes_an_image_and_keeps_it_sparse(test):
    source = sparse_image(test, "source.img")
    server = test.serve(test.image(SIZE))
    test.run("nbdcopy", "--flush", source, server.uri)
    test.run("cmp", source, server.image)
    assert allocated(server.image) <= data_bytes() + 2 * MIB


@case
def nbdcopy_clears_what_was_there(test):
    """The target is full of old data: holes of the source have to become zeroes."""
    source = sparse_image(test, "source.img")
    server = test.serve(test.filled_image(SIZE))
    test.run("nbdcopy", "--flush", source, server.uri)
    test.run("cmp", source, server.image)
    assert allocated(server.image) <= data_bytes() + 2 * MIB, "the holes became blocks of zeroes"


@case
def nbdcopy_copies_between_two_servers(test):
    source = test.serve(sparse_image(test, "source.img"))
    target = test.serve(test.image(SIZE, "target.img"))
    test.run("nbdcopy", "--flush", "--connections=4", "--requests=16", source.uri, target.uri)
    test.run("cmp", source.image, target.image)
    assert allocated(target.image) <= data_bytes() + 2 * MIB


@case
def nbdcopy_moves_large_requests(test):
    source = test.filled_image(SIZE + 513, "source.img")
    server = test.serve(test.image(SIZE + 513))
    test.run("nbdcopy", "--request-size=33554432", "--flush", source, server.uri)
    test.run("nbdcopy", "--request-size=33554432", server.uri, "copy.img")
    test.run("cmp", source, "copy.img")


@case
def nbdsh_writes_zeroes_and_reads_back(test):
    server = test.serve(test.filled_image(4 * MIB))
    nbdsh(test, server, """
h.connect_uri(uri)
assert h.get_size() == 4 << 20
h.pwrite(b"a" * 70000, 1000, nbd.CMD_FLAG_FUA)
assert h.pread(70000, 1000) == b"a" * 70000
h.zero(65536, 4096)
assert h.pread(65536, 4096) == bytes(65536)
h.zero(65536, 1 << 20, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(65536, 1 << 20) == bytes(65536)
h.trim(65536, 2 << 20)
h.cache(1 << 20, 0)
h.flush()
assert h.pread(1000, 0) == open("disk.img", "rb").read(1000)
h.shutdown()
""")


@case
def nbdsh_structured_reads_tell_holes(test):
    server = test.serve(sparse_image(test))
    nbdsh(test, server, """
h.connect_uri(uri)
assert h.get_structured_replies_negotiated()
kinds = []
def chunk(data, offset, status, error):
    kinds.append((status, offset, len(data)))
whole = h.pread_structured(4 << 20, 4 << 20, chunk)
assert whole == open("sparse.img", "rb").read(8 << 20)[4 << 20:]
assert any(status == nbd.READ_HOLE for status, _, _ in kinds), kinds
assert any(status == nbd.READ_DATA for status, _, _ in kinds), kinds
kinds.clear()
h.pread_structured(65536, 5 << 20, chunk, nbd.CMD_FLAG_DF)
assert len(kinds) == 1, kinds
""")


@case
def nbdsh_without_structured_replies_works_as_well(test):
    server = test.serve(test.filled_image(MIB))
    nbdsh(test, server, """
h.set_request_structured_replies(False)
h.connect_uri(uri)
assert not h.get_structured_replies_negotiated()
assert not h.can_df()
assert h.pread(1 << 20, 0) == open("disk.img", "rb").read()
""")


@case
def nbdsh_gets_the_right_errors(test):
    """What the client's own checks would stop goes to the server all the same (strict mode 0)."""
    server = test.serve(test.filled_image(MIB), read_only=True)
    nbdsh(test, server, """
import errno
h.set_strict_mode(0)
h.connect_uri(uri)
def expect(number, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == number, (call.__name__, arguments, error.errnum)
    else:
        raise AssertionError(f"{call.__name__}{arguments} succeeded")
expect(errno.EPERM, h.pwrite, b"x" * 512, 0)
expect(errno.EPERM, h.zero, 512, 0)
expect(errno.EPERM, h.trim, 512, 0)
expect(errno.EINVAL, h.pread, 512, 1 << 20)
expect(errno.EINVAL, h.pread, 512, (1 << 63) - 256)
expect(errno.EINVAL, h.cache, 512, 1 << 40)
assert len(h.pread(512, 0)) == 512
""")


@case
def nbdsh_holds_many_requests_in_flight(test):
    server = test.serve(test.image(16 * MIB))
    nbdsh(test, server, """
h.connect_uri(uri)
left = set()
for number in range(200):
    buffer = nbd.Buffer.from_bytearray(bytearray([number]) * 65536)
    left.add(h.aio_pwrite(buffer, number * 65536))
while left:
    left = {cookie for cookie in left if not h.aio_command_completed(cookie)}
    if left:
        h.poll(-1)
h.flush()
for number in range(200):
    assert h.pread(65536, number * 65536) == bytes([number]) * 65536, number
""")
