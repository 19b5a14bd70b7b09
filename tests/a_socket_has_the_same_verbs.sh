#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"
need_program nbdinfo

truncate -s 1000001 image
uri=$("$RINGLOOP" attach --transport socket --allow-overlap image)
assert_eq "$uri" "nbd+unix:///?socket=$RINGLOOP_RUNTIME_DIR/socket0.nbd" "the URI"
assert_eq "$(stat -c '%F %a' "$RINGLOOP_RUNTIME_DIR/socket0.nbd")" "socket 600" "the socket"
assert_eq "$(nbdinfo --size "$uri")" 1000001 "the size, to the byte"
assert_match "$("$RINGLOOP" list)" "socket0 +nbd\+unix:.* socket +live .*/image"
for target in socket0 "$uri" image; do
    assert_match "$("$RINGLOOP" status "$target")" "transport +socket"
done
assert_match "$("$RINGLOOP" status --json image)" '"connections": 0'
assert_match "$("$RINGLOOP" status image)" "direct_io +no: "

# A second one beside it, of the same image and with a name.
second=$("$RINGLOOP" attach --name data --allow-overlap \
    --export disk --read-only --nbd unix:second.sock image)
assert_eq "$second" "nbd+unix:///disk?socket=$TEST_DIR/second.sock" "the URI"
nbdinfo --is readonly "$second" || die "not read-only"
third=$("$RINGLOOP" attach --transport socket --allow-overlap image)
assert_match "$third" "socket1.nbd$" "the third"
assert_match "$("$RINGLOOP" status image 2>&1 || true)" "attached more than once"
"$RINGLOOP" detach "$second"
[[ ! -e second.sock ]] || die "second.sock is still there"
"$RINGLOOP" detach --all
assert_nothing_left
