#!/bin/bash
# kernel: 6.12
# timeout: 180
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 96M)
attach --queues 2 "$image"
DEVICE=$device SECONDS_TO_RUN=30 fio "$RINGLOOP_TREE/tests/vm/tools/verify.fio"
"$RINGLOOP" status --json "$device" >status.json
for op in write read flush discard; do
    (($(json_value "stats.$op.requests" <status.json) > 0)) || die "no $op took place"
    assert_eq "$(json_value "stats.$op.errors" <status.json)" 0 "errors of $op"
done
detach "$device"
