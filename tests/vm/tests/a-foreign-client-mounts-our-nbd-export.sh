#!/bin/bash
# kernel: any
# timeout: 240
# nbd-client, which others wrote, connects the kernel's nbd driver to our Unix socket. With ext4
# over one connection and xfs over four, a filesystem is made, filled and checked, and the kernel's
# own loop driver finds the same files in the image. Then fio verifies what it wrote.
#   NBD_SERVER=nbdkit bash tests/vm/tests/a-foreign-client-mounts-our-nbd-export.sh
# runs it against another server.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

device=/dev/nbd0
socket=/tmp/foreign.sock

serve_image() { # IMAGE: sets $server
    if [[ ${NBD_SERVER:-ringloop} == nbdkit ]]; then
        nbdkit --foreground --unix $socket file "$1" &>server.log &
    else
        "$RINGLOOP" serve --nbd unix:$socket "$1" &>server.log &
    fi
    server=$!
    on_exit "kill $server 2>/dev/null || true"
    wait_until 20 test -S $socket
}

stop_server() {
    kill -TERM "$server"
    local status=0
    wait "$server" || status=$?
    assert_eq "$status" 0 "the server's exit code ($(<server.log))"
    rm -f $socket
}

has_size() {
    [[ $(<"/sys/block/${device#/dev/}/size") == "$1" ]]
}

connect() { # IMAGE OPTION...: and the device has the image's size, to the sector
    local sectors=$(($(stat -c %s "$1") / 512))
    nbd-client -unix $socket $device "${@:2}" &>client.log || die "nbd-client: $(<client.log)"
    on_exit "nbd-client -d $device &>/dev/null || true"
    wait_until 10 has_size "$sectors"
}

disconnect() {
    nbd-client -d $device &>client.log || die "nbd-client -d: $(<client.log)"
    wait_until 10 has_size 0
}

check_filesystem() { # FILESYSTEM
    case $1 in
    ext4) e2fsck -fn $device ;;
    xfs) xfs_repair -n $device ;;
    esac &>check.log || die "fsck of $1: $(<check.log)"
}

round_trip() { # FILESYSTEM OPTION-OF-NBD-CLIENT...
    local filesystem=$1 image mark
    shift
    echo "$filesystem $*, after $SECONDS s"
    image=$(make_image 512M)
    mark=$(dmesg_mark)
    serve_image "$image"
    connect "$image" "$@"
    "mkfs.$filesystem" -q $device
    mount $device /mnt
    cp -r /tmp/tree /mnt/
    rm -r /mnt/tree/removed
    fstrim /mnt
    umount /mnt
    check_filesystem "$filesystem"
    # Before the end, which the driver announces as an error.
    assert_eq "$(dmesg_errors_since "$mark")" "" "what the kernel said"
    disconnect
    stop_server
    mount -o loop,ro "$image" /mnt
    (cd /mnt/tree && sha256sum --quiet --check /tmp/sums)
    umount /mnt
    rm "$image"
}

verify_with_fio() {
    local image
    echo "fio, after $SECONDS s"
    image=$(make_image 128M)
    serve_image "$image"
    connect "$image"
    DEVICE=$device SECONDS_TO_RUN=8 \
        fio --output=fio.log "$RINGLOOP_TREE/tests/vm/tools/verify.fio" || die "fio: $(<fio.log)"
    disconnect
    stop_server
}

mkdir /tmp/tree /tmp/tree/removed
cp /usr/share/common-licenses/* /tmp/tree/
head -c 16M /dev/urandom >/tmp/tree/large
head -c 8M /dev/urandom >/tmp/tree/removed/large
cd /tmp/tree
find . -type f -not -path './removed/*' -print0 | xargs -0 sha256sum >/tmp/sums
cd "$SCRATCH"
round_trip ext4
round_trip xfs -connections 4
verify_with_fio
