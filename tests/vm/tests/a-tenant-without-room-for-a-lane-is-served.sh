#!/bin/bash
# kernel: 6.12
# timeout: 60
# By the server, without an error; and it says so. With room again, the tenant gets its lane.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
make_cgroup tenant
echo +pids >$cgroups/cgroup.subtree_control
echo 1 >$cgroups/tenant/pids.max
in_cgroup server "$RINGLOOP" attach --charge issuer "$(make_image 16M)" >device
device=$(<device)
use() {
    in_cgroup tenant dd if=/dev/zero of="$device" bs=4k count=4 oflag=direct 2>/dev/null
}
use
has_no_lane tenant || die "there was room for a lane"
"$RINGLOOP" status --json "$device" >status.json
assert_eq "$(json_value lanes_refused <status.json)" 1 "lanes refused"
assert_eq "$(json_value lane_fallbacks <status.json)" 4 "requests that no lane carried out"
assert_match "$(json_value lane_trouble <status.json)" "/tenant may have.*pids.max" "status"
echo max >$cgroups/tenant/pids.max
gets_a_lane() {
    use
    has_lane tenant
}
wait_until 20 gets_a_lane

# A cgroup that is charged for everything, whoever issued it.
"$RINGLOOP" detach "$device"
make_cgroup payer
device=$("$RINGLOOP" attach --charge $cgroups/payer "$(make_image 16M)")
use
has_lane payer || die "the requests were not charged to the one cgroup"
has_no_lane tenant || die "they were charged to their issuer"
"$RINGLOOP" list --lanes
detach "$device"
assert_nothing_left
