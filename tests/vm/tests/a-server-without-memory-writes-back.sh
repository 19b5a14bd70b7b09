#!/bin/bash
# kernel: 6.12
# timeout: 180
# The server's cgroup has little memory, and its device, full of dirty pages, has to be written
# back: neither waits for the other. Buffered is the worse case: the image's pages are charged to
# the server too.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
for direct in on off; do
    image=$(make_image 256M)
    in_cgroup server "$RINGLOOP" attach --direct-io=$direct --queues 1 --depth 32 "$image" >device
    device=$(<device)
    mkfs.ext4 -q "$device"
    mount "$device" /mnt
    # Below what it uses now and the pages it would like to keep, above what it has locked.
    limit=$(($(memory_of server) + (24 << 20)))
    echo $limit >$cgroups/server/memory.max
    within 90 dd if=/dev/zero of=/mnt/file bs=1M count=160 conv=fsync status=none ||
        die "direct-io=$direct: writing ended with $?"
    drop_caches
    within 60 cmp -n $((160 << 20)) /mnt/file /dev/zero || die "direct-io=$direct: other bytes"
    events=$(tr '\n' ' ' <$cgroups/server/memory.events)
    assert_match "$events" 'oom_kill 0 ' "the events of the server's memory"
    [[ $direct == on ]] || assert_match "$events" ' max [1-9]' "the events: its limit was never met"
    echo "direct-io=$direct, memory.max $((limit >> 20)) MiB: $events, $SECONDS s"
    echo max >$cgroups/server/memory.max
    umount /mnt
    detach "$device"
    rm "$image"
done
assert_nothing_left
