#!/bin/bash
# kernel: any
# timeout: 120
# As a-busy-device-stays-attached, where the node of a device stays when the device has gone.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
attach --transport nbd "$image"
mkfs.ext4 -q "$device"
mkdir "$PWD/point"
mount "$device" "$PWD/point"
assert_refused "$device is in use: .*$PWD/point" detach --timeout 1 "$device"
assert_eq "$(status_value "$device" state)" live "the state"
echo content >point/file
umount point

exec 5<"$device"
assert_refused "$device is in use: .*$$" detach --timeout 1 "$device"
detach --timeout 20 "$device" 5<&- &
waiting=$!
pause 0.5
kill -0 $waiting 2>/dev/null || die "detach did not wait"
exec 5<&-
wait $waiting
assert_nothing_left

attach --transport nbd "$image"
mount "$device" point
echo more >point/file
detach --force --timeout 5 "$device"
# What was written before it was taken away is there; what comes now fails.
expect_fail dd if="$device" of=/dev/null bs=4k count=1 iflag=direct
umount point
wait_until 10 eval '[[ -z $(traces) ]]'
assert_nothing_left
attach --transport nbd --read-only "$image"
mount -o ro,noload "$device" point
assert_eq "$(<point/file)" more "what was written before --force"
umount point
detach "$device"

# A device whose server died and that nobody wants back.
attach --transport nbd "$image"
kill_server "$device"
assert_match "$("$RINGLOOP" list)" "$device .* dead " "the list"
detach "$device"
assert_nothing_left
# Somebody else disconnects it: the server notices, and ends.
attach --transport nbd "$image"
nbd-client -d "$device"
wait_until 10 eval '[[ -z $(traces) ]]'
assert_nothing_left
