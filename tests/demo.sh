#!/usr/bin/env bash
# Shows ringloop at work: an image is attached, formatted, mounted, filled, checked, detached, and
# read back with the kernel's own loop driver. `make run` is this. On a host without ublk, or
# without root, the same happens in a guest.
#   tests/demo.sh [--here]    --here: on this host, whatever it has
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd)
program=${RINGLOOP:-$tree/build/release/ringloop}

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

why_not_here() {
    if [[ ! -e /dev/ublk-control ]] && ! modinfo ublk_drv &>/dev/null; then
        echo "This kernel ($(uname -r)) has no ublk driver"
    elif [[ $EUID != 0 ]]; then
        echo "Attaching needs root"
    fi
}

clean_up() {
    cd /
    mountpoint -q "$folder/mnt" && umount "$folder/mnt"
    if [[ -n $device && -e $device ]]; then "$program" detach --force "$device"; fi
    rm -rf "$folder"
}

job() {
    folder=$(mktemp -d) device=""
    trap clean_up EXIT
    cd "$folder"
    mkdir mnt
    ln -s "$tree/src" src

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

[[ -x $program ]] || { echo "ringloop: $program is missing; build it with 'make'" >&2; exit 1; }
reason=$(why_not_here)
if [[ ${1:-} == --here || -z $reason ]]; then
    job
else
    say "$reason: the same job runs in a guest with Debian's 6.12 kernel."
    exec "$tree/tests/vm/run.py" --kernel 6.12 --binary "$program" \
        --command 'TMPDIR=$SCRATCH "$RINGLOOP_TREE/tests/demo.sh" --here'
fi
