#!/bin/bash
# kernel: 6.12
# timeout: 180
# When a server is killed its lanes end too, and what they had given to the disk has ended before
# the next server begins; that one has lanes again.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
make_cgroup tenant
in_cgroup server "$RINGLOOP" attach --charge issuer --lane-idle 50 "$(make_image 96M)" >device
device=$(<device)
begin_load in_cgroup tenant

writes() {
    awk '{ print $5 }' "/sys/block/${device#/dev/}/stat"
}
has_written() {
    (($(writes) > $1))
}

wait_until 60 has_written $(($(writes) + 200))
lane=$(lanes_in tenant)
[[ -n $lane ]] || die "there was no lane"
kill_server "$device"
wait_until 10 process_is_gone "$lane"
in_cgroup server "$RINGLOOP" recover "$device"
wait_until 60 has_written $(($(writes) + 200))
has_lane tenant || die "the next server has no lane for the tenant"
assert_eq "$(status_value "$device" charge)" issuer "whom it charges"
assert_eq "$(status_value "$device" lane_idle_s)" 50 "after which a lane ends"
end_load
detach "$device"
assert_nothing_left
