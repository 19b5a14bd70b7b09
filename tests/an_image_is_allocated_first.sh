#!/usr/bin/env bash
# attach --preallocate: every block that the device may write is there before it is.
source "$(dirname "$0")/lib.sh"

truncate -s 64M image
fallocate -l 1M probe 2>/dev/null || skip "the filesystem of $PWD has no fallocate"
"$RINGLOOP" attach --transport socket --preallocate --offset 16M --sizelimit 32M image >/dev/null
blocks=$(stat -c %b image)
((blocks * 512 >= 32 << 20 && blocks * 512 < 40 << 20)) || die "it occupies $blocks sectors"
assert_eq "$(stat -c %s image)" $((64 << 20)) "its size"
"$RINGLOOP" detach --all

# More than there is: nothing is allocated, nothing is attached.
truncate -s $(($(stat -f -c '%a * %S' .) * 2)) huge 2>/dev/null || skip "no file can be so large"
assert_refused "/huge: its filesystem has .* free of .* needed; make room, or attach it without" \
    attach --transport socket --preallocate huge
assert_eq "$(stat -c %b huge)" 0 "the sectors that were allocated all the same"

refused_status=2
assert_refused "--preallocate is for what is written" attach --preallocate --read-only image
