#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
mkfs.ext4 -q "$image"
before=$(sha256sum <"$image")
attach --read-only "$image"
assert_eq "$(blockdev --getro "$device")" 1 "read-only"
mount -o ro "$device" /mnt
[[ -d /mnt/lost+found ]] || die "the filesystem is empty"
umount /mnt
expect_fail dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct
expect_fail blkdiscard -f "$device"
detach "$device"
assert_eq "$(sha256sum <"$image")" "$before" "the image"
