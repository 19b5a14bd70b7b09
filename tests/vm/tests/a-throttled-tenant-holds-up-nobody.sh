#!/bin/bash
# kernel: 6.12
# timeout: 180
# Two tenants of one device, both with 32 requests in flight. One may move 64 KiB/s of the disk
# below, much less than any machine that is emulated moves: with lanes that is what it gets, and the
# other does not notice. Without, nobody is held to anything. (How much the other keeps of its lone
# speed, bench/lanes.py measures.)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

disk=vda # under SCRATCH
limit=65536
seconds=8
make_cgroup slow
make_cgroup fast
image=$SCRATCH/image
fio --name=fill --filename="$image" --size=128M --rw=write --bs=1M --direct=1 >fill.log
echo "$(<"/sys/block/$disk/dev") rbps=$limit wbps=$limit" >$cgroups/slow/io.max

load() { # NAME OFFSET: prints how many bytes it moved
    in_cgroup "$1" fio --name="$1" --filename="$device" --direct=1 --ioengine=libaio --iodepth=32 \
        --rw=randrw --bs=4k --offset="$2" --size=64M --time_based --runtime=$seconds \
        --output-format=json >"$1.json"
    python3 -ESc '
import json, sys
job = json.load(open(sys.argv[1]))["jobs"][0]
print(job["read"]["io_bytes"] + job["write"]["io_bytes"])' "$1.json"
}
race() { # CHARGE: sets $slow and $fast
    attach --charge "$1" "$image"
    load slow 0 >slow.bytes &
    load fast 64M >fast.bytes
    wait $!
    slow=$(<slow.bytes)
    fast=$(<fast.bytes)
:
    detach "$device"
    echo "--charge $1: the throttled one moved $slow bytes, the other $fast"
}

race issuer
# Reads and writes have a limit each, and 32 requests may be over it at each end.
((slow <= (seconds + 4) * 2 * limit)) || die "the throttled tenant was not throttled"
((slow > 0 && fast > 2 * slow)) || die "the other one was held up"
race off
((slow * 2 > fast)) || die "without lanes the limit works too: this test shows nothing"
assert_nothing_left
