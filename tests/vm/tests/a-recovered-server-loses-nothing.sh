#!/bin/bash
# kernel: 6.12
# timeout: 180
# The server is killed twice under a load that checks every block that was acknowledged.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 96M)
attach --queues 2 "$image"
begin_load

writes() {
    awk '{ print $5 }' "/sys/block/${device#/dev/}/stat"
}
has_written() {
    (($(writes) > $1))
}

for round in 1 2; do
    wait_until 60 has_written $(($(writes) + 200))
    kill_server "$device"
    "$RINGLOOP" recover "$device"
    echo "round $round: recovered after $SECONDS s and $(writes) writes"
    wait_until 60 has_written $(($(writes) + 200))
done
end_load
cat fio.log
detach "$device"
