#!/bin/bash
# kernel: 6.12
# timeout: 180
# Writes to an image whose filesystem is full fail with ENOSPC, and with nothing else, also where a
# quota is what is full; none that was acknowledged is missing afterwards. docs/full-disk.md has all
# combinations.
source "$(dirname "$0")/../lib.sh"

# check FILESYSTEM MODE BLOCKS FILLS
check() {
    "$RINGLOOP_TREE/tests/full_disk.py" --device ringloop --folder /dev/shm --filesystem "$1" \
        --mode "$2" --block "$3" --fills "$4" --json result.json || die "$1, $2: exit status $?"
    python3 -c '
import json
for cell in json.load(open("result.json"))["cells"]:
    assert cell["acknowledged"] > 0 and cell["fills"] > 0, f"nothing was tried: {cell}"
    assert set(cell["write_errors"]) == {"ENOSPC"}, f"expected ENOSPC and no other: {cell}"
    assert not cell["fsync_errors"], f"fsync failed: {cell}"'
}

check ext4,xfs-quota,tmpfs buffered 512K 4
check xfs,btrfs direct 512K 2
# Here the kernel's driver loses most.
check ext4-journal buffered 64K,512K 4
