#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 64M)
sfdisk -q "$image" <<<$'label: gpt\nstart=2MiB, size=16MiB'
outside() {
    { head -c 2M "$image" && tail -c 46M "$image"; } | sha256sum
}
before=$(outside)
loop=$(losetup --find --show --offset 2M --sizelimit 16M "$image")
mkfs.ext4 -q "$loop"
mount "$loop" /mnt
echo content >/mnt/file
umount /mnt
losetup -d "$loop"

attach --offset 2MiB --sizelimit 16M "$image"
assert_eq "$(blockdev --getsize64 "$device")" $((16 << 20)) "the size"
mount "$device" /mnt
assert_eq "$(</mnt/file)" content "the file"
umount /mnt
expect_fail dd if=/dev/urandom of="$device" bs=1M oflag=direct status=none
assert_match "$output" "No space left on device" "how writing ends"
blkdiscard "$device"
detach "$device"
assert_eq "$(outside)" "$before" "what lies outside of the limits"
