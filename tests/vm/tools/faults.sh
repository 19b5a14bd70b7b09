# A disk that fails when it is told to; sourced after device.sh.

# make_disk: sets $disk, a mapping of some of RAW_DISK that works, for now.
make_disk() {
    modprobe dm-mod
    disk_sectors=$((64 << 11))
    dmsetup create faulty --table "0 $disk_sectors linear $RAW_DISK 0"
    disk=/dev/mapper/faulty
    on_exit "dmsetup remove faulty"
}

# disk_becomes TARGET [ARGUMENT...]: from now on, and for what is already in flight above it.
disk_becomes() {
    dmsetup suspend --noflush --nolockfs faulty
    dmsetup load faulty --table "0 $disk_sectors $*"
    dmsetup resume faulty
}

disk_works() { disk_becomes linear "$RAW_DISK" 0; }
disk_fails() { disk_becomes error; }
# From now on for half an hour, after no time at all in which it works.
writes_fail() { disk_becomes flakey "$RAW_DISK" 0 0 1800 1 error_writes; }
writes_vanish() { disk_becomes flakey "$RAW_DISK" 0 0 1800 1 drop_writes; }

# on_device OPERATION [OFFSET [LETTER]]: prints "ok", what was read, or the name of the error.
# OPERATION: read or write, with O_DIRECT, 64 KiB; sync.
on_device() {
    timeout 30 python3 -ESc '
import errno, mmap, os, sys
device, operation, offset, letter = sys.argv[1:]
disk = os.open(device, os.O_RDWR | os.O_DIRECT)
data = mmap.mmap(-1, 65536)
try:
    if operation == "read":
        os.preadv(disk, [data], int(offset))
        print(data[:1].decode() if data[:] == data[:1] * len(data) else "mixed")
    elif operation == "write":
        data[:] = letter.encode() * len(data)
        print("ok" if os.pwrite(disk, data, int(offset)) == len(data) else "short")
    else:
        os.fsync(disk)
        print("ok")
except OSError as error:
    print(errno.errorcode[error.errno])' "$device" "$1" "${2:-0}" "${3:-x}"
}

# expect OPERATION ... RESULT, as of on_device: the last word is what it must print.
expect() {
    assert_eq "$(on_device "${@:1:$#-1}")" "${!#}" "the result of '${*:1:$#-1}' while $now"
}
