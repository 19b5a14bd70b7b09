#!/bin/bash
# kernel: 6.12
# timeout: 300
# A tree of files goes through a filesystem on a ringloop device and is read back, byte for byte,
# from the same image under the kernel's own loop driver.
#   TREE=/usr/share bash tests/vm/tests/files-survive-a-round-trip.sh   takes another tree
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

trees=(${TREE:-/usr/share/cmake-*/Modules/[A-C]*})
transport=${transport:-ublk}
tree=/tmp/tree

# In memory first: read from the host five times it would be the slowest part of all.
stage_tree() {
    mkdir $tree
    cp -r "${trees[@]}" $tree/
    head -c 8M /dev/urandom >$tree/large
    ln -s large $tree/link
    truncate -s 3M $tree/hole
    (cd $tree && find . -type f -print0 | xargs -0 sha256sum) >/tmp/sums
    echo "$(wc -l </tmp/sums) files, $(du -sm $tree | cut -f1) MiB"
}

check_filesystem() { # FILESYSTEM DEVICE
    case $1 in
    ext4) e2fsck -fn "$2" ;;
    xfs) xfs_repair -n "$2" ;;
    esac &>check.log || die "fsck of $1 on $2: $(<check.log)"
}

round_trip() { # FILESYSTEM OPTION...
    local filesystem=$1 image
    shift
    echo "$transport: $filesystem $*, after $SECONDS s"
    image=$(make_image "$image_size")
    attach --transport "$transport" "$image" "$@"
    "mkfs.$filesystem" -q "$device"
    mount "$device" /mnt
    cp -r $tree /mnt/
    umount /mnt
    check_filesystem "$filesystem" "$device"
    detach "$device"
    assert_nothing_left
    # The sectors of the loop device decide whether the kernel can mount what 4096 were used for.
    device=$(losetup --find --show --read-only ${sector_size:+--sector-size $sector_size} "$image")
    mount -o ro "$device" /mnt
    (cd /mnt/tree && sha256sum --quiet --check /tmp/sums)
    assert_eq "$(find /mnt/tree | wc -l)" "$(find $tree | wc -l)" "the number of names"
    assert_eq "$(readlink /mnt/tree/link)" large "the target of the link"
    umount /mnt
    losetup -d "$device"
    rm "$image"
}

stage_tree
image_size=$(($(du -sm $tree | cut -f1) * 2 + 320))M
# Each pair of values of {filesystem, sector size, queues, direct or not} meets once at least.
round_trip ext4 --sector-size 512 --queues 1 --direct-io=on
round_trip ext4 --sector-size 4096 --queues 4 --direct-io=off
round_trip xfs --sector-size 512 --queues 4 --direct-io=off
sector_size=4096
round_trip xfs --sector-size 4096 --queues 1 --direct-io=off
round_trip xfs --sector-size 4096 --queues 4 --direct-io=on
