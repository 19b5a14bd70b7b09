#!/bin/bash
# kernel: 6.12
# timeout: 120
# detach --force while fio reads and writes: the load ends with errors of its own, nothing hangs,
# nothing is left. (blktests ublk/001, ublk/004)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 64M)
is_busy() {
    requests_ended
    ((ended > 200))
}
load_ended() {
    ! kill -0 "$load" 2>/dev/null
}
for transport in ublk nbd; do
    for killed in no yes; do
        attach --transport "$transport" "$image"
        fio --name=load --filename="$device" --rw=randrw --bs=4k --iodepth=64 --ioengine=libaio \
            --direct=1 --time_based --runtime=60 >fio.log 2>&1 &
        load=$!
        on_exit "kill $load 2>/dev/null"
        wait_until 30 is_busy
        if [[ $killed == yes ]]; then kill_server "$device"; fi
        detach --force --timeout 20 "$device"
        # What it had open is gone, or answers errors.
        wait_until 30 load_ended
        wait $load && die "fio did not notice that its disk was taken away: $(<fio.log)"
        assert_nothing_left
    done
done
