"""Clients that take too much or too little: others keep their speed, memory stays bounded."""

import contextlib
import random
import struct
import threading
import time

import wire
from cases import case
from server import PATIENCE

MIB = 1 << 20
IMAGE_BYTES = 16 * MIB
READS = 1000
# What requests may be kept of one client, with generous room for what else a server needs.
GROWTH_BYTES_MAX = 96 * MIB


def reads_take(server):
    """Seconds for a good client's reads, one after another."""
    with wire.connect(server.path) as client:
        start = time.monotonic()
        for number in range(READS):
            client.read(number % 256 * 4096, 4096)
        return time.monotonic() - start


def others_keep_their_speed(server, alone_s):
    """Within five times and some seconds: the machine has other work, but a client that waits
    for another one waits for ever or for many seconds."""
    now_s = reads_take(server)
    limit_s = 5 * alone_s + PATIENCE
    assert now_s < limit_s, f"{READS} reads took {now_s:.2f} s, alone {alone_s:.2f} s"


def push(client, request, limit):
    """Sends copies of a request until the server takes no more for a while; how many it took."""
    client.socket.settimeout(1)
    taken = 0
    try:
        while taken < limit:
            client.send(request)
            taken += 1
    except (TimeoutError, wire.Disconnected):
        pass
    return taken


def request(command, offset, length, payload=b""):
    return struct.pack(">IHHQQI", wire.REQUEST_MAGIC, 0, command, 7, offset, length) + payload


@case
def clients_that_stop_reading_cost_bounded_memory(test):
    """Four clients ask for 1 GiB each and read nothing. A server that goes on reading requests
    while their replies wait holds all of that."""
    server = test.serve(test.filled_image(IMAGE_BYTES))
    alone_s = reads_take(server)
    before = server.resident_bytes()
    clients = [wire.connect(server.path) for _ in range(4)]
    for client in clients:
        push(client, request(wire.READ, 0, MIB), 1024)
    grown = server.resident_bytes() - before
    assert grown < GROWTH_BYTES_MAX, f"{grown >> 20} MiB more for clients that do not read"
    others_keep_their_speed(server, alone_s)
    for client in clients:
        client.close()
    others_keep_their_speed(server, alone_s)


@case
def a_client_that_stopped_reading_gets_all_its_replies_later(test):
    server = test.serve(test.filled_image(IMAGE_BYTES))
    expected = server.image.read_bytes()[:MIB]
    with wire.connect(server.path) as client:
        sender = threading.Thread(target=lambda: [
            client.send(request(wire.READ, 0, MIB)) for _ in range(64)])
        sender.start()
        reads_take(server)
        for _ in range(64):
            assert client.reply(MIB).bytes(0, MIB) == expected
        sender.join()


@case
def payloads_that_never_end_cost_bounded_memory(test):
    """Sixteen clients announce 32 MiB each and send all but the last byte: 512 MiB that a server
    which collects whole payloads of everybody would hold."""
    test.only_ringloop("has no limit for a client's payloads")
    server = test.serve(test.filled_image(IMAGE_BYTES * 4), max_request=4 * MIB)
    alone_s = reads_take(server)
    before = server.resident_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            client = stack.enter_context(wire.connect(server.path))
            client.socket.settimeout(2)
            with contextlib.suppress(TimeoutError, wire.Disconnected):
                client.send(request(wire.WRITE, 0, 32 * MIB), bytes(32 * MIB - 1))
        grown = server.resident_bytes() - before
        assert grown < GROWTH_BYTES_MAX, f"{grown >> 20} MiB more for payloads that do not end"
        others_keep_their_speed(server, alone_s)


@case
def unfinished_payloads_within_the_limit_hinder_nobody(test):
    server = test.serve(test.filled_image(IMAGE_BYTES))
    before = server.image.read_bytes()
    alone_s = reads_take(server)
    clients = [wire.connect(server.path) for _ in range(32)]
    for client in clients:
        client.send(request(wire.WRITE, 0, MIB), bytes(100000))
    others_keep_their_speed(server, alone_s)
    for client in clients:
        client.close()
    others_keep_their_speed(server, alone_s)
    assert server.image.read_bytes() == before


@case
def a_flood_of_refused_requests_costs_bounded_memory(test):
    """Each wants a reply, and none is read: errors have to be counted like data."""
    server = test.serve(test.filled_image(IMAGE_BYTES))
    alone_s = reads_take(server)
    before = server.resident_bytes()
    with wire.connect(server.path, structured=True) as client:
        push(client, request(99, 0, 512) * 1000, 3000)
        grown = server.resident_bytes() - before
        assert grown < GROWTH_BYTES_MAX, f"{grown >> 20} MiB more for replies that nobody reads"
        others_keep_their_speed(server, alone_s)


@case
def small_requests_do_not_wait_for_large_ones_of_others(test):
    """One client keeps 32 reads of 4 MiB in flight and takes them; the other reads 4 KiB."""
    server = test.serve(test.filled_image(IMAGE_BYTES))
    alone_s = reads_take(server)
    stop = threading.Event()

    def take_much():
        with wire.connect(server.path) as client:
            for _ in range(32):
                client.send_request(wire.READ, 0, 4 * MIB)
            while not stop.is_set():
                client.reply(4 * MIB)
                client.send_request(wire.READ, 0, 4 * MIB)

    thread = threading.Thread(target=take_much)
    thread.start()
    try:
        # The client above and this one share one interpreter: more than five times, then.
        now_s = reads_take(server)
        assert now_s < 100 * alone_s + 5, f"{now_s:.2f} s, alone {alone_s:.2f} s"
    finally:
        stop.set()
        thread.join()


@case
def clients_that_come_and_go_leave_nothing(test):
    """Three hundred, of which most break off somewhere: no memory, no descriptor stays."""
    server = test.serve(test.filled_image(IMAGE_BYTES))
    source = random.Random(3)

    def one():
        client = wire.connect(server.path, structured=source.random() < 0.5)
        for _ in range(source.randrange(4)):
            client.send_request(wire.READ, 0, source.choice((512, 65536, MIB)))
        if source.random() < 0.5:
            client.send(request(wire.WRITE, 0, 65536), bytes(source.randrange(65536)))
        client.close()

    for _ in range(50):
        one()
    memory, descriptors = server.resident_bytes(), server.descriptors()
    for _ in range(250):
        one()
    reads_take(server)
    grown = server.resident_bytes() - memory
    assert grown < 32 * MIB, f"{grown >> 20} MiB more"
    assert server.descriptors() <= descriptors + 8
