#!/bin/bash
# kernel: 6.12
# timeout: 200
# The same command lines, one after the other, given to util-linux with the kernel's loop devices
# and to ours: the same output and exit code, but for the device's name and the width of columns.
# What is meant to differ stands in ringloop-losetup(8), and at the end of this test.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

modprobe loop
truncate -s 8M disk.img
truncate -s 4M other.img
truncate -s 1000100 odd.img
sfdisk -q disk.img <<<$'label: gpt\nstart=1MiB, size=2MiB'
cp other.img "with space.img"

# A line that begins with = begins anew: everything is detached, and what follows makes DEV. The
# lines behind it are compared, one after the other. FREE is a device that is not there yet.
lines=(
    "="
    ""
    "-a"
    "-l"
    "-J"
    "-o 1X -f disk.img"
    "-f --show missing.img"
    "-f --show /tmp"
    "-d FREE"
    "= -f --show --direct-io=on disk.img"
    ""
    "-a"
    "DEV"
    "-l DEV"
    "-l -n"
    "--raw"
    "-J"
    "-O NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN"
    "-l -O NAME,NONE,RO"
    "-l -O +PARTSCAN"
    "-J -O name,ro,offset"
    "-j disk.img"
    "-j other.img"
    "-L -f --show --direct-io=on disk.img"
    "-L -f --show -o 1M disk.img"
    "DEV other.img"
    "-c FREE"
    "-d DEV"
    "-a"
    "= -f --show -P -r --direct-io=off disk.img"
    "-l -O PARTSCAN,DIO,RO,NAME"
    "-D"
    "-a"
    "= -f --show -o 1M --sizelimit 1048576 -b 4096 --direct-io=on disk.img"
    "-l"
    "-a"
    "-l -O LOG-SEC,NAME"
    "-j disk.img -o 0"
    "-j disk.img -o 1048576"
    "-L -f --show --sizelimit 1M disk.img"
    "= -f --show --direct-io=on with\\ space.img"
    "-l --raw"
    "-a"
    "="
    "-f --show --direct-io=on disk.img"
    "="
    "-f --direct-io=on disk.img"
    "="
    "FREE other.img"
    "="
    "-f --show odd.img"
)

program() { # theirs|ours ARGUMENT...
    if [[ $1 == theirs ]]; then losetup "${@:2}"; else "$RINGLOOP" losetup "${@:2}"; fi
}

begin() { # theirs|ours ARGUMENT...
    program "$1" -D
    wait_until 10 eval "[[ -z \$(program $1 -a) ]]"
    made=""
    free=$(program "$1" -f)
    (($# == 1)) && return
    made=$(program "$@")
    free=$(program "$1" -f)
}

# What all lines say, with the devices called DEV and FREE, and columns as wide as one blank.
play() { # theirs|ours
    local made free line words code
    for line in "${lines[@]}"; do
        echo "losetup $line"
        if [[ $line == =* ]]; then
            eval "words=(${line#=})"
            begin "$1" ${words[@]+"${words[@]}"}
            continue
        fi
        line=${line//DEV/"$made"}
        eval "words=(${line//FREE/"$free"})"
        code=0
        program "$1" ${words[@]+"${words[@]}"} >said 2>&1 || code=$?
        echo "exit code $code"
        sed -E "s|${made:-NOTHING}|DEV|g; s|$free|FREE|g; s/ +/ /g; s/ $//" said
    done
    begin "$1"
}

play theirs >theirs
play ours >ours
if ! diff -U3 theirs ours >&2; then die "ours differs from util-linux's"; fi
echo "${#lines[@]} command lines"

# What differs on purpose.
device=$("$RINGLOOP" losetup -f --show disk.img)
mkfs.ext4 -q "$device"
mount "$device" /mnt
expect_fail "$RINGLOOP" losetup -d "$device"
assert_match "$output" "detach failed: .*mounted on /mnt" "detach of a mounted device"
expect_fail "$RINGLOOP" losetup --remove "$device"
expect_fail "$RINGLOOP" losetup -b 4096 "$device"
umount /mnt
"$RINGLOOP" losetup -d "$device"
truncate -s 0 empty.img
expect_fail "$RINGLOOP" losetup -f --show empty.img

# Of many at the same time each gets a device of its own, or with -L all the same one.
for number in 1 2 3 4 5 6; do
    "$RINGLOOP" losetup -f --show other.img >"found.$number" &
    "$RINGLOOP" losetup -L -f --show disk.img >"shared.$number" &
done
wait
assert_eq "$(sort -u found.* | wc -l)" 6 "devices of six that asked for one"
assert_eq "$(sort -u shared.* | wc -l)" 1 "devices of six that would share one"
"$RINGLOOP" losetup -D
assert_nothing_left
