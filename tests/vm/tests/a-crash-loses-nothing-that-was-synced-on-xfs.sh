#!/bin/bash
# kernel: 6.12
# timeout: 300
# As on ext4: every point at which power is lost leaves a clean XFS with all that was synced.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/crash.sh"

points=${POINTS:-2}
crash_on_disk xfs 304 30
points=${POINTS:-4}
crash_in_file ext4 10 xfs 304
assert_nothing_left
