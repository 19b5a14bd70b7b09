#!/bin/bash
# kernel: 6.12
# timeout: 90
# No CPU time while nothing happens, and at most 4 MiB of memory (shared pages by their share).
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

image=$(make_image 8M)
attach "$image"
pid=$(pidof ringloop)

cpu_ticks() { # of all threads: utime and stime, proc(5) fields 14 and 15
    awk '{ print $14 + $15 }' "/proc/$pid/stat"
}
switches() {
    cat /proc/"$pid"/task/*/status | awk '/ctxt_switches/ { sum += $2 } END { print sum }'
}
rests() {
    local ticks
    ticks=$(cpu_ticks)
    pause 1
    (($(cpu_ticks) == ticks))
}
# The kernel and others look at a new disk for a moment.
wait_until 20 rests
before=$(cpu_ticks) switches_before=$(switches)
pause 3
# A tick may hit a worker of the kernel that ends after five idle seconds; the next line counts it.
spent=$(($(cpu_ticks) - before))
((spent <= 1)) || die "$spent ticks of CPU time in 3 s"
(($(switches) - switches_before <= 4)) || die "$(($(switches) - switches_before)) wakeups in 3 s"

awk '/^(Rss|Pss|Private|Locked|Anonymous|Shared)/' "/proc/$pid/smaps_rollup"
pss=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup")
rss=$(awk '/^Rss:/ { print $2 }' "/proc/$pid/smaps_rollup")
echo "Rss $rss KiB, Pss $pss KiB"
((pss <= 4096)) || die "an idle server costs $pss KiB of memory, 4096 are allowed"
detach "$device"
