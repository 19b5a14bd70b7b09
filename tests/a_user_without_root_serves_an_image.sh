#!/usr/bin/env bash
# With the same verbs, below $XDG_RUNTIME_DIR.
source "$(dirname "$0")/lib.sh"
need_program nbdinfo

user=()
if [[ $EUID == 0 ]]; then user=(setpriv --reuid=65534 --regid=65534 --clear-groups --); fi
umask 022
mkdir runtime home
truncate -s 1M home/image
chmod 755 .
if [[ $EUID == 0 ]]; then chown -R 65534:65534 runtime home; fi
cp "$RINGLOOP" ringloop
chmod 700 runtime
unset RINGLOOP_RUNTIME_DIR
export XDG_RUNTIME_DIR=$TEST_DIR/runtime
mine() {
    "${user[@]}" "$TEST_DIR/ringloop" "$@"
}
"${user[@]}" test -r "$TEST_DIR/home/image" || skip "another user cannot reach $TEST_DIR"

uri=$(mine attach home/image 2>said)
assert_eq "$uri" "nbd+unix:///?socket=$TEST_DIR/runtime/ringloop/socket0.nbd" "the URI"
assert_match "$(<said)" "^ringloop: using --transport socket: " "what attach said"
assert_eq "$("${user[@]}" nbdinfo --size "$uri")" $((1 << 20)) "the size"
assert_match "$(mine list)" "socket0 .* live "
assert_match "$(mine status socket0)" "oom_protected +no: "
kill -KILL "$(mine status --json socket0 | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')"
wait_until 10 eval '[[ $(mine list) == *dead* ]]'
assert_eq "$(mine recover home/image)" "$uri" "what recover printed"
mine detach home/image
assert_eq "$(find runtime/ringloop -mindepth 1)" "" "what is left"
