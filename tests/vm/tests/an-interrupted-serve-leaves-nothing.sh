#!/bin/bash
# kernel: 6.12
# timeout: 90
# ^C as soon as the kernel knows the device: its queues are just being made. The load makes the
# server's threads lag behind each other.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
for _ in 1 2 3 4; do (while :; do :; done) & done
for try in {1..8}; do
    env --default-signal=INT "$RINGLOOP" serve "$image" >log 2>&1 &
    server=$!
    wait_until 20 test -e /dev/ublkc0
    kill -INT $server
    started=$SECONDS status=0
    wait $server || status=$?
    ((SECONDS - started < 10 * patience)) || die "try $try took $((SECONDS - started)) s: $(<log)"
    # Ready before the signal came: then it was told to end, and did.
    ((status <= 1)) || die "try $try: status $status, $(<log)"
    assert_nothing_left
done
