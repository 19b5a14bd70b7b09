#!/bin/bash
# kernel: 6.1
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
before=$(sha256sum <"$image")
assert_refused "ublk.*(6\.[0-9]|linux-image|kernel)" "$RINGLOOP" attach "$image"
echo "$output"
assert_nothing_left
assert_refused "ublk" "$RINGLOOP" attach --transport ublk --name data "$image"
assert_nothing_left
# What is wrong with the image is told before what the kernel lacks.
assert_refused "missing: no such file" "$RINGLOOP" attach "$PWD/missing"
assert_eq "$(sha256sum <"$image")" "$before" "the image"
assert_eq "$("$RINGLOOP" list)" "" "the list"
