#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 20M "$PWD/image")
attach --name data --offset 1M --sizelimit 16M --sector-size 4096 --direct-io=off --queues 2 \
    --depth 32 image
dd if=/dev/urandom of="$device" bs=64k count=16 oflag=direct conv=fsync status=none
dd if="$device" of=/dev/null bs=64k count=16 iflag=direct status=none
blkdiscard -o 1M -l 1M "$device"
blkdiscard -z -o 2M -l 1M "$device"
"$RINGLOOP" status --json data >status.json
"$RINGLOOP" list --json >list.json
"$RINGLOOP" status data
assert_match "$("$RINGLOOP" list)" \
    "data +$device +16 MiB +ublk +live +$(pidof ringloop) +$image" "the list"
python3 - "$device" "$image" "$(pidof ringloop)" <<'END'
import json, sys
device, image, pid = sys.argv[1:]
status = json.load(open("status.json"))
wrong = []

def check(what, value, good):
    if not good:
        wrong.append(f"{what} is {value!r}")

expected = {"name": "data", "device": device, "transport": "ublk", "backing_file": image,
            "size_bytes": 16 << 20, "offset_bytes": 1 << 20, "sizelimit_bytes": 16 << 20,
            "sector_size": 4096, "read_only": False, "direct_io": False, "queues": 2, "depth": 32,
            "pid": int(pid), "state": "live"}
for name, value in expected.items():
    check(name, status.get(name), status.get(name) == value)
    listed = json.load(open("list.json"))[0].get(name)
    check(f"{name} in the list", listed, listed == value)
check("direct_io_reason", status.get("direct_io_reason"), status.get("direct_io_reason"))
stats = status["stats"]
# The kernel itself reads some of a new disk; writes are ours alone.
least = {"read": (2, 1 << 20), "write": (2, 1 << 20), "flush": (1, 0), "discard": (1, 1 << 20),
         "write_zeroes": (1, 1 << 20)}
for op, (requests, size) in least.items():
    entry = stats[op]
    check(f"{op}.requests", entry["requests"], entry["requests"] >= requests)
    check(f"{op}.bytes", entry["bytes"], entry["bytes"] >= size)
    check(f"{op}.errors", entry["errors"], entry["errors"] == 0)
    latency = [entry["latency_us"][name] for name in ("p50", "p99", "p999", "max")]
    check(f"{op}.latency_us", latency, 0 < latency[0] and latency == sorted(latency))
check("write.bytes", stats["write"]["bytes"], stats["write"]["bytes"] == 1 << 20)
check("merged", stats["merged"], isinstance(stats["merged"], int))
check("inflight", stats["inflight"], stats["inflight"] == 0)
sys.exit("; ".join(wrong) if wrong else 0)
END
detach data
