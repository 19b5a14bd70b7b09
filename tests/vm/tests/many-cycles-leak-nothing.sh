#!/bin/bash
# kernel: 6.12
# timeout: 150
# Attach and detach, CYCLES times (100 unless set):
#   CYCLES=1000 bash tests/vm/tests/many-cycles-leak-nothing.sh
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
cycle() {
    attach "$image"
    detach "$device"
}

processes() {
    ls -d /proc/[0-9]* | wc -l
}
available_kib() {
    drop_caches
    awk '/^MemAvailable:/ { print $2 }' /proc/meminfo
}

for _ in 1 2 3 4 5; do cycle; done
processes_before=$(processes) memory_before=$(available_kib) files_before=$(</proc/sys/fs/file-nr)
started_us=${EPOCHREALTIME/./}
cycles=${CYCLES:-100}
for ((i = 0; i < cycles; i++)); do cycle; done
echo "$cycles cycles, $(((${EPOCHREALTIME/./} - started_us) / cycles / 1000)) ms each"
assert_nothing_left
memory=$((memory_before - $(available_kib)))
files=$((${files_before%%$'\t'*} - $(cut -f1 /proc/sys/fs/file-nr)))
echo "memory: $memory KiB less; processes: $processes_before, then $(processes)"
# Workers of the kernel come and go; a process a cycle would show.
(($(processes) < processes_before + 15)) || die "there are more processes: $(ps ax)"
((files > -64)) || die "$((-files)) more open files in the system"
# 32 KiB a cycle would be a leak; the kernel's own caches are worth some MiB.
((memory < 8192 + cycles * 8)) || die "$memory KiB of memory are gone"
