#!/usr/bin/env bash
# On a host whose cgroups are of version 1, which no guest of the tests has: each controller is a
# hierarchy of its own there, and a lane is in two of them.
source "$(dirname "$0")/lib.sh"

need_program fio
blkio=/sys/fs/cgroup/blkio memory=/sys/fs/cgroup/memory
[[ $EUID == 0 ]] || skip "only root makes cgroups"
[[ -e $blkio/blkio.throttle.io_service_bytes && -e $memory/memory.usage_in_bytes ]] ||
    skip "blkio and memory are no hierarchies of version 1 here"
tenant=ringloop-test-$$
mkdir "$blkio/$tenant" "$memory/$tenant" 2>/dev/null || skip "no cgroups can be made here"
remove_tenant() {
    "$RINGLOOP" detach served &>/dev/null || true
    wait_until 10 rmdir "$blkio/$tenant" "$memory/$tenant" 2>/dev/null
}
trap 'remove_tenant' EXIT

bytes=$((16 << 20))
in_tenant() { # COMMAND...
    (
        echo "$BASHPID" >"$blkio/$tenant/cgroup.procs"
        echo "$BASHPID" >"$memory/$tenant/cgroup.procs"
        exec "$@"
    )
}
lane_field() { # FIELD: of the one lane beside the server's own
    "$RINGLOOP" status --json served | /usr/bin/python3 -c '
import json, sys
server, lane = json.load(sys.stdin)["lanes"]
print(lane[sys.argv[1]])' "$1"
}
load() { # fio's --rw
    in_tenant fio --name=load --ioengine=nbd --uri="nbd+unix:///?socket=$PWD/socket" --bs=64k \
        --iodepth=8 --size=$bytes --rw="$1" >load.log
}
truncate -s $bytes image
for direct_io in on off; do
    "$RINGLOOP" attach image --name served --charge issuer --direct-io=$direct_io \
        --nbd unix:socket >/dev/null
    load write
    pid=$(lane_field pid)
    assert_match "$(<"/proc/$pid/cgroup")" ":blkio:/$tenant"$'\n' "the lane's cgroups"
    assert_match "$(<"/proc/$pid/cgroup")" ":memory:/$tenant"$'\n' "the lane's cgroups"
    assert_eq "$(lane_field cgroup)" "/$tenant" "the lane's cgroup"
    assert_eq "$(lane_field bytes_written)" "$bytes" "what the lane wrote"
    # (What blkio counts of direct I/O depends on the disk; that the lane is there does not.)
    if [[ $direct_io == off ]]; then
        held=$(<"$memory/$tenant/memory.usage_in_bytes")
        ((held >= bytes * 8 / 10)) || die "only $held bytes of memory were charged to the tenant"
    fi
    "$RINGLOOP" set served --reap-lanes >/dev/null
    [[ ! -e /proc/$pid ]] || wait_until 5 eval "! kill -0 $pid 2>/dev/null"
    "$RINGLOOP" detach served
done

# One cgroup for all, whoever they are.
"$RINGLOOP" attach image --name served --charge "/$tenant" --nbd unix:socket >/dev/null
fio --name=load --ioengine=nbd --uri="nbd+unix:///?socket=$PWD/socket" --bs=64k --size=$bytes \
    --rw=read >load.log
assert_eq "$(lane_field cgroup)" "/$tenant" "the lane's cgroup"
assert_eq "$(lane_field bytes_read)" "$bytes" "what the lane read"
"$RINGLOOP" detach served
assert_nothing_left
