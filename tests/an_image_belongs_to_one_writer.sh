#!/usr/bin/env bash
# Two writers of the same bytes would destroy each other's data: the second is refused, and told who
# the first is, whether that is a device of ours or a stranger that locks.
source "$(dirname "$0")/lib.sh"

truncate -s 2M image
attach() { "$RINGLOOP" attach --transport socket "$@"; }
refused() { # REGEX ARGUMENT...
    local regex=$1
    shift
    run_program "$RINGLOOP" attach --transport socket "$@"
    assert_eq "$status" 1 "the exit code of attach $*"
    assert_match "$stderr" "$regex" "what attach $* said"
}

first=$(attach image)
pid=$("$RINGLOOP" status --json image | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
refused "image: in use by .*socket0\.nbd \(pid $pid\).*--read-only.*--allow-overlap" image
refused "in use by" --read-only image
refused "in use by" --offset 1M image
second=$(attach --allow-overlap image)
"$RINGLOOP" detach "$second"
kill_server "$first"
"$RINGLOOP" recover --all >/dev/null
refused "in use by" image
"$RINGLOOP" detach --all

# Readers beside readers, and writers side by side.
attach --read-only image >/dev/null
attach --read-only image >/dev/null
refused "in use by" image
"$RINGLOOP" detach --all
attach --sizelimit 1M image >/dev/null
attach --offset 1M image >/dev/null
refused "in use by" --offset 512K image
"$RINGLOOP" detach --all

# The lock goes with the image, and stays whatever else changes about the device.
cp image other
uri=$(attach image)
"$RINGLOOP" set "$uri" --read-only on >/dev/null
reader=$(attach --read-only image)
run_program "$RINGLOOP" set "$uri" --read-only off
assert_match "$stderr" "image: somebody else has this part of the image locked" "what set said"
refused "in use by" image
"$RINGLOOP" detach "$reader"
"$RINGLOOP" set "$uri" --read-only off >/dev/null
refused "in use by" --read-only image
"$RINGLOOP" set "$uri" --backing-file image --force >/dev/null
refused "in use by" image
"$RINGLOOP" set "$uri" --backing-file other --force >/dev/null
refused "in use by" other
second=$(attach image)
run_program "$RINGLOOP" set "$uri" --backing-file image --force
assert_eq "$status" 1 "the exit code of set to an image in use"
refused "in use by" other
"$RINGLOOP" set "$uri" --size 1M >/dev/null
third=$(attach --offset 1M other)
run_program "$RINGLOOP" set "$uri" --size 0
assert_eq "$status" 1 "the exit code of set to a size that reaches into another device ($stderr)"
"$RINGLOOP" detach "$third"
"$RINGLOOP" set "$uri" --size 0 >/dev/null
refused "in use by" --offset 1M other
"$RINGLOOP" detach --all

# A stranger, as qemu locks its images: a byte of it, in its open file description.
mkfifo locked go
python3 - <<'END_OF_STRANGER' &
import fcntl
import struct
F_OFD_SETLK = 37
with open("image", "r+b") as image:
    fcntl.fcntl(image, F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 100, 1, 0))
    open("locked", "w").close()
    open("go").close()
END_OF_STRANGER
: <locked
refused "in use by pid $! \(python3\)" image
: >go
wait $!
attach image >/dev/null
"$RINGLOOP" detach --all
assert_nothing_left
