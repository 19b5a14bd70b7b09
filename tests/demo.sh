#!/usr/bin/env bash
# Shows ringloop at work; `make run` is this. Where ublk is and one is root: an image is attached,
# formatted, mounted, filled, checked, detached, and read back with the kernel's own loop driver.
# Elsewhere: an image with a filesystem in it is attached to a socket, described, copied, written,
# verified and measured by clients that others wrote, and detached. That needs no module, no root.
#   tests/demo.sh [--here | --socket | --guest]
#     --here     as a block device of this host, whatever it has
#     --socket   over the socket
#     --guest    as a block device of a guest with Debian's 6.12 kernel, under emulation
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd)
program=${RINGLOOP:-$tree/build/release/ringloop}
# fio's engine and nbdcopy's targets are in Debian's own folders.
PATH=/usr/bin:/usr/sbin:/sbin:$PATH

say() {
    echo "# $*"
}

# step COMMAND...: shows it as it would be typed, then runs it.
step() {
    echo "\$ $*"
    "$@"
}

ringloop() {
    "$program" "$@"
}

has_ublk() {
    [[ -e /dev/ublk-control ]] || modinfo ublk_drv &>/dev/null
}

# What `auto` takes. Elsewhere it is not asked: with nbd.ko it would want root and make a device.
choice() {
    if modinfo nbd &>/dev/null || has_ublk; then echo socket; else echo auto; fi
}

clean_up() {
    cd /
    mountpoint -q "$folder/mnt" && umount "$folder/mnt"
    if [[ -n $device ]]; then "$program" detach --force "$device" || true; fi
    rm -rf "$folder"
}

prepare() {
    folder=$(mktemp -d) device=""
    trap clean_up EXIT
    cd "$folder"
    ln -s "$tree/src" src
}

on_a_block_device() {
    prepare
    mkdir mnt
    step truncate -s 256M disk.img
    # Not in a substitution of its own, so that its errors are seen and end the demo.
    step ringloop attach disk.img | tee attached
    device=$(tail -n 1 attached)
    step mkfs.ext4 -q "$device"
    step mount "$device" mnt
    step cp -rL src mnt/
    step umount mnt
    step e2fsck -fn "$device" 2>/dev/null
    step ringloop status disk.img
    step ringloop detach disk.img
    [[ ! -e $device ]] || { say "$device is still there"; exit 1; }
    device=""
    say "Now the same image under the kernel's loop driver:"
    step mount -o loop,ro disk.img mnt
    step diff -r src/ mnt/src
    local files
    files=$(find mnt/src -type f | wc -l)
    step umount mnt
    say "Proven: $files files, written through ringloop, are the same when the kernel's own driver"
    say "reads the image; the filesystem is clean; the device is gone."
}

# measure TITLE OPTION...: four seconds of fio against the device, one line.
measure() {
    local title=$1
    shift
    fio --name=measure --ioengine=nbd --uri="$device" --time_based --runtime=4 --offset=256m \
        --size=256m --randrepeat=0 --norandommap --unified_rw_reporting=1 --output-format=terse \
        --terse-version=3 --output=fio.terse "$@"
    # The eighth column counts I/Os a second, the seventh KiB a second.
    awk -F';' -v title="$title" '/^3;/ {
        printf "  %-36s %9d I/Os a second %7d MiB/s\n", title, $8, $7 / 1024 }' fio.terse
}

# The image's first half is a filesystem with files in it, the second is free for other data.
over_a_socket() {
    local files
    prepare
    say "An image with a filesystem of 256 MiB in it, made of the program's own source:"
    step mkfs.ext4 -q -d src/ disk.img 256M
    files=$(find src/ -type f | wc -l)
    step truncate -s 512M disk.img
    step ringloop attach --transport "${1:-auto}" disk.img | tee attached
    device=$(tail -n 1 attached)
    step ringloop list
    say "What a client sees of it:"
    step nbdinfo "$device"
    say "A copy of all of it, taken through ringloop, is the image itself, and no less sparse:"
    step nbdcopy "$device" copy.img
    step cmp copy.img disk.img
    step du -h disk.img copy.img
    say "Data with a checksum in each block, written and read back over two connections:"
    step fio --name=verify --ioengine=nbd --uri="$device" --rw=randwrite --bs=4k --iodepth=16 \
        --offset=256m --size=64m --numjobs=2 --offset_increment=64m --verify=crc32c \
        --verify_fatal=1 --fsync=256 --group_reporting --output=verify.txt
    grep -E '^ +(read|write):' verify.txt
    say "How fast that is here:"
    measure "4 KiB random reads, 32 at a time" --rw=randread --bs=4k --iodepth=32
    measure "4 KiB random writes, 32 at a time" --rw=randwrite --bs=4k --iodepth=32
    measure "256 KiB reads in order, 8 at a time" --rw=read --bs=256k --iodepth=8
    step ringloop status disk.img
    step ringloop detach disk.img
    [[ ! -e ${device#*socket=} ]] || { say "$device is still there"; exit 1; }
    device=""
    step truncate -s 256M disk.img
    step e2fsck -fn disk.img 2>/dev/null
    say "Proven: clients that others wrote read what is in the image and read back what they had"
    say "written; the filesystem with its $files files is clean; the socket is gone."
}

[[ -x $program ]] || { echo "ringloop: $program is missing; build it with 'make'" >&2; exit 1; }
case ${1:-} in
--here) on_a_block_device ;;
--socket) over_a_socket socket ;;
--guest)
    exec "$tree/tests/vm/run.py" --kernel 6.12 --binary "$program" \
        --command 'TMPDIR=$SCRATCH "$RINGLOOP_TREE/tests/demo.sh" --here'
    ;;
"") if has_ublk && [[ $EUID == 0 ]]; then on_a_block_device; else over_a_socket "$(choice)"; fi ;;
*)
    echo "ringloop: $0 knows --here, --socket and --guest, not '$1'" >&2
    exit 2
    ;;
esac
