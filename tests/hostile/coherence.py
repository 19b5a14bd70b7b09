"""CAN_MULTI_CONN is a promise: what one connection has written, all of them see, and a flush on
any of them covers it."""

import random

import wire
from cases import case

MIB = 1 << 20
BLOCK = 4096


@case
def a_flush_on_one_connection_covers_the_writes_of_another(test):
    """Write on the first, flush on the second, read on the third and in the image itself. A server
    that caches for each connection shows the third one old data."""
    server = test.serve(test.image(16 * MIB))
    with (wire.connect(server.path) as writer, wire.connect(server.path) as flusher,
          wire.connect(server.path, structured=True) as reader):
        assert writer.flags & wire.CAN_MULTI_CONN
        for number in range(64):
            data = random.Random(number).randbytes(BLOCK)
            writer.write(number * BLOCK, data)
            flusher.must(wire.FLUSH)
            assert reader.read(number * BLOCK, BLOCK) == data, f"round {number}"
            with open(server.image, "rb") as image:
                image.seek(number * BLOCK)
                assert image.read(BLOCK) == data


@case
def fua_needs_no_flush_to_be_seen(test):
    server = test.serve(test.image(MIB))
    with wire.connect(server.path) as writer, wire.connect(server.path) as reader:
        writer.write(0, b"f" * BLOCK, wire.FLAG_FUA)
        assert reader.read(0, BLOCK) == b"f" * BLOCK
        writer.must(wire.WRITE_ZEROES, 0, BLOCK, wire.FLAG_FUA)
        assert reader.read(0, BLOCK) == bytes(BLOCK)


@case
def what_one_connection_zeroes_or_trims_the_others_see(test):
    server = test.serve(test.filled_image(MIB))
    before = server.image.read_bytes()
    with wire.connect(server.path) as one, wire.connect(server.path, structured=True) as other:
        assert other.read(0, MIB) == before
        one.must(wire.WRITE_ZEROES, 8192, 65536)
        one.must(wire.TRIM, 131072, 65536)
        after = bytearray(before)
        after[8192:8192 + 65536] = bytes(65536)
        after[131072:131072 + 65536] = bytes(65536)
        assert other.read(0, MIB) == after


@case
def writes_of_many_connections_all_arrive(test):
    """Eight connections write their own blocks, interleaved and in flight at once; one flushes."""
    server = test.serve(test.image(4 * MIB))
    clients = [wire.connect(server.path, structured=bool(index % 2)) for index in range(8)]
    for turn in range(16):
        for index, client in enumerate(clients):
            data = bytes([turn * 8 + index]) * BLOCK
            client.send_request(wire.WRITE, (turn * 8 + index) * BLOCK, BLOCK, 0, data)
    for client in clients:
        for _ in range(16):
            assert client.reply().error == 0
    clients[3].must(wire.FLUSH)
    for number in range(128):
        data = clients[number % 8].read(number * BLOCK, BLOCK)
        assert data == bytes([number]) * BLOCK, f"block {number}"
    for client in clients:
        client.close()


@case
def what_was_acknowledged_and_flushed_survives_the_server(test):
    """kill -9 after the flush: the image has it."""
    server = test.serve(test.image(MIB))
    with wire.connect(server.path) as client:
        client.write(0, b"k" * MIB)
        client.must(wire.FLUSH)
        server.kill()
    test.servers.remove(server)
    assert server.image.read_bytes() == b"k" * MIB
    again = test.serve(server.image)
    with wire.connect(again.path) as client:
        assert client.read(0, MIB) == b"k" * MIB


@case
def a_stop_answers_what_is_in_flight_and_ends(test):
    """SIGTERM with requests on their way: each is answered (done or ESHUTDOWN) or the connection
    ends; what was acknowledged is in the image; and the server ends with 0."""
    server = test.serve(test.image(16 * MIB))
    client = wire.connect(server.path)
    sent = {}
    for number in range(64):
        cookie = client.send_request(wire.WRITE, number * 65536, 65536, 0, bytes([1]) * 65536)
        sent[cookie] = number
    test.servers.remove(server)
    server.stop()
    acknowledged = []
    try:
        while sent:
            answer = client.reply()
            number = sent.pop(answer.cookie)
            assert answer.error in (0, wire.ESHUTDOWN), answer.error
            if answer.error == 0:
                acknowledged.append(number)
    except wire.Disconnected:
        pass
    client.close()
    content = server.image.read_bytes()
    for number in acknowledged:
        assert content[number * 65536:(number + 1) * 65536] == bytes([1]) * 65536, number
