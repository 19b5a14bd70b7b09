#!/bin/bash
# kernel: any
# timeout: 120
# The guest is what the other tests count on.
source "$(dirname "$0")/../lib.sh"

assert_match "$(uname -r)" "^${VM_KERNEL//./\\.}\." "the running kernel"
case $VM_KERNEL in
6.12) [[ -c /dev/ublk-control ]] || die "no /dev/ublk-control" ;;
6.1) [[ ! -e /dev/ublk-control ]] || die "/dev/ublk-control exists on a kernel without ublk" ;;
esac

assert_eq "$(stat -f -c %T /sys/fs/cgroup)" cgroup2fs "the filesystem of /sys/fs/cgroup"
for controller in cpu io memory pids; do
    grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control || die "no controller $controller"
done

assert_eq "$(findmnt -no FSTYPE "$SCRATCH")" ext4 "the filesystem of $SCRATCH"
assert_eq "$PWD" "$SCRATCH" "the working directory"
image=$(make_image 64M)
mkfs.ext4 -q "$image"
mount -o loop "$image" /mnt
umount /mnt
assert_eq "$(blkid -p "$RAW_DISK" || true)" "" "what is on $RAW_DISK"
[[ -w $RAW_DISK && -b /dev/loop0 && -b /dev/nbd0 ]] || die "a block device is missing"

modprobe dm-delay
[[ -d /sys/module/dm_delay ]] || die "dm-delay is not loaded"
modprobe null_blk nr_devices=0

assert_eq "$(cat /sys/class/net/lo/flags)" 0x9 "the flags of lo (up, loopback)"
assert_eq "$(wc -l </proc/swaps)" 1 "the lines of /proc/swaps"
cat <(echo "process substitution works") >/dev/shm/file
[[ -r $RINGLOOP_TREE/tests/vm/lib.sh ]] || die "the tree is not at $RINGLOOP_TREE"
