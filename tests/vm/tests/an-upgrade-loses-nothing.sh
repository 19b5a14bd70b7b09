#!/bin/bash
# kernel: any
# timeout: 180
# Server after server takes over under a load that checks every block that was acknowledged.
# UPGRADES=N: so many times (3).
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

upgrades=${UPGRADES:-3}
image=$(make_image 96M)
attach --queues 1 "$image"
begin_load

writes() {
    awk '{ print $5 }' "/sys/block/${device#/dev/}/stat"
}
has_written() {
    (($(writes) > $1))
}

pid=$(status_value "$device" pid)
for ((round = 1; round <= upgrades; round++)); do
    wait_until 60 has_written $(($(writes) + 100))
    "$RINGLOOP" upgrade --json "$device" >>upgrades.json
    next=$(status_value "$device" pid)
    [[ $next != "$pid" ]] || die "pid $pid serves still"
    pid=$next
    wait_until 60 has_written $(($(writes) + 100))
done
end_load
cat fio.log
sed -n 's/.*"pause_us": *\([0-9]*\).*/\1/p' upgrades.json | sort -n | awk '
    { pause[NR] = $1 }
    END {
        printf "pause_us: %d upgrades, p50 %d, p99 %d, max %d\n", NR, pause[int((NR + 1) / 2)],
            pause[int((NR * 99 + 99) / 100)], pause[NR]
        exit !NR
    }'
detach "$device"
