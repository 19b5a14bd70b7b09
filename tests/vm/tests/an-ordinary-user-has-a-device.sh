#!/bin/bash
# kernel: 6.12
# timeout: 90
# A ublk device without root, where root has opened the driver to a group and udev has our rules.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

users=2000 # the group that may
as() {     # UID COMMAND...
    setpriv --reuid "$1" --regid "$1" --groups $users env XDG_RUNTIME_DIR="/tmp/user-$1" "${@:2}"
}
mine() { as 1000 "$RINGLOOP" "$@"; }
owner_of() { stat -c '%u:%g %a' "$@"; }

[[ ! -e /usr/bin/ringloop && ! -e /run/udev ]] || die "there is a udev, or a ringloop, already"
on_exit 'rm -rf /run/udev /usr/bin/ringloop /tmp/user-*'
modprobe ublk_drv
on_exit 'chmod 600 /dev/ublk-control; chgrp 0 /dev/ublk-control'
ln -s "$RINGLOOP" /usr/bin/ringloop
mkdir -p /run/udev/rules.d
cp "$RINGLOOP_TREE/packaging/udev/60-ringloop.rules" /run/udev/rules.d/
echo "KERNEL==\"ublk-control\", GROUP=\"$users\", MODE=\"0660\"" >/run/udev/rules.d/61-ublk.rules
/lib/systemd/systemd-udevd --daemon
on_exit 'udevadm control --exit'
udevadm trigger --settle /dev/ublk-control
assert_eq "$(owner_of /dev/ublk-control)" "0:$users 660" "whose the driver's node is"

for uid in 1000 1001; do install -d -m 700 -o $uid -g $uid /tmp/user-$uid; done
chmod 755 .
install -d -o 1000 -g 1000 home
cd home || exit
truncate -s 64M image
truncate -s 1M other
chown 1000:1000 image other

# ---- to have, and to use -------------------------------------------------------------------------
device=$(mine attach --partscan on --name mine image 2>said)
assert_match "$(<said)" "$device has no nodes for partitions" "what attach said"
node=${device/ublkb/ublkc}
assert_eq "$(owner_of "$device" "$node")" $'1000:1000 600\n1000:1000 600' "whose the nodes are"
as 1000 mkfs.ext4 -q "$device"
as 1000 fio --name=verify --filename="$device" --rw=randwrite --bs=16k --size=8M --direct=1 \
    --verify=crc32c --output=fio.out --output-format=terse || die "fio: $(<fio.out)"
mine status --json mine >status.json
for field in unprivileged landlock seccomp rings_restricted capabilities_dropped; do
    assert_eq "$(json_value $field <status.json)" true "$field"
done
for field in partscan io_flusher memory_locked oom_protected private_mounts; do
    assert_eq "$(json_value $field <status.json)" false "$field"
done
assert_match "$(json_value io_flusher_reason <status.json)" "PR_SET_IO_FLUSHER: ." "why not"
assert_match "$(mine list)" "mine .* live "
assert_match "$(mine doctor)" "ok +ublk users +this user can"

# ---- nobody else ---------------------------------------------------------------------------------
as 1000 chmod 666 "$device"
expect_fail as 1001 dd if="$device" of=/dev/null count=1
assert_match "$output" "not permitted" "what another user is told"
assert_refused "not attached" as 1001 "$RINGLOOP" detach "$device"
assert_refused "permission denied: run as root, or have it opened to you" \
    setpriv --reuid 1001 --regid 1001 --clear-groups env XDG_RUNTIME_DIR=/tmp/user-1001 \
    "$RINGLOOP" attach --transport ublk --read-only other

# ---- what the kernel refuses ---------------------------------------------------------------------
truncate -s 96M image
assert_refused "cannot change the size of a ublk device" mine resize mine
assert_refused "ends a ublk device of an ordinary user with its server" mine upgrade mine
echo 1 >/sys/module/ublk_drv/parameters/ublks_max
on_exit 'echo 64 >/sys/module/ublk_drv/parameters/ublks_max'
assert_refused "as many ublk devices exist as the driver allows: .*ublks_max" mine attach other
echo 64 >/sys/module/ublk_drv/parameters/ublks_max
pid=$(json_value pid <status.json)
kill -KILL "$pid"
wait_until 10 process_is_gone "$pid"
assert_refused "ends a ublk device of an ordinary user with its server" mine recover mine
mine detach mine

# ---- root's stays root's; and a device that udev does not give to its user is not lost -----------
attach other
assert_match "$(owner_of "$device" "${device/ublkb/ublkc}")" $'^0:.*\n0:' "whose root's nodes are"
detach "$device"
udevadm control --exit
assert_refused "udev did not give it to this user" mine attach image
assert_match "$(mine list)" "ublkb0 .* dead "
chown 1000:1000 /dev/ublkc0
mine detach ublkb0
assert_eq "$(find /tmp/user-*/ringloop -mindepth 1)" "" "what is left"
assert_nothing_left
