#!/usr/bin/env bash
# A hundred devices at once: each, a server and its opener, costs at most 4 MiB of memory (shared
# pages by their share) and no time while nothing happens. How long attach and list take is printed,
# not judged.
source "$(dirname "$0")/lib.sh"

count=100
trap '"$RINGLOOP" detach --all' EXIT
milliseconds() { # COMMAND...
    local start=$EPOCHREALTIME
    "$@" >/dev/null
    echo $(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
}
attach_ms=()
for ((number = 1; number <= count; number++)); do
    truncate -s 1M "image$number"
    attach_ms+=("$(milliseconds "$RINGLOOP" attach --transport socket "image$number")")
done
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
echo "attach: $(median "${attach_ms[@]:0:9}") ms at first, $(median "${attach_ms[@]: -9}") ms" \
    "with $count; list: $(milliseconds "$RINGLOOP" list) ms"

mapfile -t pids < <("$RINGLOOP" list --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
assert_eq "${#pids[@]}" "$count" "servers that are listed"
declare -A opener_of
while read -r pid parent; do
    opener_of[$parent]=$pid
done < <(ps -C ringloop-opener -o pid=,ppid=)
ticks() { # of all of them: utime and stime, proc(5) fields 14 and 15
    for pid in "${pids[@]}"; do cat "/proc/$pid/stat" "/proc/${opener_of[$pid]}/stat"; done |
        awk '{ sum += $14 + $15 } END { print sum }'
}
rests() {
    local before
    before=$(ticks)
    read -r -t 1 <> <(:) || true
    (($(ticks) == before))
}
wait_until 20 rests
before=$(ticks)
read -r -t 3 <> <(:) || true
spent=$(($(ticks) - before))
((spent <= 3)) || die "$spent ticks of CPU time of $count idle servers in 3 s"

largest=$(for pid in "${pids[@]}"; do
    cat "/proc/$pid/smaps_rollup" "/proc/${opener_of[$pid]}/smaps_rollup" |
        awk '/^Pss:/ { sum += $2 } END { print sum }'
done | sort -n | tail -1)
echo "largest PSS: $largest KiB"
((largest <= 4096)) || die "an idle server costs $largest KiB of memory, 4096 are allowed"
"$RINGLOOP" detach --all
assert_nothing_left
