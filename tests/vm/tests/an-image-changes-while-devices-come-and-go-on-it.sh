#!/bin/bash
# kernel: 6.12
# timeout: 180
# The images of a read-only device are exchanged as fast as it goes while another device is attached
# to it, read and detached. (blktests loop/006)
#   SECONDS_TO_RUN=30 bash tests/vm/tests/an-image-changes-while-devices-come-and-go-on-it.sh
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

dd if=/dev/urandom of=one bs=1M count=8 status=none
cp one two
mark=$(dmesg_mark)
attach --read-only --name lower one
lower=$device
: >storm.on
changes() {
    local image
    while [[ -e storm.on ]]; do
        for image in two one; do
            "$RINGLOOP" set lower --backing-file $image >>changes.log || exit 1
        done
    done
}
changes &
storm=$!
on_exit "rm -f storm.on; kill $storm 2>/dev/null"

cycles=0
end=$((SECONDS + ${SECONDS_TO_RUN:-10}))
while ((SECONDS < end || cycles < 3)); do
    attach --read-only --name upper "$lower"
    cmp -n $((8 << 20)) one "$device"
    detach upper
    cycles=$((cycles + 1))
done
rm storm.on
wait $storm || die "a change failed: $(tail -n 3 changes.log)"
echo "$cycles cycles above, $(wc -l <changes.log) changes below"
(($(wc -l <changes.log) >= 4)) || die "the images hardly changed"
detach lower
assert_nothing_left
assert_eq "$(dmesg_errors_since "$mark")" "" "what the kernel complained about"
