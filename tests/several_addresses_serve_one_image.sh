#!/usr/bin/env bash
# What one client wrote and flushed, a client of another address reads.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
port=$(free_port)
uri=$("$RINGLOOP" attach --nbd "tcp:$port" --nbd unix:a.sock --nbd "unix:$TEST_DIR/b.sock" \
    image)
assert_eq "$uri" "nbd://127.0.0.1:$port/" "the first URI"
sockets=nbd+unix:///?socket=$TEST_DIR
python_nbd "$uri" "$sockets/a.sock" "$sockets/b.sock" <<'END'
import sys
clients = []
for uri in sys.argv[1:]:
    client = nbd.NBD()
    client.connect_uri(uri)
    clients.append(client)
for number, writer in enumerate(clients):
    writer.pwrite(bytes([65 + number]) * 513, 1000)
    writer.flush()
    for reader in clients:
        assert reader.pread(513, 1000) == bytes([65 + number]) * 513, number
END
assert_eq "$(dd if=image bs=1 skip=1000 count=3 status=none)" CCC "the image"
if [[ -e /proc/net/if_inet6 ]] && grep -q ' lo$' /proc/net/if_inet6; then
    python_nbd "nbd://[::1]:$port/" <<'END'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
assert client.get_size() == 1 << 20
END
fi
assert_match "$("$RINGLOOP" status --json image)" '"connections_accepted": [34]'
assert_match "$("$RINGLOOP" attach --allow-overlap --nbd "tcp:$port" image 2>&1 || true)" \
    "^ringloop: tcp:$port: somebody listens there already"
"$RINGLOOP" detach "nbd+unix:///?socket=$TEST_DIR/b.sock"
[[ ! -e a.sock && ! -e b.sock ]] || die "a socket is still there"
assert_nothing_left
