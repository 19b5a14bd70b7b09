#!/bin/bash
# kernel: any
# timeout: 120
# The disk below fails under a mounted filesystem and a writer: the writer is told, the filesystem
# can be unmounted, the device detached, and what was synced before is there when the disk is back.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/faults.sh"

make_disk
attach "$disk"
mkfs.ext4 -q "$device"
mount "$device" /mnt
cat >writer.py <<'END_OF_WRITER'
import errno, os, sys, witness
step = 0
try:
    def report(done):
        global step
        step = done
        with open("steps", "w") as file:
            file.write(str(done))
    witness.write_files("/mnt", 100000, report)
except OSError as error:
    print(step, errno.errorcode[error.errno])
END_OF_WRITER
PYTHONPATH=$RINGLOOP_TREE/tests/vm/tools timeout $((60 * patience)) python3 writer.py >said &
writer=$!
on_exit "kill $writer 2>/dev/null || true"
has_written() {
    (($(cat steps 2>/dev/null || echo 0) >= 10))
}
wait_until 40 has_written
disk_fails
wait $writer || die "the writer hangs"
read -r step error <said
assert_match "$error" '^(EIO|EROFS)$' "what the writer was told"
umount /mnt
# It is gone in any case; whether a sync had failed depends on what the filesystem was about.
"$RINGLOOP" detach "$device" 2>told || assert_match "$(<told)" "a sync failed" "what detach said"
assert_nothing_left

disk_works
attach "$disk"
mount "$device" /mnt
PYTHONPATH=$RINGLOOP_TREE/tests/vm/tools python3 -c "
import witness
wrong = witness.check_files('/mnt', $step)
assert not wrong, wrong"
umount /mnt
e2fsck -fn "$device" >fsck.log 2>&1 || die "e2fsck: $(<fsck.log)"
detach "$device"
echo "$step steps were synced before the disk failed; the writer was told $error"
