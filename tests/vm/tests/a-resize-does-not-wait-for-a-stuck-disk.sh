#!/bin/bash
# kernel: 6.1
# timeout: 120
# The image is a block device that grows, and then one that does not answer.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

table() { # MIB
    echo "0 $(($1 * 2048)) linear $RAW_DISK 0"
}
grow_disk() { # MIB
    table "$1" | dmsetup reload --noudevsync under
    dmsetup resume --noudevsync under
}
shows() { # MIB
    assert_eq "$(blockdev --getsize64 "$device")" $(($1 << 20)) "what the kernel shows"
    assert_eq "$(status_value "$device" size_bytes)" $(($1 << 20)) "what the status shows"
}

table 64 | dmsetup create --noudevsync under
on_exit 'dmsetup remove --force --noudevsync under'
attach --transport nbd /dev/mapper/under
grow_disk 128
"$RINGLOOP" resize "$device"
shows 128

grow_disk 192
dmsetup suspend --noudevsync under
dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct status=none &
writer=$!
disk=/sys/block/${device#/dev/}
is_in_flight() {
    [[ $(<"$disk/inflight") =~ [1-9] ]]
}
wait_until 20 is_in_flight
assert_refused "^ringloop: $device: requests are still with the image after 10 s; .* resize again" \
    "$RINGLOOP" resize "$device"
shows 128
dmsetup resume --noudevsync under
wait $writer || die "the write failed"
"$RINGLOOP" resize "$device"
shows 192
detach "$device"
assert_nothing_left
