#!/bin/bash
# kernel: 6.12
# timeout: 240
# A block device under a load that reads back every block: its image gets another name, is opened
# direct and buffered, dispatched in another way and by more or fewer workers, and no request
# notices. Then it is made read-only and writable again. CHANGES (8 unless set) of each transport:
#   tests/vm/run.py --timeout 3600 --command \
#       'CHANGES=5000 bash /tree/tests/vm/tests/an-image-changes-under-a-block-device.sh'
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

quantile() { # PERCENT COUNT
    sed -n "$((($1 * ($2 - 1) + 99) / 100 + 1))p" pauses.sorted
}

change_under_load() {
    local count=${CHANGES:-8} change answer words held names=("$image" "$image.other")
    ln "${names[@]}"
    : >pauses
    begin_load
    for ((change = 0; change < count; change++)); do
        case $((change % 8)) in
            0) words="--direct-io off" ;;
            1 | 5) words="--backing-file ${names[change / 4 % 2]} --force" ;;
            2) words="--policy linux-5.14" ;;
            3) words="--workers 3" ;;
            4) words="--direct-io on" ;;
            6) words="--policy auto" ;;
            7) words="--workers 9" ;;
        esac
        # shellcheck disable=SC2086
        answer=$("$RINGLOOP" set --json "$device" $words)
        # Another policy or number of workers holds nobody back.
        if [[ $answer =~ \"pause_us\":\ ([1-9][0-9]*) ]]; then
            echo "${BASH_REMATCH[1]}" >>pauses
        fi
        requests_ended
        before=$ended
        wait_until 20 load_went_on
    done
    end_load
    sort -n pauses >pauses.sorted
    held=$(wc -l <pauses)
    ((held >= count / 2)) || die "$held of $count changes say how long requests waited"
    echo "$transport: $count changes, $held of them made requests wait, for" \
        "$(quantile 50 "$held") (p50), $(quantile 99 "$held") (p99)," \
        "$(tail -n 1 pauses.sorted) (largest) us"
    "$RINGLOOP" status --json "$device" >status.json
    for op in write read flush; do
        (($(json_value "stats.$op.requests" <status.json) > 0)) || die "no $op took place"
        assert_eq "$(json_value "stats.$op.errors" <status.json)" 0 "errors of $op"
    done
}

read_only_and_back() {
    mkfs.ext4 -q "$device"
    mkdir -p mnt
    mount "$device" mnt
    echo kept >mnt/file
    assert_refused "still used for writing \(mounted on .*mnt\).*--force" \
        "$RINGLOOP" set "$device" --read-only on
    umount mnt
    "$RINGLOOP" set "$device" --read-only on
    assert_eq "$(blockdev --getro "$device")" 1 "the kernel's flag"
    expect_fail dd if=/dev/zero of="$device" bs=4096 count=1 oflag=direct status=none
    mount -o ro "$device" mnt
    assert_eq "$(<mnt/file)" kept
    umount mnt

    # A read-only device takes any image of the same size, and a dead server's is what it was.
    cp "$image" "$image.copy"
    "$RINGLOOP" set "$device" --backing-file "$image.copy"
    kill_server "$device"
    "$RINGLOOP" recover "$device"
    assert_eq "$(status_value "$device" read_only)" true
    assert_eq "$(status_value "$device" backing_file)" "$image.copy"
    mount -o ro "$device" mnt
    assert_eq "$(<mnt/file)" kept
    umount mnt

    "$RINGLOOP" set "$device" --read-only off
    assert_eq "$(blockdev --getro "$device")" 0 "the kernel's flag"
    mount "$device" mnt
    echo more >mnt/more
    umount mnt
}

for transport in ublk nbd; do
    mark=$(dmesg_mark)
    image=$(make_image 96M)
    attach --transport "$transport" "$image"
    change_under_load
    read_only_and_back
    detach "$device"

    # What the driver itself knows as read-only stays so, and says it.
    attach --transport "$transport" --read-only "$image.copy"
    assert_refused "its driver knows the disk as read-only" \
        "$RINGLOOP" set "$device" --read-only off
    assert_eq "$(blockdev --getro "$device")" 1 "the kernel's flag"
    assert_eq "$(status_value "$device" read_only)" true
    detach "$device"

    # The next device of that number is writable, whatever had been said of the last one.
    attach --transport "$transport" "$image"
    assert_eq "$(blockdev --getro "$device")" 0 "the kernel's flag"
    dd if=/dev/zero of="$device" bs=4096 count=1 oflag=direct status=none
    "$RINGLOOP" set "$device" --read-only on
    kill_server "$device"
    detach "$device"
    [[ ! -b $device ]] || assert_eq "$(blockdev --getro "$device")" 0 "of no device"
    rm -f "$image"*
    # The driver of nbd says of each detach that it shuts down its sockets.
    complaints=$(dmesg_errors_since "$mark" | grep -v "nbd[0-9]*: shutting down sockets$" || true)
    assert_eq "$complaints" ""
done
assert_nothing_left
