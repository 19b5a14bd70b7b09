#!/bin/bash
# kernel: 6.12
# timeout: 240
# While a load verifies what it reads, its lane is killed, frozen with all that is in its cgroup's
# child, stopped, moved, and killed for want of memory. Nothing may be lost, doubled or hang.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
make_cgroup tenant
make_cgroup elsewhere
mark=$(dmesg_mark)
in_cgroup server "$RINGLOOP" attach --charge issuer --queues 2 "$(make_image 96M)" >device
device=$(<device)

begin_load in_cgroup tenant
# another_lane PID: the tenant has one, and not that one.
another_lane() {
    lane=$(lanes_in tenant | head -n 1)
    [[ -n $lane && $lane != "$1" ]] || ! load_runs
}

killed() { kill -KILL "$lane"; }
stopped() { kill -STOP "$lane"; }
moved() { echo "$lane" >$cgroups/elsewhere/cgroup.procs; }
frozen() {
    echo "$lane" >$cgroups/elsewhere/cgroup.procs
    echo 1 >$cgroups/elsewhere/cgroup.freeze
}
thawed() { echo 0 >$cgroups/elsewhere/cgroup.freeze; }
# The kernel would not choose a lane by itself; here it does, and the hog comes next.
out_of_memory() {
    echo 1000 >"/proc/$lane/oom_score_adj"
    echo $(($(memory_of tenant) + (48 << 20))) >$cgroups/tenant/memory.max
    in_cgroup tenant python3 -c 'memory = bytearray(256 << 20)' 2>/dev/null &&
        die "there is memory enough"
    echo max >$cgroups/tenant/memory.max
    process_is_gone "$lane" || die "the lane was spared"
}

wait_until 30 another_lane 0
for what in killed stopped killed frozen moved out_of_memory; do
    load_runs || die "the load failed: $(<fio.log)"
    old=$lane
    requests_ended
    before=$ended
    $what
    wait_until 60 load_went_on
    if [[ $what == moved ]]; then
        # It serves on, and is charged elsewhere: whoever may move it wants that.
        kill -KILL "$lane"
    fi
    wait_until 60 another_lane "$old"
    if [[ $what == frozen ]]; then thawed; fi
    echo "$what: the load went on, lane $lane came for $old"
done
end_load

"$RINGLOOP" status --json "$device" >status.json
for op in write read flush discard; do
    (($(json_value "stats.$op.requests" <status.json) > 0)) || die "no $op took place"
    assert_eq "$(json_value "stats.$op.errors" <status.json)" 0 "errors of $op"
done
assert_eq "$(json_value stats.inflight <status.json)" 0 "requests in flight"
assert_eq "$(json_value lanes_lost <status.json)" 6 "lanes lost"
"$RINGLOOP" status "$device"
detach "$device"
assert_eq "$(dmesg_errors_since "$mark" | grep -v 'oom' || true)" ""
assert_nothing_left
