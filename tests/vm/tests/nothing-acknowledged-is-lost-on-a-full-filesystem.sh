#!/bin/bash
# kernel: 6.12
# timeout: 180
# Writes to an image whose filesystem is full fail with ENOSPC, and none that was acknowledged is
# missing afterwards.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

# use_filesystem TYPE MOUNT_OPTIONS MKFS_OPTION...: on RAW_DISK at /mnt, with some 6 MiB left.
use_filesystem() {
    local left_kib
    filesystem="$1 $2"
    "mkfs.$1" -q "${@:3}"
    mount -o "$2" "$RAW_DISK" /mnt
    left_kib=$(df --output=avail -k /mnt | tail -n 1)
    fallocate -l $((left_kib - 6 * 1024))K /mnt/filler
}

check() { # DIRECT_IO BLOCK
    local image=/mnt/image what="$filesystem, direct-io=$1, block $2"
    truncate -s 12M $image
    attach --direct-io="$1" $image
    echo -n "$filesystem, direct-io=$1, "
    "$RINGLOOP_TREE/tests/vm/tools/acknowledged.py" --block "$2" "$device" $image | tee result ||
        failures+=("$what")
    grep -q ENOSPC result || failures+=("$what: no ENOSPC")
    detach "$device"
    rm $image
}

failures=()
use_filesystem ext4 defaults -m0 "$RAW_DISK" 320M
for direct in on off; do
    for block in 4096 65536 1048576; do check $direct $block; done
done
umount /mnt
# Where ext4 journals data, O_DIRECT is buffered inside: the kernel's driver loses most here.
use_filesystem ext4 data=journal -m0 -F "$RAW_DISK" 320M
check auto 524288
umount /mnt
use_filesystem xfs defaults -f -d size=320M "$RAW_DISK"
check on 65536
check off 1048576
umount /mnt
((${#failures[@]} == 0)) || die "$(printf '%s; ' "${failures[@]}")"
