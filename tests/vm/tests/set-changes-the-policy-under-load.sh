#!/bin/bash
# kernel: 6.12
# timeout: 120
# Direct I/O on a sparse image, where the policies differ most; every block is read back.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

policies=(linux-3.19 linux-4.0 linux-4.0-capped linux-4.4 linux-5.14 loop-nowait nowait-no-hint
    auto)
mark=$(dmesg_mark)
attach --queues 2 "$(make_image 96M)"
begin_load

for policy in "${policies[@]}"; do
    answer=$("$RINGLOOP" set "$device" --policy "$policy")
    assert_match "$answer" "^$device: policy $policy, [0-9]+ workers?( \(|, as before)"
    requests_ended
    before=$ended
    wait_until 20 load_went_on
done
end_load

"$RINGLOOP" status --json "$device" >status.json
for op in write read flush discard; do
    (($(json_value "stats.$op.requests" <status.json) > 0)) || die "no $op took place"
    assert_eq "$(json_value "stats.$op.errors" <status.json)" 0 "errors of $op"
done
assert_eq "$(json_value policy <status.json)" "$policy"
assert_eq "$(json_value direct_io <status.json)" true "direct I/O"
assert_eq "$(json_value stats.inflight <status.json)" 0 "requests in flight"
"$RINGLOOP" status "$device"
detach "$device"
assert_eq "$(dmesg_errors_since "$mark")" ""
assert_nothing_left
