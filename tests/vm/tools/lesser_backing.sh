# Images on filesystems that cannot do everything; sourced after device.sh.

# check_lesser_backing IMAGE: a device on it formats, zeroes, discards, holds files, and the kernel
# has nothing to complain about.
check_lesser_backing() {
    local mark complaints
    mark=$(dmesg_mark)
    attach "$1"
    mkfs.ext4 -q -E discard "$device"
    mount -o discard "$device" /mnt
    dd if=/dev/urandom of=/mnt/file bs=1M count=4 conv=fsync status=none
    sha256sum /mnt/file >sum
    cp /mnt/file /mnt/removed
    rm /mnt/removed
    fstrim /mnt || echo "no discard here"
    umount /mnt
    mount "$device" /mnt
    sha256sum --quiet --check sum
    umount /mnt
    e2fsck -fn "$device" &>check.log || die "e2fsck: $(<check.log)"

    blkdiscard -f -z -o 1M -l 8M "$device"
    cmp -n $((8 << 20)) -i $((1 << 20)):0 "$device" /dev/zero
    blkdiscard -f "$device" || echo "no discard here"
    detach "$device"
    cmp -n $((8 << 20)) -i $((1 << 20)):0 "$1" /dev/zero
    assert_nothing_left
    complaints=$(dmesg_errors_since "$mark")
    [[ -z $complaints ]] || die "the kernel complained: $complaints"
}
