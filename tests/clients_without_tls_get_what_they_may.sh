#!/usr/bin/env bash
# --tls require tells a client in plain text nothing of the export, whatever it asks; --tls on
# serves both kinds of client. Other hosts are let in with TLS, or because somebody insists.
source "$(dirname "$0")/lib.sh"
need_program psktool
need_python_nbd

psktool -u alice -p keys.psk &>/dev/null
chmod 600 keys.psk
printf 'content' >image
keys=(--tls-psk keys.psk)
export_name=(--export hidden --description secret)

"$RINGLOOP" attach --allow-overlap --name required --tls require "${keys[@]}" "${export_name[@]}" \
    --nbd unix:required image >/dev/null
python3 - <<'END'
import socket, struct
IHAVEOPT, REPLY, TLS_REQD = 0x49484156454F5054, 0x3e889045565a9, (1 << 31) + 5

def receive(client, size):
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        assert part, "the server ended the connection"
        data += part
    return data

def greeted():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect("required")
    receive(client, 18)
    client.sendall(struct.pack(">I", 3))
    return client

name = struct.pack(">I", 6) + b"hidden"
client = greeted()
for option, data in ((3, b""), (6, name + b"\0\0"), (7, name + b"\0\0"), (8, b""),
                     (9, name + bytes(4)), (10, name + bytes(4)), (11, b""), (99, b"")):
    client.sendall(struct.pack(">QII", IHAVEOPT, option, len(data)) + data)
    magic, answered, kind, size = struct.unpack(">QIII", receive(client, 20))
    text = receive(client, size)
    assert (magic, answered, kind) == (REPLY, option, TLS_REQD), (option, hex(kind))
    assert b"hidden" not in text and b"secret" not in text, text
# This one has no answer that says no.
client.sendall(struct.pack(">QII", IHAVEOPT, 1, 6) + b"hidden")
assert client.recv(1) == b"", "EXPORT_NAME was answered"
END

"$RINGLOOP" attach --allow-overlap \
    --name both --tls on "${keys[@]}" "${export_name[@]}" --nbd unix:both image \
    >/dev/null
python_nbd "$TEST_DIR/both" "$TEST_DIR/keys.psk" <<'END'
import sys
for mode in (nbd.TLS_DISABLE, nbd.TLS_REQUIRE):
    client = nbd.NBD()
    client.set_tls(mode)
    client.set_tls_psk_file(sys.argv[2])
    client.set_tls_username("alice")
    client.connect_unix(sys.argv[1])
    assert client.get_tls_negotiated() == (mode == nbd.TLS_REQUIRE)
    assert client.pread(7, 0) == b"content"
    client.shutdown()
END
"$RINGLOOP" detach --all

port=$(free_port)
assert_refused "tcp:0.0.0.0:$port: .*--tls require.*--insecure" \
    attach --allow-overlap --tls on "${keys[@]}" --nbd "tcp:0.0.0.0:$port" image
for way in "--tls require --tls-psk keys.psk" --insecure; do
    # shellcheck disable=SC2086
    "$RINGLOOP" attach --allow-overlap --name far $way --nbd "tcp:0.0.0.0:$port" image >/dev/null
    "$RINGLOOP" detach far
done
assert_nothing_left
