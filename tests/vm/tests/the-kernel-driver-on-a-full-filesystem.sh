#!/bin/bash
# kernel: 6.12
# timeout: 90
# Reports, without judging, what the kernel's loop driver loses where ringloop must lose nothing.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

mkfs.ext4 -q -m0 "$RAW_DISK" 320M
mount -o data=journal "$RAW_DISK" /mnt
fallocate -l $(($(df --output=avail -k /mnt | tail -n 1) - 6 * 1024))K /mnt/filler
truncate -s 12M /mnt/image
device=$(losetup --find --show /mnt/image)
status=0
"$RINGLOOP_TREE/tests/vm/tools/acknowledged.py" --block 524288 "$device" /mnt/image || status=$?
echo "the kernel's loop driver: exit status $status"
losetup -d "$device"
