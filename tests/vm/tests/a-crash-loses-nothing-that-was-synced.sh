#!/bin/bash
# kernel: 6.12
# timeout: 300
# Power is lost at many points of a recorded load on ext4: each time the filesystem mounts, is clean
# to e2fsck, and has every file whose fsync had returned. POINTS=1000 tries more of them.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/crash.sh"

points=${POINTS:-8}
crash_on_disk ext4 64 40
points=${POINTS:-2}
crash_in_file ext4 20 ext4 96 --direct-io=off
assert_nothing_left
