#!/bin/bash
# kernel: 6.12
# timeout: 120
# Each sector size that a device may have shows in the kernel and gives the same bytes; others are
# refused before there is a device. (blktests loop/002, LTP ioctl_loop06)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

dd if=/dev/urandom of=image bs=1M count=4 status=none
sum=$(sha256sum <image)
for transport in ublk nbd; do
    for size in 512 1024 2048 4096; do
        attach --transport "$transport" --sector-size "$size" image
        assert_eq "$(blockdev --getss "$device")" "$size" "the logical block size over $transport"
        (($(blockdev --getpbsz "$device") >= size)) || die "smaller physical blocks than logical"
        assert_eq "$(blockdev --getsize64 "$device")" $((4 << 20)) "the size"
        assert_eq "$(dd if="$device" bs=1M iflag=direct status=none | sha256sum)" "$sum" \
            "what is read by sectors of $size over $transport"
        dd if="$device" of="$device" bs="$size" count=16 iflag=direct oflag=direct conv=notrunc \
            status=none
        detach "$device"
    done
done
assert_eq "$(sha256sum <image)" "$sum" "the image, written back to itself"
for size in 0 256 513 1234 3072 8192 1M; do
    assert_refused "sector-size" "$RINGLOOP" attach --sector-size "$size" image
done
assert_nothing_left
