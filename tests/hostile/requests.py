"""Requests that are wrong, strange or broken off, and what the protocol says to each of them."""

import random
import struct

import wire
from cases import case

MIB = 1 << 20
ALL = (wire.READ, wire.WRITE, wire.TRIM, wire.CACHE, wire.WRITE_ZEROES, wire.BLOCK_STATUS)
FAR = (MIB + 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 512, (1 << 64) - 1)


def must_serve(server, image_bytes=None):
    server.must_live()
    with wire.connect(server.path) as other:
        assert len(other.read(0, 4096)) == 4096
        if image_bytes is not None:
            assert server.image.read_bytes() == image_bytes, "the image was changed"


def errors(client, command, offset, length, flags=0):
    payload = bytes(length) if command == wire.WRITE else b""
    return client.call(command, offset, length, flags, payload).error


@case
def a_request_of_no_length_keeps_the_connection(test):
    """The protocol leaves the answer open, but forbids to end the connection."""
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    for structured in (False, True):
        with wire.connect(server.path, structured=structured) as client:
            for command in ALL:
                for offset in (0, 4096, MIB):
                    error = errors(client, command, offset, 0)
                    assert error in (0, wire.EINVAL), f"command {command}: {error}"
            assert client.read(0, 512) == before[:512]
    must_serve(server, before)


@case
def a_read_past_the_end_is_invalid_and_a_write_has_no_space(test):
    """Offset and length are added in more than 64 bits: 2^64-512 and 1024 are not 512."""
    test.only_ringloop("has its own opinion of which error it is")
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    expected = {wire.READ: wire.EINVAL, wire.WRITE: wire.ENOSPC, wire.TRIM: wire.EINVAL,
                wire.WRITE_ZEROES: wire.ENOSPC}
    for structured in (False, True):
        with wire.connect(server.path, structured=structured) as client:
            for command, right in expected.items():
                for offset, length in [(MIB - 512, 1024), (MIB, 1), (0, MIB + 1),
                                       *((far, 1024) for far in FAR)]:
                    error = errors(client, command, offset, length)
                    assert error == right, f"command {command} {offset}+{length}: error {error}"
            for command in (wire.TRIM, wire.WRITE_ZEROES):
                for length in (0xFFFFFFFF, 0x80000000, 0xFFFFF001):
                    error = errors(client, command, 0, length)
                    assert error == expected[command], f"command {command}, {length}: {error}"
            assert client.read(MIB - 512, 512) == before[-512:]
    must_serve(server, before)


@case
def any_byte_can_be_read_and_written(test):
    """A client that did not ask for block sizes may be unaligned; what is beside stays."""
    server = test.serve(test.filled_image(MIB + 123))
    model = bytearray(server.image.read_bytes())
    with wire.connect(server.path) as client:
        for offset, length in ((1, 1), (511, 2), (4095, 4098), (0, 3), (MIB - 1, 124),
                               (MIB + 122, 1), (65535, 65537)):
            data = random.Random(offset).randbytes(length)
            client.write(offset, data)
            model[offset:offset + length] = data
            assert client.read(offset, length) == data
        for offset, length in ((8193, 12289), (200001, 1), (MIB + 100, 23)):
            client.must(wire.WRITE_ZEROES, offset, length)
            model[offset:offset + length] = bytes(length)
        assert client.read(0, len(model)) == model
    assert server.image.read_bytes() == model


@case
def an_unknown_command_or_flag_is_invalid(test):
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    for structured in (False, True):
        with wire.connect(server.path, structured=structured) as client:
            for command in (8, 9, 100, 0x8000, 0xFFFF):
                assert errors(client, command, 0, 512) == wire.EINVAL, command
            for command in (wire.READ, wire.WRITE, wire.FLUSH, wire.TRIM, wire.WRITE_ZEROES):
                length = 0 if command == wire.FLUSH else 512
                for flags in (1 << 7, 1 << 15):
                    assert errors(client, command, 0, length, flags) == wire.EINVAL, (command,
                                                                                      flags)
            assert client.read(0, 512) == before[:512]
    must_serve(server, before)


@case
def fua_is_good_on_every_command(test):
    server = test.serve(test.filled_image(MIB))
    with wire.connect(server.path) as client:
        for command in (wire.READ, wire.WRITE, wire.FLUSH, wire.TRIM, wire.WRITE_ZEROES):
            length = 0 if command == wire.FLUSH else 512
            assert errors(client, command, 0, length, wire.FLAG_FUA) == 0, command


@case
def a_payload_over_the_limit_is_skipped_and_a_huge_one_ends_the_connection(test):
    """A server that does not skip takes the payload for requests; one that skips everything reads
    4 GiB for every client. The payload here is a valid request, repeated: it must not be done."""
    test.only_ringloop("has no option for the limit")
    server = test.serve(test.filled_image(8 * MIB), max_request=MIB)
    before = server.image.read_bytes()
    request = struct.pack(">IHHQQI", wire.REQUEST_MAGIC, 0, wire.WRITE_ZEROES, 1, 0, MIB)
    payload = (request * (4 * MIB // len(request) + 1))[:4 * MIB]
    with wire.connect(server.path) as client:
        assert client.call(wire.WRITE, 0, len(payload), 0, payload).error == wire.EINVAL
        assert client.call(wire.READ, 0, 4 * MIB).error == wire.EINVAL
        assert client.read(0, MIB) == before[:MIB]
        client.write(0, before[:MIB])
    with wire.connect(server.path) as client:
        try:
            client.send_request(wire.WRITE, 0, 0xFFFFF000)
            for _ in range(64):
                client.send(bytes(MIB))
        except wire.Disconnected:
            must_serve(server, before)
            return
    raise AssertionError("64 MiB of a payload of 4 GiB were taken")


@case
def a_request_without_its_magic_ends_the_connection(test):
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    for magic in (wire.SIMPLE_MAGIC, 0xFFFFFFFF, 1, wire.EXTENDED_REQUEST_MAGIC):
        with wire.connect(server.path) as client:
            client.send_request(wire.WRITE_ZEROES, 0, MIB, magic=magic)
            try:
                client.send(bytes(100))
            except wire.Disconnected:
                continue
            assert client.ended()
    must_serve(server, before)


@case
def noise_after_a_handshake_harms_nobody(test):
    """Bytes from a generator, with good heads between them so that they get further."""
    server = test.serve(test.filled_image(MIB))
    source = random.Random(20)
    for round_number in range(40):
        with wire.connect(server.path, structured=bool(round_number % 2)) as client:
            stream = b"".join(
                struct.pack(">IHHQQI", wire.REQUEST_MAGIC, source.randrange(1 << 16),
                            source.randrange(12), source.randrange(1 << 64),
                            source.choice((0, 512, *FAR, source.randrange(1 << 64))),
                            source.choice((0, 1, 4096, MIB, 1 << 31, (1 << 32) - 1)))
                + source.randbytes(source.randrange(64)) for _ in range(source.randrange(20)))
            try:
                client.send(stream, source.randbytes(1000))
            except wire.Disconnected:
                pass
    must_serve(server)


@case
def a_client_that_dies_within_a_payload_writes_what_it_sent_at_most(test):
    """A large payload may be on its way to the image before its end has come, as with a disk that
    loses power. What never came must not be made up: a buffer that is written in full holds
    what somebody else sent before."""
    server = test.serve(test.filled_image(4 * MIB))
    before = server.image.read_bytes()
    with wire.connect(server.path) as other:
        other.write(0, before[:MIB])  # what a buffer that is used again holds
    for length in (1, 512, 4095, 4096, 65536, 100001, MIB - 1):
        client = wire.connect(server.path)
        client.send_request(wire.WRITE, 2 * MIB + 7, MIB, 0, b"p" * length)
        client.close()
        must_serve(server)
        server_is_quiet(server)
        after = server.image.read_bytes()
        begin, end = 2 * MIB + 7, 3 * MIB + 7
        assert after[:begin] == before[:begin] and after[end:] == before[end:], "outside"
        written = len(after[begin:end]) - len(after[begin:end].lstrip(b"p"))
        assert written <= length, f"{written} bytes of {length}"
        assert after[begin + written:end] == before[begin + written:end], "bytes that never came"
        with wire.connect(server.path) as other:
            other.write(begin, before[begin:end])


def server_is_quiet(server):
    """What a dead client left is carried out when a later client's flush is answered."""
    with wire.connect(server.path) as other:
        other.must(wire.FLUSH)


@case
def a_client_that_dies_within_a_head_harms_nobody(test):
    server = test.serve(test.filled_image(MIB))
    head = struct.pack(">IHHQQI", wire.REQUEST_MAGIC, 0, wire.WRITE_ZEROES, 1, 0, MIB)
    before = server.image.read_bytes()
    for length in range(len(head)):
        with wire.connect(server.path) as client:
            client.send(head[:length])
    must_serve(server, before)


@case
def a_client_that_leaves_before_its_replies_harms_nobody(test):
    """CVE-2015-0847, CVE-2017-10664: a reply to somebody who is gone raises SIGPIPE, and a server
    that did not expect it ends."""
    server = test.serve(test.filled_image(8 * MIB))
    for number in range(20):
        client = wire.connect(server.path, structured=bool(number % 2))
        for _ in range(20):
            client.send_request(wire.READ, 0, MIB)
        client.receive(10)
        client.close()
    must_serve(server)


@case
def a_read_only_export_refuses_every_change(test):
    server = test.serve(test.filled_image(MIB), read_only=True)
    before = server.image.read_bytes()
    with wire.connect(server.path) as client:
        assert client.flags & wire.READ_ONLY
        for command in (wire.WRITE, wire.TRIM, wire.WRITE_ZEROES):
            assert errors(client, command, 0, 512) == wire.EPERM, command
        assert client.read(0, MIB) == before
    must_serve(server, before)


@case
def every_reply_carries_its_cookie(test):
    """Sixty-four requests at once, answered in any order."""
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    with wire.connect(server.path, structured=True) as client:
        where = {client.send_request(wire.READ, number * 4096, 4096): number * 4096
                 for number in range(64)}
        for _ in range(64):
            answer = client.reply()
            offset = where.pop(answer.cookie)
            assert answer.bytes(offset, 4096) == before[offset:offset + 4096]
        assert not where


@case
def a_read_that_may_not_be_split_comes_in_one_chunk(test):
    image = test.image(MIB)
    with open(image, "r+b") as file:
        file.seek(20480)
        file.write(b"data between two holes")
    server = test.serve(image)
    with wire.connect(server.path, structured=True) as client:
        assert client.flags & wire.SEND_DF
        answer = client.must(wire.READ, 0, 65536, wire.FLAG_DF)
        assert answer.chunks == 1, f"{answer.chunks} chunks"
        assert answer.bytes(0, 65536) == image.read_bytes()[:65536]
        assert client.read(0, MIB) == image.read_bytes()


@case
def disconnect_is_answered_by_the_end_after_what_came_before(test):
    server = test.serve(test.filled_image(4 * MIB))
    with wire.connect(server.path) as client:
        client.send_request(wire.WRITE, 0, MIB, 0, b"w" * MIB)
        client.send_request(wire.DISC)
        assert client.reply().error == 0
        assert client.ended()
    assert server.image.read_bytes()[:MIB] == b"w" * MIB
    must_serve(server)
