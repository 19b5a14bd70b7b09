#!/bin/bash
# kernel: 6.12
# timeout: 120
# Pages that a tenant wrote are written back by others while it is frozen, and they wait for that.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
make_cgroup tenant
in_cgroup server "$RINGLOOP" attach --charge issuer "$(make_image 64M)" >device
device=$(<device)
mkfs.ext4 -q "$device"
mkdir mounted
mount "$device" mounted
on_exit "umount $SCRATCH/mounted 2>/dev/null"
on_exit "echo 0 >$cgroups/tenant/cgroup.freeze"
in_cgroup tenant dd if=/dev/urandom of=mounted/file bs=64k count=128 2>/dev/null
sum=$(md5sum <mounted/file)
echo 1 >$cgroups/tenant/cgroup.freeze
within 60 sync -f mounted/file || die "the writeback of a frozen tenant's pages does not end"
"$RINGLOOP" status "$device"
drop_caches
assert_eq "$(within 60 md5sum <mounted/file)" "$sum" "the file"
echo 0 >$cgroups/tenant/cgroup.freeze
umount mounted
detach "$device"
assert_nothing_left
