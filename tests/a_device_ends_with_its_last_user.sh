#!/usr/bin/env bash
# --autoclear: the device is gone after its last client, and not before its first one.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
uri=$("$RINGLOOP" attach --transport socket --autoclear image)
python_nbd "$uri" <<'END_OF_CLIENTS'
import subprocess
import sys
import os
first, second = nbd.NBD(), nbd.NBD()
first.connect_uri(sys.argv[1])
second.connect_uri(sys.argv[1])
first.shutdown()
state = subprocess.run([os.environ["RINGLOOP"], "list"], stdout=subprocess.PIPE, text=True).stdout
assert " live " in state, f"gone with its first client: {state}"
second.pwrite(b"a" * 512, 0)
second.shutdown()
END_OF_CLIENTS
is_gone() { [[ -z $("$RINGLOOP" list) ]]; }
wait_until 20 is_gone
wait_until 10 eval '[[ -z $(find "$RINGLOOP_RUNTIME_DIR" -mindepth 1) ]]'
assert_eq "$(head -c 4 image)" aaaa "what the last client wrote"

# Live: who has gone before it is wanted was not the last user, and recovery keeps what is wanted.
come_and_go() {
    python_nbd "$uri" <<'END_OF_CLIENT'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.shutdown()
END_OF_CLIENT
}
uri=$("$RINGLOOP" attach --transport socket image)
come_and_go
assert_eq "$("$RINGLOOP" set "$uri" --autoclear on)" "$uri: autoclear: on now, off before"
assert_eq "$("$RINGLOOP" set "$uri" --autoclear off)" "$uri: autoclear: off now, on before"
assert_eq "$("$RINGLOOP" set "$uri" --autoclear off)" "$uri: autoclear: off, as before"
assert_eq "$("$RINGLOOP" set "$uri" --autoclear on)" "$uri: autoclear: on now, off before"
kill_server "$uri"
"$RINGLOOP" recover --all >/dev/null
assert_match "$("$RINGLOOP" list --json)" '"autoclear": true' "list after recovery"
come_and_go
wait_until 20 is_gone

# Recovery keeps it.
uri=$("$RINGLOOP" attach --transport socket --autoclear image)
kill_server "$uri"
"$RINGLOOP" recover --all >/dev/null
assert_match "$("$RINGLOOP" list --json)" '"autoclear": true' "list after recovery"
"$RINGLOOP" detach --all
assert_nothing_left
