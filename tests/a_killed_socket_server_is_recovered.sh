#!/usr/bin/env bash
# At the same addresses, with the same options, for clients that look for it again.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
port=$(free_port)
uri=$("$RINGLOOP" attach --export disk --description text --max-connections 7 --nbd unix:s.sock \
    --nbd "tcp:$port" image)
python_nbd "$uri" <<'END'
import os, signal, subprocess, sys, json
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.pwrite(b"kept", 4096)
client.flush()
ringloop = os.environ["RINGLOOP"]
status = json.loads(subprocess.check_output([ringloop, "status", "--json", "image"]))
assert status["nbd"]["max_connections"] == 7, status
os.kill(status["pid"], signal.SIGKILL)
try:
    client.pread(4, 4096)
except nbd.Error:
    pass
else:
    sys.exit("a dead server answered")
END
assert_match "$("$RINGLOOP" list)" "socket0 .* dead +-"
run_program "$RINGLOOP" attach --transport socket --name socket9 image
assert_match "$stderr" "reserved" "a name of another device"

# While the recovery waits, for an image that somebody has locked for instance, nobody is told that
# the device is served.
python3 - >locked <<'END' &
import fcntl, os, struct, time
image = os.open("image", os.O_RDWR)
fcntl.fcntl(image, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))  # F_OFD_SETLK
print("locked", flush=True)
while os.path.exists("image") and not os.path.exists("let_go"):
    time.sleep(0.02)
END
locker=$!
wait_until 10 test -s locked
(cd / && "$RINGLOOP" recover socket0) >recovered &
recovery=$!
wait_until 5 eval '[[ $("$RINGLOOP" list) != *" dead "* ]]'
assert_match "$("$RINGLOOP" list)" "socket0 .* recovering +[0-9]+ "
assert_match "$("$RINGLOOP" status --json image)" '"state": "recovering"'
touch let_go
wait "$locker" "$recovery"
assert_eq "$(<recovered)" "$uri" "what recover printed"
assert_match "$("$RINGLOOP" list)" "socket0 .* live +[0-9]+ "
python_nbd "$uri" "nbd://localhost:$port/disk" <<'END'
import sys
for uri in sys.argv[1:]:
    client = nbd.NBD()
    client.set_full_info(True)
    client.connect_uri(uri)
    assert client.pread(4, 4096) == b"kept"
    assert client.get_export_description() == "text"
END
assert_match "$("$RINGLOOP" recover socket0 2>&1 || true)" "nothing to recover"
"$RINGLOOP" detach socket0

# One that nobody wants back leaves no socket behind either.
"$RINGLOOP" attach --nbd unix:s.sock image >/dev/null
kill_server image
"$RINGLOOP" detach image
[[ ! -e s.sock ]] || die "s.sock is still there"
assert_nothing_left
