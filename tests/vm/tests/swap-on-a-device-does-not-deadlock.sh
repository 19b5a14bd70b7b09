#!/bin/bash
# kernel: 6.12
# timeout: 180
# The device is swap. A program that needs twice the memory it may have finishes, with all it
# wrote to memory. The server itself is never swapped out, and the kernel frees memory for it
# without waiting for I/O, which might be its own (PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, by
# PR_SET_IO_FLUSHER, in each of its threads).
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

no_io=$((0x80000)) local_throttle=$((0x100000)) # include/linux/sched.h
# Of all threads of the server, the kernel's workers for its ring included.
assert_flusher() {
    local pid task text flags
    pid=$(status_value "$device" pid)
    assert_eq "$(status_value "$device" io_flusher)" true "io_flusher"
    assert_eq "$(status_value "$device" memory_locked)" true "memory_locked"
    assert_match "$(<"/proc/$pid/status")" 'VmSwap:[[:space:]]+0 kB' "the server's swapped memory"
    threads=0
    for task in /proc/"$pid"/task/*/stat; do
        read -r text <"$task" || continue # a worker that has just gone
        text=${text##*) }
        read -ra text <<<"$text"
        flags=${text[6]}
        ((flags & no_io)) || die "$task lacks PF_MEMALLOC_NOIO: flags $flags"
        ((flags & local_throttle)) || die "$task lacks PF_LOCAL_THROTTLE: flags $flags"
        threads=$((threads + 1))
    done
    ((threads >= 2)) || die "$threads threads were looked at, expected the main one and shards"
}

cat >hungry.py <<'END_OF_HUNGRY'
import mmap
import sys
size = int(sys.argv[1]) << 20
memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for step in (1, 2):
    for page in range(0, size, 4096):
        memory[page:page + 8] = (page * step + 1).to_bytes(8, "little")
    for page in range(0, size, 4096):
        found = int.from_bytes(memory[page:page + 8], "little")
        if found != page * step + 1:
            sys.exit(f"page {page} in pass {step} is {found}, expected {page * step + 1}")
END_OF_HUNGRY

make_cgroup hungry
echo 32M >$cgroups/hungry/memory.max
for direct in on off; do
    image=$(make_image 96M)
    attach --direct-io=$direct "$image"
    mkswap "$device" >mkswap.log
    swapon "$device"
    on_exit "swapoff $device 2>/dev/null"
    in_cgroup hungry timeout $((60 * patience)) python3 hungry.py 48 ||
        die "direct-io=$direct: exit status $?"
    written=$(status_value "$device" stats.write.bytes)
    ((written > 16 << 20)) || die "only $written bytes were swapped out, expected 16 MiB and more"
    assert_flusher
    swapoff "$device"
    detach "$device"
    echo "direct-io=$direct: $((written >> 20)) MiB swapped out; $threads threads; $SECONDS s"
done
assert_nothing_left
