"""A client that lies, breaks off or never ends in the handshake. tests/nbd/mutants.py plants each
of these mistakes into a server and sees the case named beside it fail; here, what they look like.
"""

import socket
import struct
import time

import wire
from cases import case, refusal
from server import KIND, PATIENCE

MIB = 1 << 20
OTHER_BYTES = 4096


def must_serve(server):
    """Somebody else is served as if nothing had happened."""
    server.must_live()
    with wire.connect(server.path, server.export) as other:
        assert len(other.read(0, OTHER_BYTES)) == OTHER_BYTES
        assert other.disconnect()


def must_be_refused(server, option, data):
    """By an error or by the end of the connection; and nobody else may suffer."""
    with wire.Client(server.path).greet() as client:
        error = refusal(client.option, option, data)
        assert isinstance(error, (wire.Refused, wire.Disconnected)), repr(error)
    must_serve(server)


def named(name, rest=b"", length=None):
    return struct.pack(">I", len(name) if length is None else length) + name + rest


@case
def an_option_without_end_is_cut_off(test):
    """CVE-2017-15119: a server that reads an option to its end reads 4 GiB for every client. It
    would take the 64 MiB that are offered here, and wait for more."""
    test.only_ringloop("takes options of tens of megabytes")
    server = test.serve(test.image(MIB))
    for option in (wire.LIST, wire.GO, wire.SET_META, 0x12345678):
        with wire.Client(server.path).greet() as client:
            client.send_option(option, length=0xFFFFFFFF)
            try:
                for _ in range(64):
                    client.send(bytes(MIB))
            except wire.Disconnected:
                continue
            raise AssertionError(f"64 MiB of option {option} were taken")
    must_serve(server)


@case
def an_unknown_option_is_skipped_and_refused(test):
    server = test.serve(test.image(MIB))
    with wire.Client(server.path).greet() as client:
        for option, size in ((99, 0), (0x7FFFFFFF, 1), (4, 5000), (0xFFFFFFFF, 60000)):
            error = refusal(client.option, option, bytes(size))
            assert error.code == wire.UNSUP, error
        client.go()
        assert client.size == MIB


@case
def a_name_longer_than_its_option_is_refused(test):
    """CVE-2022-26495: a length of 2^32-1 plus one is an allocation of nothing; CVE-2022-26496: a
    length that nobody compared went into a buffer on the stack."""
    server = test.serve(test.image(MIB))
    for length in (0xFFFFFFFF, 0xFFFFFFFE, 0x80000000, 0x7FFFFFFF, 4097, 6, 5):
        for option in (wire.INFO, wire.GO, wire.SET_META, wire.LIST_META):
            must_be_refused(server, option, named(b"abcd", length=length))


@case
def a_name_of_4096_bytes_is_unknown_and_a_longer_one_refused(test):
    """CVE-2017-15118: 4096 bytes are allowed, the buffer had 256. CVE-2020-10761: the text of the
    refusal named the export, and an assertion said that it is short."""
    if KIND == "nbdkit":
        test.skip("nbdkit: takes every name")
    server = test.serve(test.image(MIB), export="disk")
    for option in (wire.INFO, wire.GO):
        for character in (b"n", b"%", b"\n"):
            with wire.Client(server.path).greet() as client:
                error = refusal(client.option, option, named(character * 4096, b"\0\0"))
                assert isinstance(error, wire.Refused), f"a name of 4096 bytes: {error!r}"
        must_be_refused(server, option, named(b"n" * 4097, b"\0\0"))
        must_be_refused(server, option, named(b"n" * 60000, b"\0\0"))
    with wire.Client(server.path).greet() as client:
        client.send_option(wire.EXPORT_NAME, b"n" * 4096)
        assert client.ended(), "EXPORT_NAME of an unknown export did not end the connection"
    with wire.connect(server.path, "disk") as other:
        assert len(other.read(0, OTHER_BYTES)) == OTHER_BYTES


@case
def counts_inside_an_option_are_compared_with_its_length(test):
    """A server that trusts the number of queries or of information requests reads beyond the
    option's end."""
    server = test.serve(test.image(MIB))
    for data in (b"", b"\0", named(b"")[:3], named(b""), named(b"", b"\0"), named(b"", b"\0\1"),
                 named(b"", b"\xff\xff\0\3"), named(b"", b"\0\0\0\3")):
        must_be_refused(server, wire.INFO, data)
    for count, queries in ((0xFFFFFFFF, b""), (2, named(b"base:allocation")),
                           (1, named(b"base:", length=0xFFFFFFFF)), (1, named(b"x", length=16)),
                           (0x40000000, named(b"a") * 4)):
        with wire.Client(server.path).greet().want_structured() as client:
            data = named(b"", struct.pack(">I", count) + queries)
            error = refusal(client.option, wire.SET_META, data)
            assert isinstance(error, (wire.Refused, wire.Disconnected)), repr(error)
        must_serve(server)


def good_handshake():
    """Every byte that a client sends before its first request."""
    def option(number, data=b""):
        return struct.pack(">QII", wire.IHAVEOPT, number, len(data)) + data

    meta = named(b"", struct.pack(">I", 1) + named(b"base:allocation"))
    return (struct.pack(">I", wire.FIXED_NEWSTYLE | wire.NO_ZEROES) + option(wire.LIST)
            + option(wire.STRUCTURED_REPLY) + option(wire.SET_META, meta)
            + option(wire.GO, named(b"", b"\0\0")))


@case
def a_client_may_leave_after_any_byte_of_the_handshake(test):
    """CVE-2017-9524, CVE-2017-7539, CVE-2013-7441: a server that took a completed handshake for
    granted died of a client that left within it."""
    server = test.serve(test.image(MIB))
    stream = good_handshake()
    for length in range(len(stream)):
        with wire.Client(server.path) as client:
            client.send(stream[:length])  # and away, with everything unread: a reset
        with wire.Client(server.path) as client:
            client.send(stream[:length])
            client.socket.shutdown(socket.SHUT_WR)
            assert client.ended(), f"no end after {length} bytes and the end of the stream"
    must_serve(server)


@case
def a_handshake_that_is_none_ends_the_connection(test):
    server = test.serve(test.image(MIB))
    for stream in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", bytes(4096), b"\xff" * 4096,
                   struct.pack(">I", 0x80000003), struct.pack(">IQII", 3, 0, wire.LIST, 0),
                   struct.pack(">IQII", 3, wire.REQUEST_MAGIC, wire.LIST, 0)):
        with wire.Client(server.path) as client:
            try:
                client.send(stream)
            except wire.Disconnected:
                continue
            assert client.ended(), f"still there after {stream[:20]}"
    must_serve(server)


@case
def haggling_without_end_is_cut_off(test):
    """A client that lists exports for ever keeps its place for ever, deadline or not."""
    test.only_ringloop("has no such limit, or another answer to it")
    server = test.serve(test.image(MIB))
    with wire.Client(server.path).greet() as client:
        try:
            for _ in range(2000):
                client.option(wire.LIST)
        except wire.Disconnected:
            must_serve(server)
            return
    raise AssertionError("2000 options of one client were answered")


@case
def a_hundred_half_open_connections_hinder_nobody_and_are_dropped(test):
    """CVE-2024-7409: a client that connects and says nothing held its place for ever; some of
    these never say a word, the others stop within an option."""
    server = test.serve(test.image(MIB), handshake_timeout=3)
    stream = good_handshake()
    idle = [wire.Client(server.path) for _ in range(100)]
    for number, client in enumerate(idle):
        client.send(stream[:number % 40])
    with wire.connect(server.path) as busy:
        start = time.monotonic()
        for _ in range(100):
            busy.read(0, OTHER_BYTES)
        assert time.monotonic() - start < 3, "others wait because of clients that do nothing"
        for client in idle:
            assert client.ended(), "a half-open connection survived the deadline"
        busy.read(0, OTHER_BYTES)  # the deadline is one of the handshake, not of the connection
    for client in idle:
        client.close()
    must_serve(server)


@case
def a_handshake_byte_by_byte_has_the_same_deadline(test):
    """A deadline that begins anew with each byte is none: 3 s for each of 65,000 bytes."""
    server = test.serve(test.image(MIB), handshake_timeout=2)
    with wire.Client(server.path) as client:
        client.receive(18)
        client.socket.settimeout(0.5)
        begin = time.monotonic()
        client.send(struct.pack(">IQII", 3, wire.IHAVEOPT, 77, 60000))
        while time.monotonic() - begin < 8 * PATIENCE:
            try:
                client.send(b"x")
                if not client.socket.recv(1):
                    break
            except TimeoutError:
                continue
            except (wire.Disconnected, ConnectionResetError):
                break
        else:
            raise AssertionError("many seconds after the start of a handshake that may take 2 s")
    must_serve(server)


@case
def places_are_limited_and_come_back(test):
    """The fourth client waits or is refused; a place that is given back is one again, also after
    many clients that broke off."""
    server = test.serve(test.image(MIB), max_connections=3)
    for _ in range(3):
        held = [wire.connect(server.path) for _ in range(3)]
        fourth = wire.Client(server.path)
        fourth.socket.settimeout(0.5)
        try:
            fourth.greet().go()
        except (TimeoutError, wire.Disconnected):
            pass
        else:
            raise AssertionError("a fourth connection of three")
        fourth.close()
        for client in held:
            client.close()
    for _ in range(50):
        wire.Client(server.path).close()
    must_serve(server)


@case
def no_descriptor_is_left_of_a_connection(test):
    """A server that forgets to close is out of descriptors after a thousand clients."""
    server = test.serve(test.image(MIB))
    must_serve(server)
    before = server.descriptors()
    for number in range(200):
        client = wire.Client(server.path)
        client.send(good_handshake()[:number])
        client.close()
    for _ in range(20):
        must_serve(server)
    deadline = time.monotonic() + 10 * PATIENCE
    while server.descriptors() > before + 5:
        assert time.monotonic() < deadline, f"{before} descriptors became {server.descriptors()}"
        must_serve(server)


@case
def list_tells_the_export_and_abort_is_acknowledged(test):
    if KIND == "nbdkit":
        test.skip("nbdkit: its export has no name")
    server = test.serve(test.image(MIB), export="disk")
    with wire.Client(server.path).greet() as client:
        kind, data = client.option(wire.LIST)[0]
        assert kind == wire.REP_SERVER and data[4:8] == b"disk", data
        error = refusal(client.option, wire.LIST, b"more")
        assert error.code == wire.INVALID, error
        client.option(wire.ABORT)
        assert client.ended()


@case
def info_tells_what_go_tells(test):
    """nbd-server answers INFO with a size of 0."""
    test.only_ringloop("may round the size")
    server = test.serve(test.image(MIB + 1))
    with wire.Client(server.path).greet() as client:
        client.info()
        first = (client.size, client.flags, client.blocks)
        client.go()
        assert (client.size, client.flags, client.blocks) == first
        assert client.size == MIB + 1, client.size
        assert client.read(MIB, 1) == b"\0"


@case
def export_name_begins_the_transmission_with_and_without_zeroes(test):
    server = test.serve(test.filled_image(MIB))
    for flags, padding in ((wire.FIXED_NEWSTYLE, 124), (3, 0)):
        with wire.Client(server.path).greet(flags) as client:
            client.send_option(wire.EXPORT_NAME)
            size, _ = client.unpack(">QH")
            assert size == MIB, size
            assert client.receive(padding) == bytes(padding)
            assert client.read(0, MIB) == server.image.read_bytes()
