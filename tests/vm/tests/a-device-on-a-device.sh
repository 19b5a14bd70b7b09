#!/bin/bash
# kernel: 6.12
# timeout: 90
# Two devices at once, and an image that lives on a filesystem on a ringloop device.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

make_image 128M "$PWD/lower.img" >/dev/null
attach lower.img
lower=$device
mkfs.ext4 -q "$lower"
mkdir lower upper
mount "$lower" lower
truncate -s 64M lower/upper.img
attach lower/upper.img
upper=$device
[[ $upper != "$lower" ]] || die "both are $upper"
mkfs.ext4 -q "$upper"
mount "$upper" upper
head -c 8M /dev/urandom >file
cp file upper/
sync upper/file
drop_caches
cmp file upper/file
# The lower one is held by the upper one's mount and image.
assert_refused "$lower is in use" detach --timeout 0 "$lower"
umount upper
detach "$upper"
umount lower
detach "$lower"
assert_nothing_left

mount -o loop,ro lower.img lower
mount -o loop,ro lower/upper.img upper
cmp file upper/file
umount upper lower
