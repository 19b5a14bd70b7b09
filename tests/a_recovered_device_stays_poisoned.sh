#!/usr/bin/env bash
# A sync that failed is not forgotten with the server that saw it: whoever flushes after a recover
# would otherwise be told that writes are safe which the kernel has dropped.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
uri=$("$RINGLOOP" attach --nbd unix:s.sock image)
kill_server image
# As the server writes it when a sync has failed; no disk that fails is at hand here.
python3 - "$RINGLOOP_RUNTIME_DIR/socket0.json" <<'END2'
import json, sys
with open(sys.argv[1]) as file:
    state = json.load(file)
assert "poisoned" not in state, state
state["poisoned"] = True
with open(sys.argv[1], "w") as file:
    json.dump(state, file)
END2
"$RINGLOOP" recover socket0 >/dev/null
assert_match "$("$RINGLOOP" status --json image)" '"poisoned": ?true'
python_nbd "$uri" <<'END2'
import errno, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.pwrite(b"data", 0)
try:
    client.flush()
except nbd.Error as error:
    assert error.errnum == errno.EIO, error
else:
    sys.exit("a flush succeeded on a device that lost writes")
assert client.pread(4, 0) == b"data"
END2
kill_server image
"$RINGLOOP" recover socket0 >/dev/null
assert_match "$("$RINGLOOP" status --json image)" '"poisoned": ?true' "after a second recover"
"$RINGLOOP" detach socket0 2>err || true

# A new device of the same image begins anew.
"$RINGLOOP" attach --nbd unix:s.sock image >/dev/null
assert_match "$("$RINGLOOP" status --json image)" '"poisoned": ?false'
"$RINGLOOP" detach image
assert_nothing_left
