#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M) other=$(make_image 8M)
attach --name data "$image"
assert_refused "data" "$RINGLOOP" attach --name data "$other"
assert_eq "$(traces | grep -c /dev/ublkb)" 1 "the number of devices"
# The first one is not disturbed.
assert_eq "$(status_value data backing_file)" "$image" "the image of data"
dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct status=none
detach data
assert_nothing_left
