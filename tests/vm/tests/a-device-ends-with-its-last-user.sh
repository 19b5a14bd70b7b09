#!/bin/bash
# kernel: any
# timeout: 90
# --autoclear: after a umount or the last close, and not while anybody else is there.
# --partscan=off, --device.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 64M)
mkfs.ext4 -q "$image"
attach --autoclear "$image"
mount "$device" /mnt
exec 3<"$device"
echo kept >/mnt/file
umount /mnt
"$RINGLOOP" status "$device" >/dev/null || die "gone while somebody has it open"
exec 3<&-
wait_until 30 eval '[[ -z $("$RINGLOOP" list) ]]'
wait_until 10 eval '[[ -z $(traces) ]]'
mount -o loop,ro "$image" /mnt
assert_eq "$(</mnt/file)" kept "the file"
umount /mnt
wait_until 10 eval '[[ -z $(losetup -a) ]]'

# Wanted while it is mounted already: the kernel tells of no opens then.
attach "$image"
mount "$device" /mnt
"$RINGLOOP" set "$device" --autoclear on
umount /mnt
wait_until 30 eval '[[ -z $("$RINGLOOP" list) ]]'
wait_until 10 eval '[[ -z $(traces) ]]'

truncate -s 16M table
sfdisk -q table <<<$'label: gpt\nstart=1MiB, size=2MiB\nsize=2MiB'
attach --partscan=off table
[[ ! -e ${device}p1 ]] || die "there is a node for a partition"
wanted=${device%[0-9]}7
detach "$device"
attach --device "$wanted" table
assert_eq "$device" "$wanted" "the device that was asked for"
[[ -b ${device}p2 ]] || die "there is no node for the second partition"
assert_refused "$wanted is in use" "$RINGLOOP" attach --allow-overlap --device "$wanted" table
detach "$device"
assert_nothing_left
