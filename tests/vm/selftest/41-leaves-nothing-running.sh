#!/bin/bash
source "$(dirname "$0")/../lib.sh"
[[ -z $(pgrep -x sleep -a | grep 1000) ]] || die "the hanging test is still there"
[[ -z $(ls "$SCRATCH" | grep -v lost+found) ]] || die "$SCRATCH is not empty"
mkdir "$SCRATCH/directory" /sys/fs/cgroup/forgotten
touch "$SCRATCH/.hidden" /tmp/file
mount -t tmpfs tmpfs "$SCRATCH/directory"
losetup -f "$(make_image 1M)"
