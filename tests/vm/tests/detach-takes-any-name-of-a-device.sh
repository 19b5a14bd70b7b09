#!/bin/bash
# kernel: 6.12
# timeout: 90
# Its path, its name, the image's path; several at once; all of them.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

truncate -s 8M image other
attach --name data image
detach data
assert_nothing_left
attach --name data image
detach "$device"
assert_nothing_left
attach image
detach ./image
assert_nothing_left
attach image
detach "${device#/dev/}"
assert_nothing_left

attach image
attach --name second other
detach image second
assert_nothing_left

attach image
attach --name second other
assert_refused "nobody" detach nobody
detach --all
assert_nothing_left
detach --all
