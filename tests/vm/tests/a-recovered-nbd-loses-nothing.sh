#!/bin/bash
# kernel: 6.1
# timeout: 240
# The server of an nbd.ko device is killed twice under a load that checks every block that was
# acknowledged, and once more under a mounted filesystem. Nobody sees an error.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

writes() {
    awk '{ print $5 }' "/sys/block/${device#/dev/}/stat"
}
has_written() {
    (($(writes) > $1))
}

image=$(make_image 96M)
mark=$(dmesg_mark)
attach --transport nbd "$image"
begin_load
for round in 1 2; do
    wait_until 60 has_written $(($(writes) + 200))
    kill_server "$device"
    assert_match "$("$RINGLOOP" list)" "$device .* dead " "the list"
    "$RINGLOOP" recover "$device"
    echo "round $round: recovered after $SECONDS s and $(writes) writes"
    wait_until 60 has_written $(($(writes) + 200))
done
end_load
cat fio.log

mkfs.ext4 -q "$device"
mount "$device" /mnt
dd if=/dev/urandom of=/mnt/before bs=1M count=16 status=none
sum=$(sha256sum </mnt/before)
kill_server "$device"
dd if=/dev/urandom of=/mnt/during bs=1M count=8 conv=fsync status=none &
writer=$!
pause 1
"$RINGLOOP" recover "$image"
wait $writer || die "a write that waited for the recovery failed"
drop_caches
assert_eq "$(sha256sum </mnt/before)" "$sum" "what was written before"
umount /mnt
e2fsck -fn "$device"
detach "$device"
assert_nothing_left
# The driver tells of each lost connection, the filesystem and the block layer of no error.
errors=$(dmesg_errors_since "$mark" | grep -E 'I/O error|EXT4|Buffer I/O' || true)
assert_eq "$errors" "" "the errors"
