#!/usr/bin/env bash
# So that their file systems are mounted before a device is attached: one drop-in a file, whatever
# characters the path has, and none for a file that nobody understands.
units=$(cd "$(dirname "$0")/.." && pwd)/packaging/systemd
source "$(dirname "$0")/lib.sh"

mkdir etc units
export RINGLOOP_CONFIG_DIR=$PWD/etc
printf 'image = /srv/a b/100%%"\\x.img\n' >etc/odd.conf
printf 'image = /srv/plain.img\nread-only = yes\n' >etc/plain.conf
printf 'image = relative.img\n' >etc/bad.conf

run_program "$RINGLOOP" systemd-generator units early late
assert_eq "$status" 1 "the exit code with a bad file"
assert_match "$stderr" "etc/bad.conf: image 'relative.img'" "what it said"
assert_eq "$(cd units && echo */*)" \
    "ringloop@odd.service.d/50-image.conf ringloop@plain.service.d/50-image.conf" "the drop-ins"
assert_eq "$(<units/ringloop@plain.service.d/50-image.conf)" \
    $'[Unit]\nRequiresMountsFor="/srv/plain.img"' "a drop-in"
assert_eq "$(tail -n 1 units/ringloop@odd.service.d/50-image.conf)" \
    'RequiresMountsFor="/srv/a b/100%%\"\\x.img"' "a drop-in"

# Without a directory there is nothing to say.
RINGLOOP_CONFIG_DIR=$PWD/none run_program "$RINGLOOP" systemd-generator units early late
assert_eq "$status$stderr" 0 "without files"
run_program "$RINGLOOP" udev-properties ublkb4095
assert_eq "$status$stdout$stderr" 0 "of a device that is none of ours"

# What systemd itself says of the units, where it is installed.
if command -v systemd-analyze >/dev/null && [[ -d /run/systemd/system || $EUID == 0 ]]; then
    mkdir found
    cp "$units"/ringloop* found/
    ln -s ringloop@.service found/ringloop@disk.service
    ln -s ringloop-recover@.service found/ringloop-recover@disk.service
    ln -s ringloop@.socket found/ringloop@disk.socket
    sed -i "s|^\(Exec[A-Za-z]*=\)ringloop|\1$RINGLOOP|" found/ringloop@.service
    SYSTEMD_UNIT_PATH=$PWD/found:/lib/systemd/system run_program systemd-analyze verify \
        --man=no found/ringloop{@,-recover@}disk.service found/ringloop@disk.socket \
        found/ringloop.target
    assert_eq "$status $(grep -i ringloop <<<"$stderr" || true)" "0 " "systemd-analyze verify"
fi
