#!/bin/bash
# kernel: 6.12
# timeout: 300
# Attach and detach, CYCLES times (25 unless set):
#   CYCLES=1000 bash tests/vm/tests/many-cycles-leak-nothing.sh
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
cycle() {
    attach "$image"
    detach "$device"
}

processes() {
    local all=(/proc/[0-9]*)
    echo ${#all[@]}
}
meminfo_kib() { # NAME...: their sum
    local names
    names=$(IFS='|' && echo "$*")
    awk -v names="^($names):" '$1 ~ names { sum += $2 } END { print sum }' /proc/meminfo
}
# What the kernel and processes hold, without caches of files.
held_kib() {
    drop_caches
    meminfo_kib Slab AnonPages KernelStack PageTables Percpu Shmem
}
open_files() {
    local open _
    read -r open _ </proc/sys/fs/file-nr
    echo "$open"
}

# Until the kernel's own caches are warm.
for _ in {1..5}; do cycle; done
before=($(processes) $(open_files) $(held_kib) $(meminfo_kib MemAvailable))
started_us=${EPOCHREALTIME/./}
cycles=${CYCLES:-25}
for ((i = 0; i < cycles; i++)); do cycle; done
echo "$cycles cycles, $(((${EPOCHREALTIME/./} - started_us) / cycles / 1000)) ms each"
assert_nothing_left
after=($(processes) $(open_files) $(held_kib) $(meminfo_kib MemAvailable))
echo "processes, open files, KiB held, KiB available: ${before[*]}, then ${after[*]}"
# The kernel's workers come and go, and so do some MiB of its free lists; open files it counts to
# about 64. What is lost in every cycle must show, not what is lost once.
((after[0] < before[0] + 20)) || die "processes are left: $(ps ax)"
((after[1] < before[1] + 100)) || die "open files are left"
((after[2] < before[2] + 1024 + 4 * cycles)) || die "memory is held"
((after[3] > before[3] - 24 * 1024 - 32 * cycles)) || die "memory is gone"
