#!/bin/bash
# kernel: 6.12
# timeout: 120
# An image on tmpfs is memory. Who writes more of it than it may have meets its own limit.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

limit=$((64 << 20))
make_cgroup server
make_cgroup tenant
echo $limit >$cgroups/tenant/memory.max
mkdir memory
mount -t tmpfs -o size=400m none memory
on_exit "umount $SCRATCH/memory"
image=$(make_image 256M "$SCRATCH/memory/image")
in_cgroup server "$RINGLOOP" attach --charge issuer "$image" >device
device=$(<device)
on_exit "$RINGLOOP detach --force $device 2>/dev/null"
server_before=$(memory_of server)

event() { # NAME FIELD
    awk -v field="$2" '$1 == field { print $2 }' "$cgroups/$1/memory.events"
}
# It is killed, or its writes fail: either way it does not get what it may not have.
in_cgroup tenant dd if=/dev/zero of="$device" bs=64k count=4096 oflag=direct 2>dd.log &&
    die "the whole image was written"
cat dd.log
allocated=$(($(stat -c %b "$image") * 512))
server_growth=$(($(memory_of server) - server_before))
echo "allocated $allocated bytes; tenant $(memory_of tenant), server $server_growth more"
echo "tenant: $(tr '\n' ' ' <$cgroups/tenant/memory.events)"
echo "server: $(tr '\n' ' ' <$cgroups/server/memory.events)"
(($(event tenant max) > 0)) || die "the tenant never met its limit"
(($(event tenant oom) > 0)) || die "no out-of-memory was counted for the tenant"
assert_eq "$(event server oom)" 0 "out-of-memory of the server"
((server_growth < limit / 4)) || die "the server was charged"
# And it goes on serving others.
dd if="$device" of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null
"$RINGLOOP" status "$device"
detach "$device"
assert_nothing_left
