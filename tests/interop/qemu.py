"""QEMU's tools as clients: qemu-img and qemu-io."""

import json
import os

from cases import allocated, case

MIB = 1 << 20
SIZE = 64 * MIB


def qemu_io(test, server, *commands):
    words = [word for command in commands for word in ("-c", command)]
    said = test.run("qemu-io", "-f", "raw", *words, server.uri)
    # Its exit status does not tell of a pattern that is not there.
    assert "failed" not in said and "error" not in said.lower(), said
    return said


def with_data(test, name, pieces=((0, 65536), (20 * MIB, MIB))):
    path = test.image(SIZE, name)
    with open(path, "r+b") as file:
        for offset, length in pieces:
            file.seek(offset)
            file.write(os.urandom(length))
    return path


@case
def qemu_img_info_finds_a_raw_image(test):
    server = test.serve(test.image(SIZE))
    told = json.loads(test.run("qemu-img", "info", "--output=json", server.uri))
    assert told["format"] == "raw" and told["virtual-size"] == SIZE, told


@case
def qemu_img_converts_out_of_an_export(test):
    server = test.serve(with_data(test, "disk.img"))
    test.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", server.uri, "copy.qcow2")
    # A copy: the image itself is locked, and qemu heeds that.
    test.run("cp", server.image, "same.img")
    test.run("qemu-img", "compare", "-F", "raw", "copy.qcow2", "same.img")
    assert allocated(test.folder / "copy.qcow2") < 4 * MIB


@case
def qemu_img_converts_into_an_export(test):
    source = with_data(test, "source.img")
    test.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, "source.qcow2")
    server = test.serve(test.filled_image(SIZE))
    test.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", "source.qcow2", server.uri)
    test.run("cmp", source, server.image)
    assert allocated(server.image) < 4 * MIB, "what is zero in the source takes blocks"


@case
def qemu_img_convert_with_many_coroutines_and_out_of_order_writes(test):
    server = test.serve(test.image(SIZE))
    source = test.filled_image(SIZE, "source.img")
    test.run("qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", source,
             server.uri)
    test.run("cmp", source, server.image)


@case
def qemu_img_compare_sees_one_byte(test):
    server = test.serve(with_data(test, "disk.img"))
    test.run("cp", "--sparse=always", server.image, "copy.img")
    test.run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri, "copy.img")
    with open(test.folder / "copy.img", "r+b") as copy:
        copy.seek(20 * MIB + 77777)
        byte = copy.read(1)[0]
        copy.seek(-1, os.SEEK_CUR)
        copy.write(bytes([byte ^ 1]))
    test.run("qemu-img", "compare", "-f", "raw", "-F", "raw", server.uri, "copy.img", status=1)


@case
def qemu_img_map_finds_data_and_holes(test):
    server = test.serve(with_data(test, "disk.img"))
    told = json.loads(test.run("qemu-img", "map", "--output=json", "-f", "raw", server.uri))
    data = [(extent["start"], extent["start"] + extent["length"])
            for extent in told if extent["data"]]
    assert any(begin <= 0 and end >= 65536 for begin, end in data), told
    assert any(begin <= 20 * MIB and end >= 21 * MIB for begin, end in data), told
    assert sum(end - begin for begin, end in data) < 4 * MIB, told


@case
def qemu_io_patterns_survive(test):
    server = test.serve(test.image(SIZE))
    qemu_io(test, server, "write -P 1 0 1M", "write -P 2 -f 1M 64k", "aio_write -P 3 2M 4M",
            "aio_flush", "write -P 4 1000 513", "flush")
    qemu_io(test, server, "read -P 1 64k 64k", "read -P 2 1M 64k", "read -P 3 2M 4M",
            "read -P 4 1000 513", "read -P 0 10M 1M")


@case
def qemu_io_zeroes_and_discards(test):
    server = test.serve(test.filled_image(SIZE))
    before = allocated(server.image)
    qemu_io(test, server, "write -z 0 8M", "write -z -u 8M 8M", "discard 16M 16M", "flush")
    assert allocated(server.image) <= before - 23 * MIB, "blocks that were discarded are there"
    qemu_io(test, server, "read -P 0 0 16M")


@case
def qemu_io_vectors_and_misalignment(test):
    server = test.serve(test.image(SIZE))
    qemu_io(test, server, "writev -P 5 4095 1 511 4097 65536", "flush",
            "readv -P 5 4095 1 511 4097 65536", "read -P 0 0 4095",
            "write -P 6 33553921 1023", "read -P 6 33553921 1023")


@case
def qemu_io_is_refused_on_a_read_only_export(test):
    server = test.serve(test.image(MIB), read_only=True)
    test.run("qemu-io", "-f", "raw", "-c", "write 0 512", server.uri, status=1)
    qemu_io_reads = test.run("qemu-io", "-r", "-f", "raw", "-c", "read -P 0 0 1M", server.uri)
    assert "failed" not in qemu_io_reads, qemu_io_reads


@case
def qemu_img_bench_runs_over_one_connection(test):
    server = test.serve(test.image(SIZE))
    test.run("qemu-img", "bench", "-f", "raw", "-c", "2000", "-d", "32", "-s", "4096", server.uri)
    test.run("qemu-img", "bench", "-w", "--flush-interval=100", "-f", "raw", "-c", "1000", "-d",
             "16", "-s", "65536", "-S", "36864", server.uri)
