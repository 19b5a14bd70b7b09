#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 64M)
sfdisk -q "$image" <<<$'label: gpt\nsize=16MiB\nsize=8MiB'
attach "$image"
[[ -b ${device}p1 && -b ${device}p2 ]] || die "no partitions: $(ls /dev/ublkb*)"
assert_eq "$(blockdev --getsize64 "${device}p1")" $((16 << 20)) "the size of partition 1"
mkfs.ext4 -q "${device}p1"
mount "${device}p1" /mnt
echo content >/mnt/file
umount /mnt
detach "$device"
[[ ! -e ${device}p1 ]] || die "${device}p1 outlives the device"
assert_nothing_left
