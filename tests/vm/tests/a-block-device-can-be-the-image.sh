#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

mark=$(dmesg_mark)
loop=$(losetup --find --show "$(make_image 64M "$PWD/below")")
for image in "$loop" "$RAW_DISK"; do
    attach "$image"
    assert_eq "$(blockdev --getsize64 "$device")" "$(blockdev --getsize64 "$image")" "the size"
    mkfs.ext4 -q "$device" 48M
    mount "$device" /mnt
    cp -r "$RINGLOOP_TREE/tests/vm/." /mnt/tests
    diff -r "$RINGLOOP_TREE/tests/vm" /mnt/tests
    umount /mnt
    e2fsck -fn "$device" &>check.log || die "e2fsck: $(<check.log)"
    if [[ $image == "$loop" ]]; then
        sync below
        before=$(stat -c %b below)
        blkdiscard -f "$device"
        (($(stat -c %b below) < before)) || die "the discard did not reach the file below"
    else
        blkdiscard -f "$device"
    fi
    blkdiscard -f -z -l 8M "$device"
    cmp -n $((8 << 20)) "$image" /dev/zero
    detach "$device"
    assert_nothing_left
done
losetup -d "$loop"
assert_eq "$(dmesg_errors_since "$mark")" "" "what the kernel complained about"
