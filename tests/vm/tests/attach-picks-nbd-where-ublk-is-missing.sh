#!/bin/bash
# kernel: 6.1
# timeout: 120
# Debian 12's own kernel has no ublk: attach makes a device of nbd.ko by itself and says so.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
printf 'label: gpt\nsize=8M\nsize=8M\n' | sfdisk -q "$image"
"$RINGLOOP" attach "$image" >out 2>said
device=$(<out)
assert_match "$device" '^/dev/nbd[0-9]+$' "the device"
assert_match "$(<said)" '^ringloop: using --transport nbd: no ublk: [^'$'\n'']*$' "what attach said"
[[ -b ${device}p1 && -b ${device}p2 ]] || die "a partition has no node when attach returned"
assert_eq "$(blockdev --getsize64 "$device")" $((32 << 20)) "the size"
assert_eq "$(status_value "$device" transport)" nbd "the transport"
assert_match "$(<"/sys/block/${device#/dev/}/queue/scheduler")" '\[none\]' "the scheduler"
assert_match "$("$RINGLOOP" list)" "$device +32 MiB +nbd +live" "the list"
dd if=/dev/urandom of="${device}p2" bs=1M count=2 oflag=direct status=none
sum=$(dd if="${device}p2" bs=1M count=2 iflag=direct status=none | sha256sum)
# Another one beside it takes the next number, by which ublk's name for it is known too.
second=$("$RINGLOOP" attach --transport nbd --read-only "$(make_image 1M)")
assert_match "$second" '^/dev/nbd[0-9]+$' "the second device"
assert_eq "$(blockdev --getro "$second")" 1 "read-only of the second"
detach "${second#/dev/}"
detach "$image"
assert_nothing_left
[[ ! -e ${device}p1 ]] || die "${device}p1 is still there"
written=$(dd if="$image" bs=1M skip=9 count=2 status=none | sha256sum)
assert_eq "$written" "$sum" "what was written"

assert_refused "ublk.*linux-image" "$RINGLOOP" attach --transport ublk "$image"
assert_refused "missing: no such file" "$RINGLOOP" attach "$PWD/missing"
assert_nothing_left
