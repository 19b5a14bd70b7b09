#!/usr/bin/env bash
# No byte is kept twice: what moves by direct I/O is not in the image's page cache afterwards.
source "$(dirname "$0")/lib.sh"
need_program fincore
need_program nbdcopy

head -c 32M /dev/urandom >data
truncate -s 32M image
uri=$("$RINGLOOP" attach --transport socket --direct-io=on image) || skip "no direct I/O here"
cached() { fincore --noheadings --bytes --output RES image | tr -d ' '; }

for _ in 1 2 3; do
    nbdcopy data "$uri" # into holes at first, which need a worker
    nbdcopy "$uri" copy
    cmp data copy
done
assert_eq "$(cached)" 0 "bytes of the image in the page cache"
"$RINGLOOP" detach image

# And this would have shown it.
uri=$("$RINGLOOP" attach --transport socket --direct-io=off image)
nbdcopy "$uri" copy
[[ $(cached) -gt 0 ]] || die "the page cache cannot be seen"
"$RINGLOOP" detach image
assert_nothing_left
