"""An NBD client of raw bytes: it speaks the protocol right when asked to, and anything else too.

Numbers and layouts are those of the protocol's specification (doc/proto.md), written down here a
second time on purpose: a server's mistake in one must not be the client's as well. Everything on
the wire is big-endian. Every wait is bounded by WAIT_S.
"""

import os
import socket
import struct

WAIT_S = float(os.environ.get("NBD_WAIT_S") or 20 * int(os.environ.get("TEST_PATIENCE", "1")))

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF
EXTENDED_REQUEST_MAGIC = 0x21E41C71
EXTENDED_CHUNK_MAGIC = 0x6E8A278C

FIXED_NEWSTYLE, NO_ZEROES = 1, 2

EXPORT_NAME, ABORT, LIST, STARTTLS, INFO, GO = 1, 2, 3, 5, 6, 7
STRUCTURED_REPLY, LIST_META, SET_META, EXTENDED_HEADERS = 8, 9, 10, 11

ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
REP_ERROR = 1 << 31
(UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD, UNKNOWN, REP_SHUTDOWN, BLOCK_SIZE_REQD, TOO_BIG,
 EXT_HEADER_REQD) = (REP_ERROR + number for number in range(1, 11))

INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3

HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA = 1, 2, 4, 8
SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF, CAN_MULTI_CONN = 32, 64, 128, 256
SEND_CACHE, SEND_FAST_ZERO = 1024, 2048

READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO, FLAG_PAYLOAD_LEN = (
    1, 2, 4, 8, 16, 32)

CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_STATUS_EXT = 0, 1, 2, 5, 6
CHUNK_ERROR, CHUNK_ERROR_OFFSET = 32769, 32770
CHUNK_DONE = 1
STATE_HOLE, STATE_ZERO = 1, 2

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = (
    1, 5, 12, 22, 28, 75, 95, 108)


class Disconnected(Exception):
    """The server ended the connection, in the middle of something or not."""


class Refused(Exception):
    """The server answered an option with the error `code`."""

    def __init__(self, code, text):
        super().__init__(f"{code - REP_ERROR}: {text!r}")
        self.code = code


class Reply:
    """All the chunks of one reply: the error (0: none), data by offset, holes, extents."""

    def __init__(self, cookie):
        self.cookie = cookie
        self.error = 0
        self.data = []  # (offset, bytes)
        self.holes = []  # (offset, length)
        self.extents = []  # (length, flags)
        self.chunks = 0

    def bytes(self, offset, length):
        """What a read of this range came to; every byte must have been sent exactly once."""
        pieces = sorted([(at, len(data), data) for at, data in self.data]
                        + [(at, size, bytes(size)) for at, size in self.holes],
                        key=lambda piece: piece[0])
        at = offset
        for begin, size, _ in pieces:
            if begin != at:
                raise AssertionError(f"the reply has bytes at {begin}, expected at {at}")
            at += size
        if at != offset + length:
            raise AssertionError(f"the reply ends at {at}, expected {offset + length}")
        return b"".join(data for _, _, data in pieces)


class Client:
    """One connection. `greet`, then options, then `go`, then requests; or `send` anything."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))
        self.structured = self.extended = False
        self.zeroes = True
        self.size = self.flags = None
        self.blocks = None  # (minimum, preferred, maximum), once INFO or GO told
        self.context = None  # the identifier of base:allocation, once chosen
        self.cookie = 0x1122334455667700

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # ---- bytes ----

    def send(self, *pieces):
        try:
            self.socket.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Disconnected(f"while sending: {error}") from None

    def receive(self, count):
        parts = []
        while count > 0:
            try:
                part = self.socket.recv(min(count, 1 << 20))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Disconnected(f"{count} bytes before the end of what was awaited")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def unpack(self, form):
        return struct.unpack(form, self.receive(struct.calcsize(form)))

    def ended(self):
        """Reads on to the end of the stream; False when it does not end in WAIT_S."""
        try:
            while self.socket.recv(1 << 20):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    # ---- handshake ----

    def greet(self, flags=FIXED_NEWSTYLE | NO_ZEROES):
        magic, option_magic, offered = self.unpack(">QQH")
        if (magic, option_magic) != (NBDMAGIC, IHAVEOPT) or not offered & FIXED_NEWSTYLE:
            raise AssertionError(f"no fixed newstyle server: {magic:x} {option_magic:x} {offered}")
        self.zeroes = not flags & offered & NO_ZEROES
        self.send(struct.pack(">I", flags))
        return self

    def send_option(self, option, data=b"", length=None):
        self.send(struct.pack(">QII", IHAVEOPT, option, len(data) if length is None else length),
                  data)

    def option_reply(self):
        """(option, type, data) of one reply."""
        magic, option, kind, length = self.unpack(">QIII")
        if magic != REPLY_MAGIC:
            raise AssertionError(f"an option reply begins with {magic:x}")
        return option, kind, self.receive(length)

    def option(self, option, data=b""):
        """The replies up to the acknowledgement, without it; an error raises Refused."""
        self.send_option(option, data)
        replies = []
        while True:
            echoed, kind, data = self.option_reply()
            if echoed != option:
                raise AssertionError(f"a reply to option {echoed}, expected to {option}")
            if kind == ACK:
                return replies
            if kind & REP_ERROR:
                raise Refused(kind, data.decode(errors="replace"))
            replies.append((kind, data))

    def info(self, name="", option=INFO, requests=(INFO_BLOCK_SIZE,)):
        encoded = name.encode()
        data = struct.pack(f">I{len(encoded)}sH{len(requests)}H", len(encoded), encoded,
                           len(requests), *requests)
        for kind, reply in self.option(option, data):
            number = struct.unpack_from(">H", reply)[0]
            if kind == REP_INFO and number == INFO_EXPORT:
                _, self.size, self.flags = struct.unpack(">HQH", reply)
            elif kind == REP_INFO and number == INFO_BLOCK_SIZE:
                self.blocks = struct.unpack(">HIII", reply)[1:]
        return self

    def go(self, name=""):
        return self.info(name, GO)

    def want_structured(self):
        self.option(STRUCTURED_REPLY)
        self.structured = True
        return self

    def want_extended(self):
        self.option(EXTENDED_HEADERS)
        self.structured = self.extended = True
        return self

    def want_allocation(self, name="", query=b"base:allocation"):
        encoded = name.encode()
        data = struct.pack(f">I{len(encoded)}sII", len(encoded), encoded, 1, len(query)) + query
        for kind, reply in self.option(SET_META, data):
            if kind == REP_META and reply[4:] == b"base:allocation":
                self.context = struct.unpack_from(">I", reply)[0]
        return self

    def start_tls(self, context, injected=b""):
        """STARTTLS with `injected` right behind it, in the same write."""
        self.send(struct.pack(">QII", IHAVEOPT, STARTTLS, 0), injected)
        _, kind, data = self.option_reply()
        if kind != ACK:
            raise Refused(kind, data.decode(errors="replace"))
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.socket.settimeout(WAIT_S)
        return self

    # ---- transmission ----

    def send_request(self, command, offset=0, length=0, flags=0, payload=b"", magic=None):
        self.cookie += 1
        if self.extended:
            head = struct.pack(">IHHQQQ", magic or EXTENDED_REQUEST_MAGIC,
                               flags | (FLAG_PAYLOAD_LEN if command == WRITE else 0), command,
                               self.cookie, offset, length)
        else:
            head = struct.pack(">IHHQQI", magic or REQUEST_MAGIC, flags, command, self.cookie,
                               offset, length)
        self.send(head, payload)
        return self.cookie

    def reply(self, read_length=0, read_offset=0):
        """The whole next reply; a simple one to a read has `read_length` bytes behind it."""
        result = None
        while True:
            magic = self.unpack(">I")[0]
            if magic == SIMPLE_MAGIC:
                error, cookie = self.unpack(">IQ")
                result = Reply(cookie)
                result.error = error
                if not error and read_length:
                    result.data.append((read_offset, self.receive(read_length)))
                return result
            if magic not in (CHUNK_MAGIC, EXTENDED_CHUNK_MAGIC):
                raise AssertionError(f"a reply begins with {magic:x}")
            flags, kind, cookie = self.unpack(">HHQ")
            length = (self.unpack(">I") if magic == CHUNK_MAGIC else self.unpack(">QQ")[1:])[0]
            result = result or Reply(cookie)
            if cookie != result.cookie:
                raise AssertionError("chunks of two replies, but one request is in flight")
            self.add_chunk(result, kind, self.receive(length))
            if flags & CHUNK_DONE:
                return result

    @staticmethod
    def add_chunk(result, kind, data):
        result.chunks += 1
        if kind == CHUNK_DATA:
            result.data.append((struct.unpack_from(">Q", data)[0], data[8:]))
        elif kind == CHUNK_HOLE:
            result.holes.append(struct.unpack(">QI", data))
        elif kind == CHUNK_STATUS:
            result.extents += struct.iter_unpack(">II", data[4:])
        elif kind == CHUNK_STATUS_EXT:
            result.extents += struct.iter_unpack(">QQ", data[8:])
        elif kind in (CHUNK_ERROR, CHUNK_ERROR_OFFSET):
            result.error = struct.unpack_from(">I", data)[0]
        elif kind != CHUNK_NONE:
            raise AssertionError(f"a chunk of type {kind}")

    def call(self, command, offset=0, length=0, flags=0, payload=b""):
        """One request and its reply."""
        cookie = self.send_request(command, offset, length, flags, payload)
        answer = self.reply(length if command == READ else 0, offset)
        if answer.cookie != cookie:
            raise AssertionError(f"cookie {answer.cookie:x}, expected {cookie:x}")
        return answer

    def read(self, offset, length):
        answer = self.call(READ, offset, length)
        if answer.error:
            raise OSError(answer.error, f"read of {length} at {offset}")
        return answer.bytes(offset, length)

    def must(self, command, offset=0, length=0, flags=0, payload=b""):
        """A request that has to succeed."""
        answer = self.call(command, offset, length, flags, payload)
        if answer.error:
            raise OSError(answer.error, f"command {command}, {length} bytes at {offset}")
        return answer

    def write(self, offset, data, flags=0):
        self.must(WRITE, offset, len(data), flags, data)

    def disconnect(self):
        self.send_request(DISC)
        return self.ended()


def connect(path, name="", structured=False, allocation=False, extended=False):
    """A client in the transmission phase."""
    client = Client(path).greet()
    if extended:
        client.want_extended()
    elif structured or allocation:
        client.want_structured()
    if allocation:
        client.want_allocation(name)
    return client.go(name)
