#!/bin/bash
# kernel: 6.12
# timeout: 240
# With several connections the nbd driver gives up those whose requests take too long. The server,
# which only was stopped for a while, gives it new ones, and no request is lost.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

(($(nproc) >= 2)) || skip "one CPU has one queue"
image=$(make_image 96M)
attach --transport nbd --queues 2 "$image"
disk=/sys/block/${device#/dev/}
log=/run/ringloop/${device#/dev/}.log
assert_eq "$(cat "$disk/queue/io_timeout")" 90000 "the time after which a connection is given up"
echo 2000 >"$disk/queue/io_timeout"
pid=$(status_value "$device" pid)

given_up() {
    grep -c 'gave up connection' "$log" || true
}
has_given_up() {
    (($(given_up) >= $1))
}
writes() {
    awk '{ print $5 }' "$disk/stat"
}
has_written() {
    (($(writes) > $1))
}

waits() {
    local reads writes
    read -r reads writes <"$disk/inflight"
    ((reads + writes > 0))
}

begin_load
for round in ${ROUNDS:-1}; do
    wait_until 60 has_written $(($(writes) + 200))
    before=$(given_up)
    kill -STOP "$pid"
    wait_until 60 waits  # the load may be between two runs just now
    pause 8
    kill -CONT "$pid"
    # Of those that had requests just then; the other one may have had none.
    wait_until 60 has_given_up $((before + 1))
    wait_until 60 has_written $(($(writes) + 200))
    echo "round $round: after $SECONDS s, $(given_up) new connections"
done
end_load
assert_eq "$(status_value "$device" pid)" "$pid" "the server"
detach "$device"
assert_nothing_left
