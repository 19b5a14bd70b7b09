#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"
need_program nbdinfo

truncate -s 1M image
python3 - <<'END'
import socket
stale = socket.socket(socket.AF_UNIX)
stale.bind("stale.sock")  # and gone
END
"$RINGLOOP" attach --nbd unix:stale.sock image >/dev/null
assert_eq "$(nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/stale.sock")" $((1 << 20)) "the size"
# It is in use now; the one who has it keeps it.
run_program "$RINGLOOP" attach --allow-overlap --nbd unix:stale.sock image
assert_eq "$status" 1 "the exit code"
assert_match "$stderr" "stale.sock: somebody listens there already"
nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/stale.sock" >/dev/null
"$RINGLOOP" detach image

echo precious >file
ln -s elsewhere link
mkdir folder
for path in file link folder; do
    assert_refused "$path: exists and is no socket" attach --nbd "unix:$path" image
done
assert_eq "$(<file)" precious "the file"
assert_eq "$(readlink link)" elsewhere "the link"

# What somebody put in its place meanwhile is not removed at the end.
"$RINGLOOP" attach --nbd unix:mine.sock image >/dev/null
mv mine.sock away
echo precious >mine.sock
"$RINGLOOP" detach image
assert_eq "$(<mine.sock)" precious "what stands there now"
assert_nothing_left
