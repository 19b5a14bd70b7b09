#!/usr/bin/env bash
# What losetup(8) refuses, `ringloop losetup` refuses in the same words, with the same exit code;
# called by the name of losetup it is the same program. (What it does is compared in the guest.)
source "$(dirname "$0")/lib.sh"
need_program losetup

ln -s "$RINGLOOP" losetup
truncate -s 1M image
compare() { # ARGUMENT...
    run_program losetup "$@"
    local theirs="$status|$stdout|$stderr"
    run_program "$RINGLOOP" losetup "$@"
    assert_eq "$status|$stdout|$stderr" "$theirs" "ringloop losetup $*"
    run_program ./losetup "$@"
    assert_eq "$status|$stdout|$stderr" "$theirs" "losetup $*"
}

compare --foo
compare -d
compare -c
compare -j
compare -P
compare -n
compare -v
compare -f a b
compare -f --show
compare -r /dev/loop0
compare -O NOPE -l
compare -o foo -f image
compare -o -1 -f image
compare --sizelimit x -f image
compare -b x -f image
compare --direct-io=maybe /dev/loop0
compare -a -d /dev/loop0
compare -a -j image
compare -D -f
compare -f missing
compare -f --show "$PWD"
compare /dev/null
compare -c /dev/null
compare -j missing
compare -l /dev/null
[[ -n $(losetup -a) ]] || compare -a
[[ -n $(losetup -a) ]] || compare -J
[[ -n $(losetup -a) ]] || compare
assert_nothing_left
