#!/bin/bash
# kernel: 6.12
# timeout: 240
# The server lives in a cgroup of its own; whoever issues I/O is in another. What the disk under the
# image moved must be charged there, through ublk and through a socket, direct and buffered.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

disk=vda # under SCRATCH
bytes=$((16 << 20))
make_cgroup server
make_cgroup tenant

# Written, so that reads go to the disk; and forgotten, so that the inode of a buffered image
# belongs to nobody yet.
image=$SCRATCH/image
fio --name=fill --filename="$image" --size=$bytes --rw=write --bs=1M --direct=1 >fill.log
remember() {
    for name in server tenant; do
        before[$name.rbytes]=$(io_bytes $name $disk rbytes)
        before[$name.wbytes]=$(io_bytes $name $disk wbytes)
    done
}
declare -A before
# charged NAME rbytes|wbytes: since remember
charged() {
    echo $(($(io_bytes "$1" $disk "$2") - ${before[$1.$2]}))
}
check_charge() { # rbytes|wbytes WHAT
    local to_tenant to_server
    to_tenant=$(charged tenant "$1")
    to_server=$(charged server "$1")
    echo "$2: $to_tenant of $bytes bytes to the tenant, $to_server to the server"
    ((to_tenant >= bytes * 95 / 100)) || die "$2: only $to_tenant of $bytes bytes were charged"
    ((to_server < bytes / 100)) || die "$2: $to_server bytes were charged to the server"
}
load() { # fio's options for where
    in_cgroup tenant fio --name=load --size=$bytes --bs=64k --iodepth=8 "$@" >>load.log
}

charge() { # WHERE: an array of fio's options
    local -n where=$1
    remember
    load "${where[@]}" --rw=write
    sync
    check_charge wbytes "$2, write"
    drop_caches
    remember
    load "${where[@]}" --rw=read
    check_charge rbytes "$2, read"
}

for direct_io in on off; do
    drop_caches
    in_cgroup server "$RINGLOOP" attach "$image" --charge issuer --direct-io=$direct_io \
        --ublk --nbd "unix:$SCRATCH/socket" >device
    device=$(<device)
    remember
    memory_before=($(memory_of server) $(memory_of tenant))
    ublk=(--ioengine=libaio --direct=1 --filename="$device")
    charge ublk "ublk, direct-io $direct_io"
    nbd=(--ioengine=nbd --uri="nbd+unix:///?socket=$SCRATCH/socket")
    charge nbd "nbd, direct-io $direct_io"
    memory_after=($(memory_of server) $(memory_of tenant))
    to_server=$((memory_after[0] - memory_before[0]))
    to_tenant=$((memory_after[1] - memory_before[1]))
    echo "memory: $to_tenant bytes to the tenant, $to_server to the server"
    if [[ $direct_io == off ]]; then
        ((to_tenant >= bytes * 8 / 10)) || die "the page cache was not charged to the tenant"
        ((to_server < bytes / 4)) || die "the page cache was charged to the server"
    fi
:
    assert_eq "$(status_value "$device" lane_fallbacks)" 0 "requests that no lane carried out"
    detach "$device"
    has_no_lane tenant || die "a lane is left"
done
assert_nothing_left
