#!/bin/bash
# kernel: 6.12
# timeout: 90
# --sizelimit and --offset against images that are smaller, odd or grow: the kernel's sectors are
# what there is. (LTP ioctl_loop01, ioctl_loop04, ioctl_loop07)
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

sectors() {
    cat "/sys/block/${device#/dev/}/size"
}
image=$(make_image 10M)
# options, then the sectors of the device
while read -r -a words; do
    attach "${words[@]:1}" "$image"
    assert_eq "$(sectors)" "${words[0]}" "the sectors with '${words[*]:1}'"
    assert_eq "$(status_value "$device" size_bytes)" $((words[0] * 512)) "size_bytes"
    detach "$device"
done <<'TABLE'
20480
10240 --sizelimit 5M
20480 --sizelimit 20M
18432 --offset 1M
2048 --offset 1M --sizelimit 1M
18432 --offset 1M --sizelimit 64M
1 --sizelimit 1000
TABLE
# Half a sector at the end is no sector.
truncate -s $(((10 << 20) + 700)) "$image"
attach "$image"
assert_eq "$(sectors)" 20481 "the sectors of an odd image"
detach "$device"
assert_refused "offset|nothing|behind" "$RINGLOOP" attach --offset 64M "$image"

# A limit holds when the image grows, and lets more of it be seen when it is lifted.
attach --transport nbd --sizelimit 4M "$image"
truncate -s 20M "$image"
"$RINGLOOP" set "$device" --size 6M
assert_eq "$(sectors)" 12288 "the sectors with a higher limit"
"$RINGLOOP" set "$device" --size 0
assert_eq "$(sectors)" 40960 "the sectors without a limit"
detach "$device"
assert_nothing_left
