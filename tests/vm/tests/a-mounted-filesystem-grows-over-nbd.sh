#!/bin/bash
# kernel: 6.1
# timeout: 300
# The image grows and shrinks under a device of nbd.ko, while it is written to and while it is
# mounted, and the kernel learns of it by `ringloop resize`.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

# resize MIB: the image, then the device.
resize() {
    truncate -s "$1M" "$image"
    "$RINGLOOP" resize "$device"
    assert_eq "$(blockdev --getsize64 "$device")" $(($1 << 20)) "what the kernel shows"
    assert_eq "$(status_value "$device" size_bytes)" $(($1 << 20)) "what the status shows"
}

image=$(make_image 96M)
mark=$(dmesg_mark)
attach --transport nbd "$image"

DEVICE=$device SECONDS_TO_RUN=12 fio "$RINGLOOP_TREE/tests/vm/tools/verify.fio" >fio.log 2>&1 &
load=$!
for mib in 100 104 98 120 96; do
    pause 1
    resize $mib
done
wait $load || die "fio: $(<fio.log)"
echo "resized under a load, after $SECONDS s"

mkfs.ext4 -q "$device"
mount "$device" /mnt
dd if=/dev/urandom of=/mnt/small bs=1M count=16 status=none
sum=$(sha256sum </mnt/small)
resize 256
resize2fs "$device"
dd if=/dev/zero of=/mnt/large bs=1M count=160 conv=fsync status=none
drop_caches
assert_eq "$(sha256sum </mnt/small)" "$sum" "what was written before"
umount /mnt
e2fsck -fn "$device"
assert_match "$("$RINGLOOP" resize "$device")" "as before$" "a resize to the same size"

# The next server goes on with the size that the disk has, and only a resize changes it.
truncate -s 300M "$image"
kill_server "$device"
"$RINGLOOP" recover "$device"
assert_eq "$(blockdev --getsize64 "$device")" $((256 << 20)) "what the kernel shows"
assert_eq "$(status_value "$device" size_bytes)" $((256 << 20)) "what the status shows"
e2fsck -fn "$device"
resize 300

mount "$device" /mnt
rm /mnt/large
umount /mnt
e2fsck -fp "$device" || (($? == 1))
resize2fs "$device" 64M
resize 64
assert_eq "$(dd if="$device" bs=1M skip=63 iflag=direct status=none | wc -c)" $((1 << 20)) \
    "what can be read of the last MiB"
e2fsck -fn "$device"
mount "$device" /mnt
assert_eq "$(sha256sum </mnt/small)" "$sum" "what was written before"
umount /mnt
detach "$device"
assert_nothing_left
errors=$(dmesg_errors_since "$mark" | grep -E 'I/O error|EXT4|Buffer I/O' || true)
assert_eq "$errors" "" "the errors"
