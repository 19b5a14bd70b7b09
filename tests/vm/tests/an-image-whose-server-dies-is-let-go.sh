#!/bin/bash
# kernel: any
# timeout: 120
# The image lies on FUSE, and what serves that is killed: clients get EIO at once, and the device
# can be detached.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/faults.sh"

for program in nbdkit nbdfuse; do
    command -v $program >/dev/null || skip "$program is missing"
done
modprobe fuse || skip "this kernel has no FUSE"
mkdir share
is_served() {
    [[ -f share/image ]]
}

stop_serving() {
    kill -KILL "$below"
    umount -l "$SCRATCH/share"
}

# serve: an image of 16 MiB at share/image; sets $below.
serve() {
    nbdfuse share/image --command nbdkit -s memory 16M &
    below=$!
    on_exit "stop_serving 2>/dev/null || true"
    wait_until 20 is_served
}

start_client
for direct in auto off; do
    serve
    attach --direct-io=$direct share/image
    now="its image is served, direct-io=$direct"
    expect write 0 a ok
    expect sync ok
    drop_caches
    expect read 0 a
    kill -KILL $below
    wait $below || true
    drop_caches
    now="its image is not served, direct-io=$direct"
    expect read 1048576 EIO
    expect write 1048576 b EIO
    expect sync EIO
    assert_eq "$(status_value "$device" poisoned)" true "poisoned"
    # Detached it is, but not in silence.
    assert_refused "$device: .* may not be on stable storage" "$RINGLOOP" detach "$device"
    umount -l share
    assert_nothing_left
done
