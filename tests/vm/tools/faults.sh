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

# start_client: one process for all that is done on devices, for starting one takes long in here.
start_client() {
    coproc client {
        exec python3 -ESuc '
import errno, mmap, os, sys
data = mmap.mmap(-1, 65536)

def do(disk, operation, offset, letter):
    if operation == "read":
        os.preadv(disk, [data], offset)
        return data[:1].decode() if data[:] == data[:1] * len(data) else "mixed"
    if operation == "write":
        data[:] = letter.encode() * len(data)
        return "ok" if os.pwrite(disk, data, offset) == len(data) else "short"
    os.fsync(disk)
    return "ok"

for line in sys.stdin:
    device, operation, offset, letter = line.split()
    disk = os.open(device, os.O_RDWR | os.O_DIRECT)
    try:
        print(do(disk, operation, int(offset), letter))
    except OSError as error:
        print(errno.errorcode[error.errno])
    os.close(disk)'
    }
    on_exit "kill $client_PID 2>/dev/null || true"
}

# on_device OPERATION [OFFSET [LETTER]]: sets $result: "ok", what was read, or the error's name.
# OPERATION: read or write, with O_DIRECT, 64 KiB; sync.
on_device() {
    echo "$device $1 ${2:-0} ${3:-x}" >&"${client[1]}"
    read -rt 30 result <&"${client[0]}" || die "'$*' has not ended after 30 s while $now"
}

# expect OPERATION ... RESULT, as of on_device: the last word is what must come of it.
expect() {
    on_device "${@:1:$#-1}"
    assert_eq "$result" "${!#}" "the result of '${*:1:$#-1}' while $now"
}
