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
"$RINGLOOP" detach psk
assert_nothing_left
