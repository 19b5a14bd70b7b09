#!/usr/bin/python3
"""An NBD server small enough to be read, into which defects are planted: what proves that the
hostile cases can fail (mutants.py). --bug names one of BUGS; without it the server is right.

It serves one file on a Unix socket, a thread for each connection. It is no example of speed.
"""

import argparse
import ctypes
import os
import queue
import signal
import socket
import ssl
import struct
import threading
import time

import wire
from wire import EINVAL, ENOSPC, EPERM

# name: what a server with this defect does, and where it was seen
BUGS = {
    "huge-option": "reads an option of any length to its end (CVE-2017-15119)",
    "name-length": "trusts the length of a name inside an option (CVE-2022-26495, -26496)",
    "long-name": "has a buffer of 256 bytes for the refused name (CVE-2017-15118, CVE-2020-10761)",
    "query-count": "trusts the number of metadata queries",
    "early-close": "asserts that a client finishes its handshake (CVE-2017-9524, CVE-2017-7539)",
    "options-without-end": "haggles as long as the client likes",
    "no-deadline": "waits for a silent client for ever (CVE-2024-7409)",
    "deadline-anew": "starts the deadline again with every byte",
    "tls-injection": "keeps what came in plain text behind STARTTLS (CVE-2021-3716)",
    "tls-keeps-state": "remembers over TLS what was agreed before it",
    "tls-optional": "lets a client in without the TLS that it requires (CVE-2019-14842)",
    "any-certificate": "takes any certificate of its authority (nbdkit before 1.40)",
    "offset-wrap": "adds offset and length in 64 bits",
    "length-wrap": "rounds a length up in 32 bits (CVE-2025-47712)",
    "extent-too-long": "tells more than was asked for (CVE-2025-47711)",
    "extent-zero": "an extent of 2^32 bytes becomes one of 0",
    "zero-31": "zeroes with a signed length",
    "zero-64m": "zeroes the first 64 MiB only (nbdkit before 1.46, on NFS)",
    "trim-64m": "trims what is behind the first 64 MiB of a range as well, twice as far",
    "no-hole-ignored": "gives blocks back although it was asked to keep them",
    "oversize-ends": "a payload over the limit is taken for the next request",
    "oversize-kept": "a payload over the limit is collected before it is refused",
    "unknown-ends": "ends the connection at an unknown command",
    "zero-length-ends": "ends the connection at a request of no length",
    "unbounded-replies": "reads requests while nobody takes the replies",
    "sigpipe": "dies of SIGPIPE (CVE-2015-0847, CVE-2017-10664)",
    "mid-payload": "asserts that a payload is complete",
    "stale-payload": "writes a whole buffer although the client died within its payload",
    "flush-own": "a flush covers the writes of its own connection only",
    "write-read-only": "does not look at READ_ONLY",
    "leak": "forgets to close connections",
}

OPTIONS_MAX = 128
OPTION_BYTES_MAX = 64 << 10
DRAIN_BYTES_MAX = 32 << 20
REPLIES_WAITING_MAX = 4


class End(Exception):
    """This connection is over."""


class Connection:
    def __init__(self, server, plain):
        self.server = server
        self.bug = server.options.bug
        self.socket = plain
        self.deadline = time.monotonic() + server.options.handshake_timeout
        self.injected = b""
        self.structured = self.allocation = self.is_tls = False
        self.cached = {}  # the bug flush-own: offset to data
        waiting = 0 if self.bug == "unbounded-replies" else REPLIES_WAITING_MAX
        self.replies = queue.Queue(waiting)

    # ---- bytes ----

    def receive(self, count):
        parts = []
        if self.injected:
            parts.append(self.injected[:count])
            self.injected = self.injected[count:]
            count -= len(parts[0])
        while count > 0:
            if self.deadline is not None and self.bug != "no-deadline":
                left = self.deadline - time.monotonic()
                if self.bug == "deadline-anew":
                    left = self.server.options.handshake_timeout
                self.socket.settimeout(max(left, 0.001))
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                if self.deadline is not None and self.bug == "early-close":
                    os.abort()
                raise End
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def unpack(self, form):
        return struct.unpack(form, self.receive(struct.calcsize(form)))

    # ---- handshake ----

    def run(self):
        try:
            self.socket.sendall(struct.pack(">QQH", wire.NBDMAGIC, wire.IHAVEOPT, 3))
            flags = self.unpack(">I")[0]
            if flags & ~3:
                raise End
            self.no_zeroes = flags & 2
            self.negotiate()
            self.deadline = None
            self.socket.settimeout(None)
            writer = threading.Thread(target=self.write_replies, daemon=True)
            writer.start()
            self.transmit()
            self.replies.put(None)
            writer.join()
        except (End, OSError):
            pass
        finally:
            self.replies.put(None)
            if self.bug != "leak":
                self.socket.close()

    def answer(self, option, kind, data=b""):
        self.socket.sendall(struct.pack(">QIII", wire.REPLY_MAGIC, option, kind, len(data)) + data)

    def negotiate(self):
        count = 0
        while True:
            count += 1
            magic, option, length = self.unpack(">QII")
            if magic != wire.IHAVEOPT:
                raise End
            if count > OPTIONS_MAX and self.bug != "options-without-end":
                raise End
            if length > OPTION_BYTES_MAX:
                if self.bug != "huge-option":
                    raise End
                while length > 0:
                    length -= len(self.receive(min(length, 1 << 20)))
            data = self.receive(length)
            needs_tls = (self.server.options.tls == "require" and not self.is_tls
                         and self.bug != "tls-optional")
            if option == wire.ABORT:
                self.answer(option, wire.ACK)
                raise End
            if option == wire.STARTTLS:
                self.start_tls(option)
            elif needs_tls:
                if option == wire.EXPORT_NAME:
                    raise End
                self.answer(option, wire.TLS_REQD)
            elif self.haggle(option, data):
                return

    def haggle(self, option, data):
        """True: the transmission begins."""
        if option == wire.EXPORT_NAME:
            if not self.knows(data):
                raise End
            self.socket.sendall(struct.pack(">QH", self.server.size, self.flags())
                                + (b"" if self.no_zeroes else bytes(124)))
            return True
        if option == wire.LIST:
            if data:
                self.answer(option, wire.INVALID)
            else:
                name = self.server.options.export.encode()
                self.answer(option, wire.REP_SERVER, struct.pack(">I", len(name)) + name)
                self.answer(option, wire.ACK)
        elif option in (wire.INFO, wire.GO):
            return self.inform(option, data)
        elif option == wire.STRUCTURED_REPLY:
            self.structured = self.structured or not data
            self.answer(option, wire.INVALID if data else wire.ACK)
        elif option in (wire.LIST_META, wire.SET_META):
            self.meta(option, data)
        else:
            self.answer(option, wire.UNSUP)
        return False

    def knows(self, name):
        if self.bug == "long-name" and len(name) > 256:
            os.abort()
        return name in (b"", self.server.options.export.encode())

    def name(self, data):
        """The name in front and the rest, or None."""
        if len(data) < 4:
            return None
        length = struct.unpack_from(">I", data)[0]
        if length > len(data) - 4:
            if self.bug == "name-length":
                os.abort()
            return None
        return (data[4:4 + length], data[4 + length:]) if length <= 4096 else None

    def inform(self, option, data):
        found = self.name(data)
        if (found is None or len(found[1]) < 2
                or len(found[1]) != 2 + 2 * struct.unpack_from(">H", found[1])[0]):
            self.answer(option, wire.INVALID)
            return False
        if not self.knows(found[0]):
            self.answer(option, wire.UNKNOWN, b"no export " + found[0][:80])
            return False
        self.answer(option, wire.REP_INFO,
                    struct.pack(">HQH", wire.INFO_EXPORT, self.server.size, self.flags()))
        self.answer(option, wire.REP_INFO, struct.pack(">HIII", wire.INFO_BLOCK_SIZE, 1, 4096,
                                                       self.server.options.max_request))
        self.answer(option, wire.ACK)
        return option == wire.GO

    def meta(self, option, data):
        found = self.name(data)
        if found is None or len(found[1]) < 4 or not self.structured:
            self.answer(option, wire.INVALID)
            return
        count, rest = struct.unpack_from(">I", found[1])[0], found[1][4:]
        queries = []
        while count > len(queries):
            query = self.name(rest)
            if query is None:
                if self.bug == "query-count":
                    os.abort()
                self.answer(option, wire.INVALID)
                return
            queries.append(query[0])
            rest = query[1]
        if b"base:allocation" in queries or (option == wire.LIST_META and not queries):
            self.allocation = self.allocation or option == wire.SET_META
            self.answer(option, wire.REP_META, struct.pack(">I", 7) + b"base:allocation")
        self.answer(option, wire.ACK)

    def start_tls(self, option):
        if self.server.tls is None or self.is_tls:
            self.answer(option, wire.POLICY if self.server.tls is None else wire.INVALID)
            return
        self.answer(option, wire.ACK)
        # What came with STARTTLS in one segment lies in front of the TLS greeting. Reading it here
        # is what a server with a buffer does without noticing.
        kept = b""
        while self.socket.recv(1, socket.MSG_PEEK)[:1] != b"\x16":
            kept += self.socket.recv(1)
        self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)
        self.is_tls = True
        if self.bug == "tls-injection":
            self.injected = kept
        if self.bug != "tls-keeps-state":
            self.structured = self.allocation = False
        if self.server.options.authorize and self.bug != "any-certificate":
            subject = dict(pair for part in self.socket.getpeercert()["subject"] for pair in part)
            if subject.get("commonName") != self.server.options.authorize:
                raise End

    def flags(self):
        flags = (wire.HAS_FLAGS | wire.SEND_FLUSH | wire.SEND_FUA | wire.SEND_TRIM
                 | wire.SEND_WRITE_ZEROES | wire.CAN_MULTI_CONN)
        flags |= wire.READ_ONLY if self.server.options.read_only else 0
        return flags | (wire.SEND_DF if self.structured else 0)

    # ---- transmission ----

    def transmit(self):
        while True:
            magic, flags, command, cookie, offset, length = self.unpack(">IHHQQI")
            if magic != wire.REQUEST_MAGIC:
                raise End
            if command == wire.DISC:
                return
            self.check_bugs(command, length)
            payload = self.payload(offset, length) if command == wire.WRITE else b""
            error, body = self.carry_out(command, flags, offset, length, payload)
            self.replies.put(self.encode(command, cookie, error, offset, body))

    def check_bugs(self, command, length):
        if self.bug == "unknown-ends" and command > wire.BLOCK_STATUS:
            raise End
        if self.bug == "zero-length-ends" and not length and command != wire.FLUSH:
            raise End

    def payload(self, offset, length):
        """None: longer than what was agreed, and not kept."""
        if length > DRAIN_BYTES_MAX:
            raise End
        if length > self.server.options.max_request:
            step = length if self.bug == "oversize-kept" else 65536
            while length > 0 and self.bug != "oversize-ends":
                length -= len(self.receive(min(length, step)))
            return None
        part = b""
        try:
            while len(part) < length:
                part += self.receive(min(length - len(part), 4096))
        except (End, OSError):
            if self.bug == "mid-payload":
                os.abort()
            if self.bug == "stale-payload":
                os.pwrite(self.server.file, part.ljust(length, b"?"), offset)
            raise
        return part

    def carry_out(self, command, flags, offset, length, payload):
        size = self.server.size
        end = (offset + length) % (1 << 64) if self.bug == "offset-wrap" else offset + length
        if self.bug == "length-wrap":
            end = offset + ((length + 4095) % (1 << 32)) // 4096 * 4096
        changes = command in (wire.WRITE, wire.TRIM, wire.WRITE_ZEROES)
        if changes and self.server.options.read_only and self.bug != "write-read-only":
            return EPERM, b""
        if command > wire.BLOCK_STATUS or flags & ~63 or payload is None:
            return EINVAL, b""
        if command == wire.READ and length > self.server.options.max_request:
            return EINVAL, b""
        if command == wire.BLOCK_STATUS and (not self.allocation or length == 0):
            return EINVAL, b""
        if command != wire.FLUSH and end > size:
            return (ENOSPC if command in (wire.WRITE, wire.WRITE_ZEROES) else EINVAL), b""
        try:
            return self.do(command, flags, offset, length, payload)
        except (OSError, OverflowError):
            return wire.EIO, b""

    def do(self, command, flags, offset, length, payload):
        file = self.server.file
        if command == wire.READ:
            return 0, os.pread(file, length, offset).ljust(length, b"\0")
        if command == wire.WRITE:
            if self.bug == "flush-own" and not flags & wire.FLAG_FUA:
                self.cached[offset] = payload
            else:
                os.pwrite(file, payload, offset)
        elif command == wire.FLUSH:
            for at, data in self.cached.items():
                os.pwrite(file, data, at)
            os.fdatasync(file)
        elif command in (wire.TRIM, wire.WRITE_ZEROES):
            self.zero(command, flags, offset, length)
        elif command == wire.BLOCK_STATUS:
            return 0, self.extents(offset, length)
        return 0, b""

    def zero(self, command, flags, offset, length):
        if self.bug == "zero-31" and command == wire.WRITE_ZEROES and length >= 1 << 31:
            return
        if self.bug == "zero-64m" and command == wire.WRITE_ZEROES:
            length = min(length, 64 << 20)
        if self.bug == "trim-64m" and command == wire.TRIM and length > 64 << 20:
            length *= 2
        keeps_blocks = command == wire.WRITE_ZEROES and flags & wire.FLAG_NO_HOLE
        self.server.zero(offset, length, bool(keeps_blocks) and self.bug != "no-hole-ignored")

    def extents(self, offset, length):
        found, at = [], offset
        while at < offset + length and len(found) < 1000:
            try:
                data = os.lseek(self.server.file, at, os.SEEK_DATA)
            except OSError:
                data = self.server.size
            is_data = data == at
            end = os.lseek(self.server.file, at, os.SEEK_HOLE) if is_data else data
            if self.bug != "extent-too-long":
                end = min(end, offset + length)
            size = end - at
            if self.bug == "extent-zero" and size > 1 << 31:
                size = 0
            found.append(struct.pack(">II", size % (1 << 32), 0 if is_data else 3))
            at = end
        return struct.pack(">I", 7) + b"".join(found)

    def encode(self, command, cookie, error, offset, body):
        if not self.structured:
            return struct.pack(">IIQ", wire.SIMPLE_MAGIC, error, cookie) + body
        kind = {wire.READ: wire.CHUNK_DATA, wire.BLOCK_STATUS: wire.CHUNK_STATUS}.get(
            command, wire.CHUNK_NONE)
        if error:
            kind, body = wire.CHUNK_ERROR, struct.pack(">IH", error, 0)
        elif command == wire.READ:
            kind, body = (wire.CHUNK_DATA, struct.pack(">Q", offset) + body) if body else (0, b"")
        return struct.pack(">IHHQI", wire.CHUNK_MAGIC, wire.CHUNK_DONE, kind, cookie,
                           len(body)) + body

    def write_replies(self):
        try:
            while (reply := self.replies.get()) is not None:
                self.socket.sendall(reply)
        except OSError:
            self.socket.close()
            while self.replies.get() is not None:
                pass


class Server:
    def __init__(self, options):
        self.options = options
        self.file = os.open(options.image, os.O_RDONLY if options.read_only else os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.tls = None
        if options.certificates:
            folder = options.certificates
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(f"{folder}/server-cert.pem", f"{folder}/server-key.pem")
            self.tls.load_verify_locations(f"{folder}/ca-cert.pem")
            self.tls.verify_mode = ssl.CERT_REQUIRED

    def zero(self, offset, length, keeps_blocks):
        call = ctypes.CDLL(None, use_errno=True).fallocate64
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        keep_size, punch_hole, zero_range = 1, 2, 16
        mode = keep_size | (zero_range if keeps_blocks else punch_hole)
        if length and call(self.file, mode, offset, length) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")

    def run(self):
        places = threading.Semaphore(self.options.max_connections)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.options.path)
            listener.listen(256)
            while True:
                places.acquire()
                plain, _ = listener.accept()

                def serve(plain=plain):
                    Connection(self, plain).run()
                    places.release()
                threading.Thread(target=serve, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bug", choices=["", *BUGS], default="")
    parser.add_argument("--read-only", action="store_true")
    for name in ("export", "description", "certificates", "authorize"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--tls", default="off")
    parser.add_argument("--handshake-timeout", type=float, default=10)
    parser.add_argument("--max-connections", type=int, default=128)
    parser.add_argument("--max-request", type=int, default=DRAIN_BYTES_MAX)
    parser.add_argument("--max-inflight", type=int, default=4 << 20)
    parser.add_argument("path")
    parser.add_argument("image")
    options = parser.parse_args()
    if options.bug == "sigpipe":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Server(options).run()


if __name__ == "__main__":
    main()
