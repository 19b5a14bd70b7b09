#!/bin/bash
# kernel: any
# timeout: 240
# --on-error pause on block devices: what a mounted filesystem writes waits while the image's own is
# full, nothing is lost once there is room, and a device whose writes wait can be detached by force.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

mkdir small mnt
mount -t tmpfs -o size=24m none small
held() { (($(status_value "$device" held_requests) $1)); }
# attach_sparse TRANSPORT: to an image that finds room for a third of itself.
attach_sparse() {
    truncate -s 24M small/image
    dd if=/dev/zero of=small/filler bs=1M count=16 status=none
    attach --transport "$1" --on-error pause small/image
}
ended() { ! kill -0 "$1" 2>/dev/null; }

for transport in $([[ $VM_KERNEL == 6.1 ]] && echo nbd || echo ublk nbd); do
    attach_sparse "$transport"
    mkfs.ext4 -q -O ^has_journal "$device"
    mount "$device" mnt
    head -c 14M /dev/urandom >/tmp/data
    (cp /tmp/data mnt/data && sync mnt/data) &
    writer=$!
    wait_until 60 held "> 0"
    assert_match "$("$RINGLOOP" list)" " paused" "list"
    ended "$writer" && die "the writer ended without room"
    rm small/filler
    "$RINGLOOP" set "$device" --resume
    wait "$writer"
    wait_until 20 held "== 0"
    umount mnt
    mount "$device" mnt
    cmp /tmp/data mnt/data
    umount mnt
    assert_eq "$(status_value "$device" stats.write.errors)" 0 "failed writes over $transport"
    detach "$device"
    rm small/image

    # Nobody waits for ever: what is detached by force answers what waits with the error it had.
    attach_sparse "$transport"
    dd if=/dev/urandom of="$device" bs=1M oflag=direct 2>dd.log &
    writer=$!
    wait_until 60 held "> 0"
    started_s=$SECONDS
    "$RINGLOOP" detach --force "$device"
    echo "$transport: detached by force within $((SECONDS - started_s)) s"
    wait_until 20 ended "$writer"
    wait "$writer" && die "the writer of a device that went away did not fail"
    assert_match "$(<dd.log)" "No space left|Input/output error|No such device" "what dd said"
    rm small/*
done
umount small
assert_nothing_left
