#!/bin/bash
# kernel: any
# timeout: 150
# With --queues the nbd driver has a connection, a hardware queue and a thread for each.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

(($(nproc) >= 2)) || skip "one CPU has one queue"
image=$(make_image 96M)
attach --transport nbd --queues 2 "$image"
disk=/sys/block/${device#/dev/}
queues=("$disk"/mq/*)
assert_eq ${#queues[@]} 2 "the hardware queues"
assert_eq "$(status_value "$device" queues)" 2 "the queues of the server"
DEVICE=$device SECONDS_TO_RUN=8 fio "$RINGLOOP_TREE/tests/vm/tools/verify.fio"
detach "$device"
assert_nothing_left
