#!/bin/bash
# kernel: 6.12
# timeout: 90
# Writers wait while a device has no server. Detaching it by force fails their writes.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
attach "$image"
kill_server "$device"
write_waits() {
    (($(awk '{ print $9 }' "/sys/block/${device#/dev/}/stat") > 0))
}
dd if=/dev/zero of="$device" bs=64k count=16 oflag=direct 2>error &
writer=$!
wait_until 20 write_waits
# This one stays in the page cache: only the last close would wait for it.
dd if=/dev/zero of="$device" bs=64k seek=100 count=16 status=none
kill -0 $writer || die "a write without a server ended: $(<error)"
assert_refused "$device is in use.*pid $writer .*recover" detach --timeout 1 "$device"
detach --force "$device"
status=0
wait $writer || status=$?
assert_eq $status 1 "the exit code of the writer"
assert_match "$(<error)" "Input/output error" "what the writer was told"
assert_nothing_left
