#!/usr/bin/env bash
# A client's connection is a user of the device.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
uri=$("$RINGLOOP" attach --transport socket image)
python_nbd "$uri" <<'END'
import os, subprocess, sys, time
ringloop = os.environ["RINGLOOP"]
client = nbd.NBD()
client.connect_uri(sys.argv[1])
refused = subprocess.run([ringloop, "detach", "--timeout", "1", "image"], stderr=subprocess.PIPE)
assert refused.returncode == 1, refused
assert b"in use: one client is connected; disconnect, or take it away" in refused.stderr, refused
assert client.pread(1, 0) == b"\0"
waiting = subprocess.Popen([ringloop, "detach", "--timeout", "20", "image"])
client.shutdown()
assert waiting.wait(20) == 0
subprocess.check_call([ringloop, "attach", "--transport", "socket", "image"])
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.pwrite(b"x", 0)
subprocess.check_call([ringloop, "detach", "--force", "image"])
try:
    client.pread(1, 0)
except nbd.Error:
    pass
else:
    sys.exit("a detached device answered")
END
assert_eq "$(head -c 1 image)" x "the image"
assert_nothing_left
