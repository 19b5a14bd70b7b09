#!/bin/bash
# kernel: any
# timeout: 180
# The disk below fails while a device uses it: whoever asks gets EIO, nobody hangs, and once a sync
# has failed, none succeeds any more: the kernel may have dropped what it could not write, and would
# not tell a second time. Reads and writes work again when the disk does.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/faults.sh"

errors_of() { # read, write or flush
    status_value "$device" "stats.$1.errors"
}
# It is detached, but not in silence.
detach_poisoned() {
    assert_refused "may not be on stable storage" "$RINGLOOP" detach "$device"
}

start_client
make_disk
now="the disk works"
attach --direct-io=on "$disk"
expect write 0 a ok
expect sync ok
now="writes fail"
writes_fail
expect write 0 b EIO
expect read 0 a
(($(errors_of write) > 0)) || die "status counts no failed write"
disk_works
now="the disk works after writes that failed"
# A write that failed was told to its client; nothing was lost behind anybody's back.
expect sync ok
expect write 0 c ok
now="the disk fails"
disk_fails
expect read 0 EIO
expect write 0 d EIO
(($(errors_of read) > 0)) || die "status counts no failed read"
now="writes and flushes fail"
writes_fail # a mapping of errors would let flushes pass
expect sync EIO
(($(errors_of flush) > 0)) || die "status counts no failed flush"
assert_eq "$(status_value "$device" poisoned)" true "poisoned"
disk_works
now="the disk works after a sync that failed"
expect sync EIO
expect read 0 c
expect write 65536 e ok
expect read 65536 e
assert_match "$("$RINGLOOP" status "$device")" "poisoned" "what status tells a person"
detach_poisoned

# A new device on it starts anew.
now="writes vanish"
attach --direct-io=on "$disk"
expect sync ok
writes_vanish
# The disk lies, and nobody can know; but what is read is the disk's, not what somebody remembers.
expect write 0 f ok
expect read 0 c
disk_works
now="the disk works again"
expect write 0 f ok
expect read 0 f
detach "$device"

# Through the page cache a write succeeds whatever the disk does; the sync tells, and goes on so.
attach --direct-io=off "$disk"
now="the disk works, buffered"
expect write 0 g ok
expect sync ok
writes_fail
now="writes fail, buffered"
expect write 0 h ok
expect sync EIO
disk_works
now="the disk works after a sync that failed, buffered"
expect sync EIO
expect write 0 i ok
expect sync EIO
detach_poisoned
assert_nothing_left
