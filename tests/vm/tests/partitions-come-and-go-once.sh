#!/bin/bash
# kernel: 6.12
# timeout: 150
# The kernel tells of each partition once when it comes and once when it goes; one that was made
# while the device lived has a node, and one that was added by hand does not outlive the device.
# (blktests loop/001, loop/008, loop/009, loop/012, loop/013, LTP uevent01)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

/usr/bin/python3 "$RINGLOOP_TREE/tests/vm/tools/uevents.py" events ready &
listener=$!
on_exit "kill $listener 2>/dev/null"
wait_until 20 test -e ready

# told ACTION NAME: how often the kernel told of it.
told() {
    grep -cx "$1 $2" events || true
}
told_once() {
    (($(told "$1" "$2") == 1))
}
# assert_told_once ACTION NAME...: waits for the first, and would see a second that came before a
# later event of the same device.
assert_told_once() {
    local action=$1 name
    shift
    for name in "$@"; do
        wait_until 20 told_once "$action" "$name"
    done
}

image=$(make_image 64M)
sfdisk -q "$image" <<<$'label: gpt\nsize=16MiB\nsize=8MiB'
for transport in ublk nbd; do
    for cycle in 1 2; do
        : >events # appended to by the listener, which writes at its end
        attach --transport "$transport" "$image"
        node=${device#/dev/}
        [[ -b ${device}p1 && -b ${device}p2 ]] || die "no partitions when attach returned"
        assert_told_once add "${node}p1" "${node}p2"
        detach "$device"
        assert_told_once remove "${node}p1" "${node}p2"
        assert_eq "$(told add "${node}p1") $(told remove "${node}p1")" "1 1" \
            "the events of partition 1 over $transport in cycle $cycle"
        # A disk of ublk comes and goes; one of nbd is always there, and changes.
        if [[ $transport == ublk ]]; then
            assert_eq "$(told add "$node") $(told remove "$node")" "1 1" "the events of the disk"
        else
            (($(told change "$node") >= 2)) || die "fewer than two changes: $(<events)"
        fi
        [[ ! -e ${device}p1 ]] || die "${device}p1 outlives the device"
    done
done

# A table that is written while the device lives, and a partition that no table knows.
image=$(make_image 32M)
attach "$image"
[[ ! -e ${device}p1 ]] || die "a blank image has partitions"
sfdisk -q "$device" <<<$'label: gpt\nsize=4MiB'
wait_until 20 test -b "${device}p1"
partx --add --nr 1 "$device" 2>/dev/null || true
/usr/bin/python3 - "$device" <<'PYTHON'
import ctypes, fcntl, struct, sys
# struct blkpg_ioctl_arg and struct blkpg_partition of linux/blkpg.h: add partition 5.
partition = ctypes.create_string_buffer(struct.pack("=qqi64s64s4x", 8 << 20, 4 << 20, 5, b"", b""))
BLKPG, ADD = 0x1269, 1
with open(sys.argv[1], "rb") as disk:
    fcntl.ioctl(disk, BLKPG, struct.pack("iiiP", ADD, 0, len(partition),
                                         ctypes.addressof(partition)))
PYTHON
[[ -b ${device}p5 ]] || die "partition 5 was not added"
detach "$device"
[[ ! -e ${device}p5 ]] || die "${device}p5 outlives the device"
cp "$image" copy
wipefs -qaf copy
attach copy
[[ ! -e ${device}p1 && ! -e ${device}p5 ]] || die "partitions from before: $(ls "$device"*)"
detach "$device"

attach --partscan off "$image"
[[ ! -e ${device}p1 ]] || die "partitions in spite of --partscan off"
detach "$device"
assert_nothing_left
