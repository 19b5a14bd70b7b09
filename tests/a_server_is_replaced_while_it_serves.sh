#!/usr/bin/env bash
# upgrade: another process serves the device at the same addresses, what was written is there, and
# nobody is cut off who was not meant to be.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
field() { # NAME: of status --json
    "$RINGLOOP" status --json image |
        python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}
uri=$("$RINGLOOP" attach --transport socket --policy linux-4.4 image)
pid=$(field pid)
python_nbd "$uri" <<'END_OF_CLIENT'
import os
import subprocess
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.pwrite(b"before" * 512, 0)
refused = subprocess.run([os.environ["RINGLOOP"], "upgrade", "image"], capture_output=True,
                         text=True)
assert refused.returncode == 1 and "clients would be cut off (1)" in refused.stderr, refused
assert client.pread(6, 0) == b"before", "the client that was spared is not served"
END_OF_CLIENT

assert_match "$("$RINGLOOP" upgrade image)" \
    "^nbd\+unix:.*: served by pid [0-9]+ now, $pid before; requests waited for [0-9]+ ms at most$"
[[ $(field pid) != "$pid" ]] || die "the old server serves"
assert_eq "$(field policy)" linux-4.4 "the policy after an upgrade"
assert_eq "$("$RINGLOOP" list --json | grep -c '"uris"')" 1 "devices that are listed"
python_nbd "$uri" <<'END_OF_CLIENT'
import os
import subprocess
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
assert client.pread(6, 0) == b"before", "what was written before is gone"
forced = subprocess.run([os.environ["RINGLOOP"], "upgrade", "--force", "--all", "--json"],
                        capture_output=True, text=True)
assert forced.returncode == 0 and '"previous_pid"' in forced.stdout, forced
try:
    client.pread(6, 0)
    raise SystemExit("the client was not cut off")
except nbd.Error:
    pass
END_OF_CLIENT
"$RINGLOOP" detach image

# Who was started by somebody else is replaced by them.
"$RINGLOOP" serve --transport socket image 2>/dev/null &
wait_until 10 eval '[[ $("$RINGLOOP" list) == *" live "* ]]'
run_program "$RINGLOOP" upgrade image
assert_eq "$status" 1 "the exit code of upgrade of a server in the foreground"
assert_match "$stderr" "runs in the foreground"
"$RINGLOOP" detach image
wait
run_program "$RINGLOOP" upgrade image
assert_match "$stderr" "image: not attached"
assert_nothing_left
