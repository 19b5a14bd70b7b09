#!/usr/bin/env bash
# Sixty-four clients at once on a cold image: the kernel's workers for the device stay below the
# bound, reads beyond it queue, and every byte is right.
source "$(dirname "$0")/lib.sh"
need_python_nbd

head -c 64M /dev/urandom >image
sync image

load() { # URI WORKERS
    python_nbd "$1" "$2" <<'PYTHON'
import glob, json, os, random, subprocess, sys

uri, bound = sys.argv[1], int(sys.argv[2])
ringloop = os.environ["RINGLOOP"]
image = open("image", "rb").read()

def status():
    said = subprocess.run([ringloop, "status", "--json", "image"], check=True, capture_output=True)
    return json.loads(said.stdout)

pid = status()["pid"]

def workers():
    names = []
    for path in glob.glob(f"/proc/{pid}/task/*/comm"):
        try:
            names.append(open(path).read())
        except FileNotFoundError:
            pass  # it ended in between
    return sum(name.startswith("iou-wrk") for name in names)

def chill():
    with open("image", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

clients = []
for _ in range(64):
    client = nbd.NBD()
    client.connect_uri(uri)
    clients.append(client)
chance = random.Random(4)
most = 0
for turn in range(4):
    chill()
    reads = []
    for client in clients:
        for _ in range(8):
            offset = chance.randrange(0, len(image) - 65536)
            buffer = nbd.Buffer(65536)
            reads.append((client, client.aio_pread(buffer, offset), offset, buffer))
    for client, cookie, offset, buffer in reads:
        while not client.aio_command_completed(cookie):
            client.poll(1000)
        assert buffer.to_bytearray() == image[offset:offset + 65536], offset
        most = max(most, workers())
stats = status()["stats"]
assert most <= bound, f"{most} workers, {bound} allowed"
assert stats["workers_max_seen"] <= bound, stats
print(json.dumps({"most": most, "overflow": stats["serial_overflow"],
                  "seen": stats["workers_max_seen"], "now": stats["workers_now"]}))
PYTHON
}

uri=$("$RINGLOOP" attach --transport socket --policy linux-4.0-capped --workers 4 image)
said=$(load "$uri" 4)
assert_match "$said" '"overflow": [1-9]' "what the clients saw"
assert_match "$said" '"seen": 4, "now": 0' "what the clients saw"
"$RINGLOOP" detach image

# The same when several queues share them, and when the kernel decides what needs a worker.
uri=$("$RINGLOOP" attach --transport socket --queues 4 --workers 4 image)
load "$uri" 4 >/dev/null
"$RINGLOOP" detach image
assert_nothing_left
