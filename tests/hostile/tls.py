"""STARTTLS and who may use it. Each header says how a server with the mistake fails."""

import ssl
import struct

import wire
from cases import case, refusal
from certificates import certificates

MIB = 1 << 20


def as_client(test, name=None):
    context = ssl.create_default_context(cafile=str(test.folder / "ours.pem"))
    if name:
        context.load_cert_chain(test.folder / f"{name}.pem", test.folder / f"{name}.key")
    return context


def secured(test, mode="require", **options):
    return test.serve(test.filled_image(MIB), tls=mode, certificates=certificates(test), **options)


def option(number, data=b""):
    return struct.pack(">QII", wire.IHAVEOPT, number, len(data)) + data


@case
def reads_and_writes_go_through_tls(test):
    server = secured(test)
    with wire.Client(server.path).greet().start_tls(as_client(test, "alice")) as client:
        client.go()
        assert client.read(0, MIB) == server.image.read_bytes()
        client.write(77, b"over TLS")
        client.must(wire.FLUSH)
        assert server.image.read_bytes()[77:85] == b"over TLS"


@case
def plain_text_behind_starttls_is_forgotten(test):
    """CVE-2021-3716: what somebody in the middle put behind STARTTLS was carried out as if it had
    come over TLS. A server with the mistake answers LIST first; the client then hears of an
    option that it never sent."""
    server = secured(test)
    with wire.Client(server.path).greet() as client:
        try:
            client.start_tls(as_client(test, "alice"), injected=option(wire.LIST))
        except (ssl.SSLError, OSError, wire.Disconnected):
            return  # to end the connection is right as well
        error = refusal(client.option, 99)
        assert isinstance(error, (wire.Refused, wire.Disconnected)), repr(error)


@case
def what_was_agreed_before_tls_is_forgotten(test):
    """Structured replies are agreed in plain text, then TLS: a server that remembers would answer
    a read in chunks, and would let a metadata context be chosen."""
    test.only_ringloop("may refuse everything before TLS")
    server = secured(test, mode="on")
    with wire.Client(server.path).greet().want_structured().want_allocation() as client:
        client.start_tls(as_client(test, "alice"))
        client.structured = False
        error = refusal(client.want_allocation)
        assert isinstance(error, wire.Refused) and error.code == wire.INVALID, repr(error)
        client.go()
        assert not client.flags & wire.SEND_DF, "DF is offered: structured replies are remembered"
        client.send_request(wire.READ, 0, 512)
        assert client.unpack(">I")[0] == wire.SIMPLE_MAGIC


@case
def without_tls_nothing_is_told_where_it_is_required(test):
    """CVE-2019-14842 is the client's half: a server that is not strict lets whoever sits between
    take TLS away. Every option but STARTTLS and ABORT is refused, EXPORT_NAME ends."""
    server = secured(test, export="secret")
    with wire.Client(server.path).greet() as client:
        name = struct.pack(">I", 6) + b"secret"
        for number, data in ((wire.LIST, b""), (wire.INFO, name + b"\0\0"),
                             (wire.GO, name + b"\0\0"), (wire.STRUCTURED_REPLY, b""),
                             (wire.LIST_META, name + bytes(4)), (wire.SET_META, name + bytes(4))):
            error = refusal(client.option, number, data)
            assert isinstance(error, wire.Refused) and error.code == wire.TLS_REQD, repr(error)
            assert "secret" not in str(error), error
        client.send_option(wire.EXPORT_NAME, b"secret")
        assert client.ended()


def may_read(test, server, name):
    """Whether a client with this certificate gets its data. (With TLS 1.3 it learns only from
    what follows that the server did not like it.)"""
    with wire.Client(server.path).greet() as client:
        try:
            client.start_tls(as_client(test, name)).go()
            return len(client.read(0, 512)) == 512
        except (ssl.SSLError, OSError, wire.Disconnected):
            return False


@case
def without_a_list_tls_hides_what_is_sent_and_chooses_nobody(test):
    """What the manual says of --tls-certificates without --tls-authorize."""
    server = secured(test)
    assert may_read(test, server, "alice")
    assert may_read(test, server, None)


@case
def only_who_is_on_the_list_is_let_in(test):
    """nbdkit before 1.40: to check a certificate's chain was taken for checking who it is."""
    server = secured(test, authorize="alice")
    assert may_read(test, server, "alice")
    assert not may_read(test, server, "bob"), "bob has a good certificate, but is not on the list"
    assert not may_read(test, server, "mallory"), "the right name, by the wrong authority"
    assert not may_read(test, server, None), "a client without a certificate was taken"


@case
def rubbish_instead_of_a_tls_greeting_harms_nobody(test):
    server = secured(test)
    for stream in (b"\x16\x03\x01\xff\xff" + bytes(70000), b"\x16\x03\x01\0\5hello", b"\x16",
                   b"\x16\x03\x03\0\0" * 1000):
        with wire.Client(server.path).greet() as client:
            client.send(option(wire.STARTTLS))
            client.receive(20)
            try:
                client.send(stream)
            except wire.Disconnected:
                pass
    assert may_read(test, server, "alice")


@case
def starttls_twice_is_refused(test):
    server = secured(test)
    with wire.Client(server.path).greet().start_tls(as_client(test, "alice")) as client:
        error = refusal(client.option, wire.STARTTLS)
        assert isinstance(error, wire.Refused) and error.code == wire.INVALID, repr(error)
        client.go()
