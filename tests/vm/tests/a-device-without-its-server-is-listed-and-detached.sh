#!/bin/bash
# kernel: 6.12
# timeout: 90
# kill -9 of the server: the device is listed as dead and can be detached.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
attach --name data "$image"
kill_server data
assert_match "$("$RINGLOOP" list)" "data +$device .* dead " "the list"
assert_eq "$("$RINGLOOP" list --json | python3 -ESc 'import json, sys
print([(entry["name"], entry["state"]) for entry in json.load(sys.stdin)])')" \
    "[('data', 'dead')]" "the list"
assert_eq "$(status_value data state)" dead "the state"
assert_refused "data.*recover data.*detach data" "$RINGLOOP" attach --name data "$image"
detach data
assert_nothing_left
assert_eq "$("$RINGLOOP" list)" "" "the list"
