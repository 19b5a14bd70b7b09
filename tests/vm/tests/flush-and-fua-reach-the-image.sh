#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

mkfs.ext4 -q "$RAW_DISK" 256M
mount "$RAW_DISK" /mnt
on_exit "umount -R /mnt"
image=$(make_image 64M /mnt/image)
attach "$image"
mkfs.ext4 -q "$device"
mkdir point
mount "$device" point

# Of the disk below: its flushes are what makes data safe.
disk_flushes() {
    awk '{ print $16 }' "/sys/block/${RAW_DISK#/dev/}/stat"
}
counters() {
    "$RINGLOOP" status --json "$device" >status.json
    flushes=$(json_value stats.flush.requests <status.json)
    writes=$(json_value stats.write.requests <status.json)
    below=$(disk_flushes)
}
assert_grew() { # WHAT BEFORE
    ((${!1} > $2)) || die "$1 stayed at $2"
}

counters
before=($flushes $writes $below)
dd if=/dev/urandom of=point/file bs=4k count=1 conv=fsync status=none
counters
assert_grew flushes "${before[0]}"
assert_grew writes "${before[1]}"
assert_grew below "${before[2]}"

assert_eq "$(<"/sys/block/${device#/dev/}/queue/write_cache")" "write back" "the write cache"
assert_eq "$(<"/sys/block/${device#/dev/}/queue/fua")" 1 "whether FUA is offered"
umount point
before=($flushes $writes $below)
# O_DSYNC on the disk itself is one write with FUA, no flush of the device.
dd if=/dev/urandom of="$device" bs=4k count=4 oflag=direct,dsync status=none
counters
assert_grew writes "${before[1]}"
assert_grew below "${before[2]}"
detach "$device"
