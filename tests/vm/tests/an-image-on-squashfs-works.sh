#!/bin/bash
# kernel: 6.12
# timeout: 90
# squashfs is read-only, and so is what is attached from it.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

make_image 16M "$PWD/inner" >/dev/null
mkfs.ext4 -q inner
mksquashfs inner outer -quiet -no-progress
mkdir lower
mount -t squashfs -o loop outer lower
mark=$(dmesg_mark)
assert_refused "lower/inner: .*--read-only" "$RINGLOOP" attach lower/inner
attach --read-only lower/inner
assert_eq "$(blockdev --getro "$device")" 1 "read-only"
cmp inner "$device"
mount -o ro "$device" /mnt
[[ -d /mnt/lost+found ]] || die "the filesystem is empty"
umount /mnt
detach "$device"
assert_eq "$(dmesg_errors_since "$mark")" "" "what the kernel complained about"
