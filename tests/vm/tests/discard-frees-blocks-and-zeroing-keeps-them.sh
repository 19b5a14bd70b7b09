#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 16M)
kib() {
    sync "$image"
    echo $(($(stat -c %b "$image") / 2))
}
attach "$image"
fill() {
    dd if=/dev/urandom of="$device" bs=1M oflag=direct conv=fsync status=none count=16
}
is_zero() { # OFFSET_MIB MIB
    drop_caches
    cmp -n $(($2 << 20)) -i $(($1 << 20)):0 "$device" /dev/zero
    cmp -n $(($2 << 20)) -i $(($1 << 20)):0 "$image" /dev/zero
}

fill
full=$(kib)
((full >= 16384)) || die "a full image has $full KiB"
# BLKZEROOUT asks the device to keep the blocks (NOUNMAP).
blkdiscard -z -o 4M -l 4M "$device"
is_zero 4 4
assert_eq "$(kib)" "$full" "the KiB allocated after zeroing"
# A punched hole may give them back.
fallocate --punch-hole -o 8M -l 4M "$device"
is_zero 8 4
(($(kib) <= full - 4000)) || die "$(kib) of $full KiB are allocated after a hole of 4 MiB"

fill
(($(kib) >= full)) || die "$(kib) KiB after filling the holes, $full before"
blkdiscard -o 0 -l 8M "$device"
is_zero 0 8
(($(kib) <= full - 8000)) || die "$(kib) of $full KiB are allocated after a discard of 8 MiB"
detach "$device"
