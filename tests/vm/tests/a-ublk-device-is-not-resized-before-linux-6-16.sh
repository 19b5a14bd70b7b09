#!/bin/bash
# kernel: 6.12
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 96M)
attach --transport ublk "$image"
assert_match "$("$RINGLOOP" resize "$device")" "^$device: 96 MiB .* as before$" "the same size"

truncate -s 128M "$image"
assert_refused "^ringloop: $device: this kernel \(6\.12\..*Linux 6\.16 can.*detach it and attach" \
    "$RINGLOOP" resize "$image"
assert_eq "$(blockdev --getsize64 "$device")" $((96 << 20)) "what the kernel shows"
assert_eq "$(status_value "$device" size_bytes)" $((96 << 20)) "what the status shows"
DEVICE=$device SECONDS_TO_RUN=5 fio "$RINGLOOP_TREE/tests/vm/tools/verify.fio" >fio.log ||
    die "fio: $(<fio.log)"
# The next server of it keeps its size, too.
kill_server "$device"
"$RINGLOOP" recover "$device"
assert_eq "$(status_value "$device" size_bytes)" $((96 << 20)) "what the status shows"
dd if="$device" of=/dev/null bs=1M iflag=direct status=none

detach "$device"
attach --transport ublk "$image"
assert_eq "$(blockdev --getsize64 "$device")" $((128 << 20)) "what the way out makes"
detach "$device"
assert_nothing_left
