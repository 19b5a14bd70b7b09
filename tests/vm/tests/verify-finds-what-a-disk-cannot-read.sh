#!/bin/bash
# kernel: 6.12
# timeout: 60
# A disk with two bad places: verify tells them to the unit, of the disk and of a device on it.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

modprobe dm-mod
# By sectors: 16 MiB are good, but for one sector of them and, at the end, 8 KiB.
dmsetup create spotted <<TABLE
0 8200 linear $RAW_DISK 0
8200 1 error
8201 24551 linear $RAW_DISK 8201
32752 16 error
TABLE
on_exit "dmsetup remove spotted"
disk=/dev/mapper/spotted
assert_bad() { # TARGET
    expect_fail "$RINGLOOP" verify "$1"
    assert_match "$output" "12288 bytes cannot be read; copy what is left" "what is said of $1"
    assert_match "$output" "unreadable: 4096 bytes at $((8200 * 512))" "what is said of $1"
    assert_match "$output" "unreadable: 8192 bytes at $((32752 * 512))" "what is said of $1"
}
assert_bad $disk
attach --name spotted --read-only --partscan off $disk
assert_bad spotted
detach spotted
attach --name good --read-only --sizelimit 4M $disk
"$RINGLOOP" verify good
detach good
assert_nothing_left
