"""One client of the soak: keeps a number of requests in flight in a region of its own, and checks
everything that it reads. It never waits: the loop of soak.py tells it what its socket can do.
"""

import errno
import pathlib
import random
import struct
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / "nbd"))

import wire
from ledger import BLOCK_BYTES, Ledger, stamped

REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
RECEIVE_BYTES = 1 << 20
SPANS = (1, 1, 1, 1, 2, 4, 16)  # blocks of one request
# Of a hundred requests that change or read something; flushes beside them.
READS, WRITES, ZEROES = 40, 40, 20
FLUSH_EVERY = 200
FUA_EVERY = 16


class Request:
    def __init__(self, command, blocks, generations=(), fua=False, settles=False):
        self.command = command
        self.blocks = blocks  # numbers, in their order
        self.generations = generations
        self.fua = fua
        self.settles = settles  # a read that ends a doubt
        self.snapshot = ()  # of a flush


class Client:
    def __init__(self, number, blocks, depth, seed):
        self.number = number
        self.base = number * blocks * BLOCK_BYTES
        self.ledger = Ledger(number, blocks)
        self.depth = depth
        self.random = random.Random(seed * 1000 + number)
        self.busy = bytearray(blocks)  # has a request in flight
        self.unflushed = {}  # block: generation acknowledged since a flush began last
        self.in_flight = {}  # cookie: Request
        self.to_settle = []
        self.cookie = 0
        self.output = bytearray()
        self.input = bytearray()
        self.socket = None
        self.operations = self.no_space = self.flushes = 0
        self.unexpected = []  # errors that no disk that is full explains

    # ---- the connection ----

    def connect(self, path):
        self.socket = wire.connect(path).socket
        self.socket.setblocking(False)
        self.output.clear()
        self.input.clear()

    def disconnected(self):
        """The server died: what it had may have come about or not."""
        if self.socket:
            self.socket.close()
        self.socket = None
        for request in self.in_flight.values():
            self.forget(request)
        self.in_flight.clear()
        self.busy = bytearray(len(self.busy))
        self.to_settle = list(self.ledger.possible)

    def forget(self, request):
        if request.command in (wire.WRITE, wire.WRITE_ZEROES):
            for block, generation in zip(request.blocks, request.generations):
                self.ledger.doubt(block, generation)

    # ---- requests ----

    def fill(self):
        """As many requests as may be in flight."""
        misses = 0
        while len(self.in_flight) < self.depth and misses < 8:
            if not self.start_one():
                misses += 1

    def start_one(self):
        if self.to_settle:
            block = self.to_settle.pop()
            if self.busy[block]:
                self.to_settle.insert(0, block)
                return False
            self.send(Request(wire.READ, range(block, block + 1), settles=True))
            return True
        if self.random.randrange(FLUSH_EVERY) == 0:
            self.flush()
            return True
        span = self.random.choice(SPANS)
        first = self.random.randrange(len(self.busy) - span + 1)
        blocks = range(first, first + span)
        if any(self.busy[block] or block in self.ledger.possible for block in blocks):
            return False
        dice = self.random.randrange(READS + WRITES + ZEROES)
        if dice < READS:
            self.send(Request(wire.READ, blocks))
        else:
            self.change(blocks, zeroes=dice >= READS + WRITES)
        return True

    def change(self, blocks, zeroes=False):
        # Zeroes are generation 0 whenever they are written.
        generations = [0 if zeroes else self.ledger.next_generation(block) for block in blocks]
        self.send(Request(wire.WRITE_ZEROES if zeroes else wire.WRITE, blocks, generations,
                          fua=self.random.randrange(FUA_EVERY) == 0))

    def flush(self):
        request = Request(wire.FLUSH, ())
        request.snapshot = tuple(self.unflushed.items())
        self.unflushed.clear()
        self.send(request)

    def send(self, request):
        self.cookie += 1
        self.in_flight[self.cookie] = request
        offset = length = 0
        if request.blocks:
            offset = self.base + request.blocks[0] * BLOCK_BYTES
            length = len(request.blocks) * BLOCK_BYTES
        self.output += REQUEST.pack(wire.REQUEST_MAGIC, wire.FLAG_FUA if request.fua else 0,
                                    request.command, self.cookie, offset, length)
        for block in request.blocks:
            self.busy[block] = 1
        if request.command == wire.WRITE:
            for block, generation in zip(request.blocks, request.generations):
                self.output += stamped(self.number, block, generation)

    def write_ready(self):
        """False when the server is gone."""
        try:
            sent = self.socket.send(memoryview(self.output)[:RECEIVE_BYTES])
        except BlockingIOError:
            return True
        except OSError:
            return False
        del self.output[:sent]
        return True

    # ---- replies ----

    def read_ready(self):
        """False when the server is gone."""
        try:
            received = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not received:
            return False
        self.input += received
        at = 0
        while len(self.input) - at >= REPLY.size:
            magic, error, cookie = REPLY.unpack_from(self.input, at)
            request = self.in_flight.get(cookie)
            if magic != wire.SIMPLE_MAGIC or request is None:
                self.ledger.corrupt.append(f"client {self.number}: a reply of {magic:x} {cookie}")
                return False
            length = 0
            if request.command == wire.READ and not error:
                length = len(request.blocks) * BLOCK_BYTES
            if len(self.input) - at < REPLY.size + length:
                break
            at += REPLY.size
            data = bytes(memoryview(self.input)[at:at + length])
            at += length
            del self.in_flight[cookie]
            self.answered(request, error, data)
        del self.input[:at]
        return True

    def answered(self, request, error, data):
        self.operations += 1
        for block in request.blocks:
            self.busy[block] = 0
        if error:
            self.refused(request, error)
        elif request.command == wire.READ:
            self.compare(request, data)
        elif request.command == wire.FLUSH:
            self.flushes += 1
            self.ledger.flush(request.snapshot)
        else:
            for block, generation in zip(request.blocks, request.generations):
                self.ledger.acknowledge(block, generation, request.fua)
                self.unflushed[block] = generation

    def compare(self, request, data):
        for index, block in enumerate(request.blocks):
            content = data[index * BLOCK_BYTES:(index + 1) * BLOCK_BYTES]
            if self.ledger.check(block, content, "read"):
                self.change(range(block, block + 1))

    def refused(self, request, error):
        changes = request.command in (wire.WRITE, wire.WRITE_ZEROES)
        if error == errno.ENOSPC and changes:
            self.no_space += 1
        else:
            self.unexpected.append(f"client {self.number}: command {request.command} was answered "
                                   f"with {errno.errorcode.get(error, error)}")
        self.forget(request)
        if changes:
            self.to_settle += request.blocks
        elif request.settles:
            self.to_settle.append(request.blocks[0])

    # ---- the end ----

    def verify(self, file, where):
        """Every block, from the image itself."""
        for block in range(len(self.busy)):
            file.seek(self.base + block * BLOCK_BYTES)
            self.ledger.check(block, file.read(BLOCK_BYTES), where)
