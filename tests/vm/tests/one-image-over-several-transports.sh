#!/bin/bash
# kernel: any
# timeout: 150
# A block device and sockets of one server: what one has flushed, the others read, and a recovery
# brings all of them back.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

/usr/bin/python3 -c "import nbd" 2>/dev/null || skip "libnbd's Python module is missing"
cat >client.py <<'END'
import mmap, nbd, os, sys
device, socket, letter = sys.argv[1:]
disk = os.open(device, os.O_RDWR | os.O_DIRECT)
page = mmap.mmap(-1, 4096)
client = nbd.NBD()
client.connect_uri("nbd+unix:///?socket=" + socket)
assert client.can_multi_conn()
page.write(letter.encode() * 4096)
os.pwrite(disk, page, 8192)
client.flush()  # covers the other transport's write
assert client.pread(4096, 8192) == letter.encode() * 4096
client.pwrite(letter.lower().encode() * 512, 12288, nbd.CMD_FLAG_FUA)
os.preadv(disk, [page], 12288)
assert page[:513] == letter.lower().encode() * 512 + b"\0"
client.shutdown()
END

both_serve() { # LETTER
    /usr/bin/python3 client.py "$device" "$PWD/image.sock" "$1"
}

transports=(nbd)
[[ $VM_KERNEL == 6.1 ]] || transports+=(ublk)
for transport in "${transports[@]}"; do
    image=$(make_image 16M)
    attach --transport "$transport" --nbd "unix:$PWD/image.sock" "$image"
    assert_match "$("$RINGLOOP" list)" "$device .* $transport\+socket +live" "the list"
    both_serve A
    kill_server "$device"
    assert_eq "$("$RINGLOOP" recover "$device")" "$device" "what recover printed"
    dd if=/dev/zero of="$device" bs=4k seek=3 count=1 oflag=direct status=none
    both_serve B
    assert_eq "$(dd if="$image" bs=1 skip=12288 count=3 status=none)" bbb "the image"
    detach "$image"
    [[ ! -e image.sock ]] || die "the socket is still there"
    assert_nothing_left
done
