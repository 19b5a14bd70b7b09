#!/bin/bash
# kernel: 6.12
# timeout: 180
# A device is attached and detached while others open it, probe it and ask for its partitions to be
# read: each attach finds its partitions, and no scan fails because the disk is busy. (blktests
# loop/010, which takes 90 seconds; loop/003)
#   SECONDS_TO_RUN=90 bash tests/vm/tests/probes-race-with-attach-and-detach.sh
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 32M)
sfdisk -q "$image" <<<$'label: gpt\nsize=8MiB\nsize=8MiB'
mark=$(dmesg_mark)
: >probes.on
# One process instead of many: it opens and reads faster than any program that is started.
/usr/bin/python3 - >probes.log <<'PYTHON' &
import fcntl, glob, os
BLKRRPART = 0x125f
opened = reread = 0
while os.path.exists("probes.on"):
    for path in glob.glob("/dev/ublkb*"):
        try:
            disk = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        opened += 1
        try:
            os.pread(disk, 4096, 0)
            if opened % 16 == 0 and "p" not in path.removeprefix("/dev/ublkb"):
                fcntl.ioctl(disk, BLKRRPART)
                reread += 1
        except OSError:
            pass
        os.close(disk)
print(opened, reread)
PYTHON
probes=$!
on_exit "rm -f probes.on; kill $probes 2>/dev/null"

cycles=0
end=$((SECONDS + ${SECONDS_TO_RUN:-12}))
while ((SECONDS < end || cycles < 3)); do
    attach "$image"
    wait_until 20 test -b "${device}p1" -a -b "${device}p2"
    detach --timeout 30 "$device"
    cycles=$((cycles + 1))
done
rm probes.on
wait $probes
read -r opened reread <probes.log
echo "$cycles cycles, opened $opened times, partitions read again $reread times"
((opened >= cycles)) || die "nobody probed"
# A probe that has opened a disk in the moment in which it goes may well read an error.
assert_eq "$(dmesg | sed "1,/$mark/d" | grep -E 'partition scan|rc=-16' || true)" "" \
    "what the kernel complained about"
assert_nothing_left
