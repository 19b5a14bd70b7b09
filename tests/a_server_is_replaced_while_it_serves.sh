#!/usr/bin/env bash
# upgrade: another process serves the device at the same addresses and to the same clients, what was
# written is there, and where the next server does not come up, the old one goes on.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
field() { # NAME: of status --json
    "$RINGLOOP" status --json image |
        python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
uri=$("$RINGLOOP" attach --transport socket --policy linux-4.4 --nbd unix:one.sock \
    --nbd unix:other.sock image)
pid=$(field pid)
inode=$(stat -c %i one.sock)
assert_match "$("$RINGLOOP" upgrade image)" \
    "^nbd\+unix:.*: served by pid [0-9]+ now, $pid before; requests waited for [0-9]+ ms at most$"
[[ $(field pid) != "$pid" ]] || die "the old server serves"
assert_eq "$(field policy)" linux-4.4 "the policy after an upgrade"
assert_eq "$("$RINGLOOP" list --json | grep -c '"uris"')" 1 "devices that are listed"
assert_eq "$(stat -c %i one.sock)" "$inode" "the inode of the socket, which somebody may listen for"

# Clients keep their connections, whatever they have agreed on, and are counted on.
pid=$(field pid)
python_nbd "$uri" <<'END_OF_CLIENT'
import json
import os
import socket
import subprocess
import sys

RINGLOOP = os.environ["RINGLOOP"]

def connect(**settings):
    client = nbd.NBD()
    for name, value in settings.items():
        getattr(client, name)(value)
    client.connect_uri(sys.argv[1])
    return client

def upgrade(*words):
    return subprocess.run([RINGLOOP, "upgrade", "--json", *words, "image"], capture_output=True,
                          text=True)

clients = [connect(add_meta_context="base:allocation"), connect(set_handshake_flags=3),
           connect(set_request_structured_replies=False)]
for round in range(3):
    for number, client in enumerate(clients):
        client.pwrite(bytes([65 + round + number]) * 4096, number * 4096)
    done = upgrade()
    assert done.returncode == 0, done
    for number, client in enumerate(clients):
        data = client.pread(4096, number * 4096)
        assert data == bytes([65 + round + number]) * 4096, (round, number, data[:8])
    extents = []
    clients[0].block_status(65536, 0, lambda name, offset, found, error: extents.append(name))
    assert extents == ["base:allocation"], extents
status = json.loads(subprocess.run([RINGLOOP, "status", "--json", "image"], check=True,
                                   capture_output=True, text=True).stdout)
assert status["connections"] == 3 and status["connections_accepted"] == 3, status

# Who asks in a form that nobody knows yet gets nothing, and who asks and goes away changes nothing.
def ask(question):
    next_server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    next_server.connect(os.environ["RINGLOOP_RUNTIME_DIR"] + "/" + status["name"] + ".sock")
    next_server.send(json.dumps(question).encode())
    return next_server, json.loads(next_server.recv(1 << 18))

_, said = ask({"verb": "upgrade", "format": 99})
assert "does not know in which form" in said["error"], said
next_server, said = ask({"verb": "upgrade", "format": 1})
assert said["hand_over"]["format"] == 1 and said["hand_over"]["image_lock"], said
assert len(said["hand_over"]["listeners"]) == 2, said
listed = subprocess.run([RINGLOOP, "list"], check=True, capture_output=True, text=True).stdout
assert " recovering " in listed, listed
next_server.close()
assert clients[0].pread(4096, 0) == b"C" * 4096
listed = subprocess.run([RINGLOOP, "list"], check=True, capture_output=True, text=True).stdout
assert " live " in listed, listed
other = subprocess.run([RINGLOOP, "attach", "--transport", "socket", "image"], capture_output=True,
                       text=True)
assert other.returncode == 1 and status["device"] in other.stderr, other

# Who takes no replies holds up no upgrade for long, and is cut off only when that is wanted.
clients[0].set_strict_mode(0)
buffers = [nbd.Buffer(1 << 20) for _ in range(64)]
for buffer in buffers:
    clients[0].aio_pread(buffer, 0)
refused = upgrade()
assert refused.returncode == 1 and "take no replies" in refused.stderr, refused
assert "cut off (1)" in refused.stderr, refused
forced = upgrade("--force")
assert forced.returncode == 0, forced
assert clients[1].pread(4096, 4096) == b"D" * 4096
try:
    for _ in range(64):
        clients[0].pread(4096, 0)
    raise SystemExit("the client that took nothing was not cut off")
except nbd.Error:
    pass

pid = json.loads(forced.stdout)[0]["pid"]
# The next server may open too few files, at one step or another: then the old one serves on.
failed = 0
for limit in range(10, 64, 2):
    done = subprocess.run(["bash", "-c", f"ulimit -n {limit}; exec {RINGLOOP} upgrade image"],
                          capture_output=True, text=True)
    for number in (1, 2):
        data = clients[number].pread(4096, number * 4096)
        assert data == bytes([67 + number]) * 4096, (limit, done, data[:8])
    if done.returncode == 0:
        break
    failed += 1
    listed = subprocess.run([RINGLOOP, "list"], check=True, capture_output=True, text=True).stdout
    assert " live " in listed and f" {pid} " in listed, (limit, done, listed)
assert done.returncode == 0 and failed >= 5, (failed, done)
END_OF_CLIENT
"$RINGLOOP" detach image
[[ ! -e one.sock && ! -e other.sock ]] || die "the sockets are left"

# Who was started by somebody else is replaced by them.
"$RINGLOOP" serve --transport socket image 2>/dev/null &
wait_until 10 eval '[[ $("$RINGLOOP" list) == *" live "* ]]'
run_program "$RINGLOOP" upgrade image
assert_eq "$status" 1 "the exit code of upgrade of a server in the foreground"
assert_match "$stderr" "runs in the foreground"
"$RINGLOOP" detach image
wait
run_program "$RINGLOOP" upgrade image
assert_match "$stderr" "image: not attached"
assert_nothing_left
