#!/bin/bash
# kernel: 6.12
# timeout: 90
# An image on a disk with sectors of 4096 bytes: direct I/O stays on where the device's sectors are
# the disk's, and is refused or left, as asked, where they are not. (blktests loop/004, LTP
# ioctl_loop05)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

disk=$(losetup --find --show --sector-size 4096 --direct-io=on "$(make_image 64M "$PWD/below")")
on_exit "losetup -d $disk"
assert_eq "$(blockdev --getss "$disk")" 4096 "the sectors of the disk below"

attach --direct-io=on --sector-size 4096 "$disk"
assert_eq "$(status_value "$device" direct_io)" true
dd if=/dev/urandom of=data bs=1M count=8 status=none
dd if=data of="$device" bs=1M oflag=direct conv=fsync status=none
cmp -n $((8 << 20)) data "$device"
cmp -n $((8 << 20)) data "$disk"
assert_eq "$(status_value "$device" direct_io)" true "direct_io after a load"
"$RINGLOOP" set "$device" --direct-io off
assert_eq "$(status_value "$device" direct_io)" false
"$RINGLOOP" set "$device" --direct-io on
assert_eq "$(status_value "$device" direct_io)" true
cmp -n $((8 << 20)) data "$device"
detach "$device"

# Half a sector of the disk: every request of the device is aligned to no sector of it.
assert_refused "offset.*(4096|align)|direct" "$RINGLOOP" attach --direct-io=on --offset 512 "$disk"
attach --offset 512 "$disk"
assert_eq "$(status_value "$device" direct_io)" false "direct_io with an odd offset"
cmp -n 1M -i 0:512 "$device" data
assert_refused "512|direct" "$RINGLOOP" set "$device" --direct-io on
cmp -n 1M -i 0:512 "$device" data
detach "$device"
assert_nothing_left
