#!/bin/bash
# kernel: 6.1
# timeout: 60
# The guest talks to itself (VMADDR_CID_LOCAL) as it would to its host.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

modprobe vsock_loopback || skip "this kernel has no vsock_loopback"

image=$(make_image 1000001)
uri=$("$RINGLOOP" attach --nbd vsock:10809 --name data "$image")
assert_match "$uri" "^nbd\+vsock://.*:10809/?$" "the URI"
python3 -ESc '
import socket, struct

connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
connection.settimeout(20)
connection.connect((1, 10809))

def hear(count):
    heard = b""
    while len(heard) < count:
        part = connection.recv(count - len(heard))
        assert part, heard
        heard += part
    return heard

def ask(kind, cookie, offset, length, payload=b""):
    head = struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, offset, length)
    connection.sendall(head + payload)
    assert hear(16) == struct.pack(">IIQ", 0x67446698, 0, cookie)

assert hear(16) == b"NBDMAGICIHAVEOPT"
flags, = struct.unpack(">H", hear(2))
assert flags & 3 == 3, flags
# NBD_OPT_EXPORT_NAME of the default export, without the padding of zeroes.
connection.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
size, flags = struct.unpack(">QH", hear(10))
assert size == 1000001, size
payload = bytes(range(256)) * 1024
ask(1, 7, 4001, len(payload), payload)
ask(3, 8, 0, 0)
ask(0, 9, 4001, len(payload))
assert hear(len(payload)) == payload
connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 10, 0, 0))
assert connection.recv(1) == b""
'
assert_eq "$(dd if="$image" bs=1 skip=4001 count=256 status=none | sha256sum)" \
    "$(python3 -ESc 'import sys; sys.stdout.buffer.write(bytes(range(256)))' | sha256sum)" \
    "what is in the image"
assert_eq "$(status_value data connections_accepted)" 1 "the connections"
detach "$uri"
assert_nothing_left
