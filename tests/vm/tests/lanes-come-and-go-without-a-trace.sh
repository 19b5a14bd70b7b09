#!/bin/bash
# kernel: 6.12
# timeout: 300
# Cgroups are made, used once and removed, CGROUPS of them (20 unless set):
#   CGROUPS=10000 bash tests/vm/tests/lanes-come-and-go-without-a-trace.sh
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
source "$RINGLOOP_TREE/tests/vm/tools/cgroups.sh"

make_cgroup server
in_cgroup server "$RINGLOOP" attach --charge issuer "$(make_image 16M)" >device
device=$(<device)
pid=$(status_value "$device" pid)

use() { # NAME
    mkdir "$cgroups/$1"
    in_cgroup "$1" dd if=/dev/zero of="$device" bs=4k count=1 oflag=direct 2>/dev/null
}
# The lane of a cgroup keeps it from being removed: until it has been idle for long, or at once.
reap_and_remove() { # NAME...
    local name
    "$RINGLOOP" set "$device" --reap-lanes >/dev/null
    for name in "$@"; do
        # A process that is being collected counts for an instant.
        wait_until 5 rmdir "$cgroups/$name" 2>/dev/null
    done
}
count() { # GLOB-EXPANDED...
    echo $#
}
take_stock() { # sets $stock: rss of the server in KiB, its files, processes of the system
    stock=($(awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status") $(count /proc/$pid/fd/*)
        $(count /proc/[0-9]*/))
}

for i in {1..10}; do
    use warm$i
    reap_and_remove warm$i
done
take_stock
before=("${stock[@]}")
total=${CGROUPS:-20}
for ((i = 0; i < total; i += 10)); do
    names=()
    for ((j = i; j < i + 10; j++)); do
        use "tenant$j"
        names+=("tenant$j")
    done
    reap_and_remove "${names[@]}"
done
take_stock
echo "$total cgroups; KiB, files, processes: ${before[*]}, then ${stock[*]}"
((stock[0] <= before[0] + 1024)) || die "the server has grown"
((stock[1] == before[1])) || die "files are left: $(ls -l /proc/$pid/fd)"
((stock[2] <= before[2] + 10)) || die "processes are left: $(ps ax)"
(($(status_value "$device" lanes_started) >= total)) || die "they did not get lanes"
assert_eq "$(status_value "$device" lane_fallbacks)" 0 "requests that no lane carried out"

# An idle one goes by itself.
"$RINGLOOP" set "$device" --lane-idle 1
use late
has_lane late || die "no lane was started"
wait_until 10 has_no_lane late
wait_until 5 rmdir $cgroups/late 2>/dev/null
detach "$device"
assert_nothing_left
