#!/bin/bash
source "$(dirname "$0")/../lib.sh"
assert_eq "$(find "$SCRATCH" /tmp -mindepth 1 ! -name lost+found)" "" "files"
assert_eq "$(losetup -a)" "" "loop devices"
assert_eq "$(findmnt -rn -o TARGET | grep -c "^$SCRATCH/" || true)" 0 "mounts in $SCRATCH"
[[ ! -e /sys/fs/cgroup/forgotten ]] || die "a cgroup is left"
