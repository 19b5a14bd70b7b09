#!/bin/bash
# kernel: 6.12
# timeout: 120
# A filesystem of 1 KiB blocks is mounted and in use while its device grows: nothing hangs, and the
# size of a block stays. (blktests loop/007, LTP ioctl_loop04)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
mark=$(dmesg_mark)
attach --transport nbd "$image"
mkfs.ext4 -q -b 1024 "$device"
mount "$device" /mnt
on_exit "umount /mnt 2>/dev/null"
cp -r "$RINGLOOP_TREE/tests/vm/." /mnt/tests
for mib in 40 48 64; do
    truncate -s ${mib}M "$image"
    "$RINGLOOP" resize "$device"
    assert_eq "$(<"/sys/block/${device#/dev/}/size")" $((mib << 11)) "the sectors in sysfs"
    echo "$mib" >"/mnt/$mib"
    sync -f /mnt
done
assert_eq "$(stat -fc %S /mnt)" 1024 "the filesystem's block size"
assert_eq "$(blockdev --getbsz "$device")" 1024 "the size of the device's cached blocks"
resize2fs "$device" &>/dev/null
diff -r "$RINGLOOP_TREE/tests/vm" /mnt/tests
umount /mnt
e2fsck -fn "$device" &>check.log || die "e2fsck: $(<check.log)"
detach "$device"
assert_nothing_left
errors=$(dmesg_errors_since "$mark" | grep -E 'I/O error|EXT4' || true)
assert_eq "$errors" "" "the errors"
