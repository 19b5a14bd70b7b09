#!/usr/bin/env bash
# --watch-size: a grown or shrunk image is noticed without a word from anybody.
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
"$RINGLOOP" attach --transport socket --watch-size image >/dev/null
has_size() { [[ $("$RINGLOOP" list --json) == *"\"size_bytes\": $1,"* ]]; }
has_size 1048576 || die "attached with another size"
truncate -s 3M image
wait_until 20 has_size 3145728
truncate -s 2M image
wait_until 20 has_size 2097152
# An image that has nothing left is not followed, and said once.
truncate -s 0 image
wait_until 20 grep -q warning "$RINGLOOP_RUNTIME_DIR/socket0.log"
has_size 2097152 || die "it took a size that no device can have"
truncate -s 4M image
wait_until 20 has_size 4194304
assert_eq "$(grep -c warning "$RINGLOOP_RUNTIME_DIR/socket0.log")" 1 "warnings about one trouble"

assert_match "$("$RINGLOOP" set socket0 --watch-size off)" "watch size: off now, on before" "set"
truncate -s 5M image
assert_match "$("$RINGLOOP" set socket0 --watch-size on)" "watch size: on now, off before" "set"
wait_until 20 has_size 5242880
"$RINGLOOP" detach --all
assert_nothing_left
