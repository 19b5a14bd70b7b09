#!/bin/bash
# kernel: 6.12
# timeout: 90
# A reboot or a lost device leaves files behind that are in nobody's way.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
attach --name data "$image"
cp -a /run/ringloop /tmp/stale
detach data
leave_stale_state() {
    mkdir -p /run/ringloop
    cp -a /tmp/stale/. /run/ringloop/
    [[ -e /run/ringloop/data.json ]] || die "there is no state of a dead server"
}

leave_stale_state
assert_eq "$("$RINGLOOP" list)" "" "the list"
attach --name data "$image"
assert_eq "$(status_value data state)" live "the state"
detach data
assert_nothing_left

leave_stale_state
detach data
assert_nothing_left

# What is no state at all is told as such, and is in the way of no other name.
echo '{"name": ' >/run/ringloop/broken.json
assert_refused "broken.json.*remove this file" "$RINGLOOP" attach --name broken "$image"
attach "$image"
detach "$device"
rm -f /run/ringloop/broken.*
assert_nothing_left
