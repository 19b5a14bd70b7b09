#!/bin/bash
# kernel: 6.12
# timeout: 90
# detach waits for the holders, then says who they are; --force does not ask.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
attach "$image"
mkfs.ext4 -q "$device"
mkdir "$PWD/point"
mount "$device" "$PWD/point"
assert_refused "$device is in use: .*$PWD/point.*; unmount or close it, or take it" \
    detach --timeout 1 "$device"
assert_eq "$(status_value "$device" state)" live "the state"
echo content >point/file
umount point

exec 5<"$device"
assert_refused "$device is in use: .*$$" detach --timeout 1 "$device"
# It is detached as soon as the holder lets go.
detach --timeout 20 "$device" 5<&- &
waiting=$!
pause 0.5
kill -0 $waiting 2>/dev/null || die "detach did not wait"
exec 5<&-
wait $waiting
assert_nothing_left

attach "$image"
mount "$device" point
detach --force --timeout 5 "$device" || echo "the mount keeps the device"
expect_fail dd if="$device" of=/dev/null bs=4k count=1 iflag=direct
umount point
wait_until 10 eval '[[ -z $(traces) ]]'
assert_nothing_left
