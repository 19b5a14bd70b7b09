"""fio with its engine for NBD: data with a checksum in every block, read back and compared."""

from cases import case

MIB = 1 << 20


def verify(test, server, *options):
    test.run("fio", "--name=verify", "--ioengine=nbd", f"--uri={server.uri}", "--verify=crc32c",
             "--verify_fatal=1", "--output=fio.txt", *options)


@case
def fio_verifies_random_writes(test):
    server = test.serve(test.image(64 * MIB))
    verify(test, server, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=64m")


@case
def fio_verifies_mixed_sizes_and_offsets(test):
    """Blocks from 512 bytes to 128 KiB, writes and trims of the same range under way at once."""
    server = test.serve(test.image(64 * MIB))
    verify(test, server, "--rw=randwrite", "--bsrange=512-128k", "--bs_unaligned=0",
           "--iodepth=16", "--size=64m", "--fsync=64", "--verify_backlog=128")


@case
def fio_verifies_large_sequential_writes(test):
    server = test.serve(test.image(128 * MIB))
    verify(test, server, "--rw=write", "--bs=1m", "--iodepth=8", "--size=128m", "--end_fsync=1")


@case
def fio_verifies_four_connections_with_a_quarter_each(test):
    server = test.serve(test.image(64 * MIB))
    verify(test, server, "--rw=randwrite", "--bs=4k", "--iodepth=16", "--numjobs=4",
           "--size=16m", "--offset_increment=16m", "--group_reporting")


@case
def fio_verifies_what_was_written_over_another_connection(test):
    """Written by one run, read by the next: nothing of it is in the client's memory."""
    server = test.serve(test.image(32 * MIB))
    options = ("--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=32m")
    verify(test, server, *options, "--do_verify=0", "--end_fsync=1")
    verify(test, server, *options, "--verify_only=1")


@case
def fio_notices_when_the_image_was_changed(test):
    """That the check above checks: one byte is changed behind the server's back."""
    server = test.serve(test.image(MIB))
    options = ("--rw=write", "--bs=4k", "--size=1m")
    verify(test, server, *options, "--do_verify=0", "--end_fsync=1")
    with open(server.image, "r+b") as image:
        image.seek(300000)
        byte = image.read(1)[0]
        image.seek(300000)
        image.write(bytes([byte ^ 1]))
    test.run("fio", "--name=verify", "--ioengine=nbd", f"--uri={server.uri}", "--verify=crc32c",
             "--verify_fatal=1", "--output=fio.txt", *options, "--verify_only=1", status=1)
