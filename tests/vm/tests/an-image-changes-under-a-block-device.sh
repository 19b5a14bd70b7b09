#!/bin/bash
# kernel: 6.12
# timeout: 240
# A block device under a load that reads back every block: its image gets another name, is opened
# direct and buffered, and no request notices. Then it is made read-only and writable again.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

change_under_load() {
    local changes answer words
    begin_load
    for changes in {0..11}; do
        case $((changes % 4)) in
            0) words="--direct-io off" ;;
            1 | 3)
                ln "$image" "$image.$changes"
                words="--backing-file $image.$changes --force"
                ;;
            2) words="--direct-io on" ;;
        esac
        # shellcheck disable=SC2086
        answer=$("$RINGLOOP" set "$device" $words)
        assert_match "$answer" "$device: requests waited for [0-9.]+ ms$"
        requests_ended
        before=$ended
        wait_until 20 load_went_on
    done
    end_load
    echo "the last of 12 changes: $answer"
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
    rm -f "$image"*
    # The driver of nbd says of each detach that it shuts down its sockets.
    complaints=$(dmesg_errors_since "$mark" | grep -v "nbd[0-9]*: shutting down sockets$" || true)
    assert_eq "$complaints" ""
done
assert_nothing_left
