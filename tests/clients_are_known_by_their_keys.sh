#!/usr/bin/env bash
# --tls-psk with the keys that psktool makes: who has one is let in, and no certificate is needed.
source "$(dirname "$0")/lib.sh"
need_program psktool
need_program nbdcopy

psktool -u alice -p keys.psk &>/dev/null
psktool -u bob -p keys.psk &>/dev/null
chmod 600 keys.psk
sed 's/^bob:/alice:/' keys.psk | grep -v "$(grep ^alice: keys.psk)" >wrong.psk
head -c 1000001 /dev/urandom >content
truncate -s 1000001 image

"$RINGLOOP" attach --name psk --tls require --tls-psk keys.psk --nbd unix:s image >/dev/null
uri_for() { # USER KEYS
    echo "nbds+unix://$1@localhost/?socket=$TEST_DIR/s&tls-psk-file=$TEST_DIR/$2"
}
nbdcopy --flush content "$(uri_for alice keys.psk)"
cmp content image
nbdcopy "$(uri_for bob keys.psk)" copy
cmp content copy
! nbdinfo --size "$(uri_for alice wrong.psk)" &>.refused || die "alice got in with bob's key"
echo "mallory:00112233445566778899aabbccddeeff" >mallory.psk
! nbdinfo --size "$(uri_for mallory mallory.psk)" &>.refused || die "mallory got in"

# A server's keys of a connection stay with it, so who has one is not cut off unasked.
if /usr/bin/python3 -c "import nbd" 2>/dev/null; then
    python_nbd "$(uri_for alice keys.psk)" <<'END_OF_CLIENT'
import os
import subprocess
import sys
client = nbd.NBD()
client.set_uri_allow_local_file(True)
client.connect_uri(sys.argv[1])
ringloop = os.environ["RINGLOOP"]
refused = subprocess.run([ringloop, "upgrade", "psk"], capture_output=True, text=True)
assert refused.returncode == 1, refused
assert "clients with TLS would be cut off (1)" in refused.stderr, refused
assert "--force" in refused.stderr, refused
assert len(client.pread(512, 0)) == 512
subprocess.run([ringloop, "upgrade", "--force", "psk"], check=True, stdout=subprocess.DEVNULL)
try:
    client.pread(512, 0)
    raise SystemExit("the client was not cut off")
except nbd.Error:
    pass
END_OF_CLIENT
    nbdcopy "$(uri_for bob keys.psk)" copy
    cmp content copy
fi
"$RINGLOOP" detach psk
assert_nothing_left
