# Crashes at any point of what a device wrote; sourced after device.sh. Of the caller: $points.

# record_disk MIB: sets $recorded, a disk whose writes go to a log on RAW_DISK.
record_disk() {
    modprobe dm-log-writes
    truncate -s "$1M" /dev/shm/recorded
    recorded_below=$(losetup --find --show /dev/shm/recorded)
    recorded_bytes=$(($1 << 20))
    # What is left of an older log must not look like the end of this one.
    blkdiscard -f "$RAW_DISK"
    dmsetup create recorded --table \
        "0 $((recorded_bytes / 512)) log-writes $recorded_below $RAW_DISK"
    recorded=/dev/mapper/recorded
}

stop_recording() {
    dmsetup remove recorded
    losetup -d "$recorded_below"
    rm /dev/shm/recorded
}

# work FILESYSTEM STEPS: formats $device, writes files there, detaches it.
work() {
    "mkfs.$1" -q "$device"
    mount "$device" /mnt
    "$RINGLOOP_TREE/tests/vm/tools/crash_replay.py" work /mnt recorded "$2"
    umount /mnt
    detach "$device"
}

check_crashes() { # FILESYSTEM [--below FILESYSTEM]
    "$RINGLOOP_TREE/tests/vm/tools/crash_replay.py" check "$RAW_DISK" "$recorded_bytes" "$1" \
        "$points" "${@:2}" || die "a crash left less than was synced"
}

# crash_on_disk FILESYSTEM MIB STEPS [OPTION...]: the image is the recorded disk.
crash_on_disk() {
    record_disk "$2"
    attach "${@:4}" "$recorded"
    work "$1" "$3"
    stop_recording
    check_crashes "$1"
}

# crash_in_file FILESYSTEM STEPS BELOW MIB [OPTION...]: the image is a file on the recorded disk.
crash_in_file() {
    record_disk "$4"
    "mkfs.$3" -q "$recorded"
    mkdir below
    mount "$recorded" below
    truncate -s 48M below/image
    attach "${@:5}" below/image
    work "$1" "$2"
    umount below
    stop_recording
    check_crashes "$1" --below "$3"
}
