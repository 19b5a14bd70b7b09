#!/usr/bin/env bash
# A lane has the image open too: whatever takes its place, no request is served by the old one. On a
# host whose cgroups are of version 1.
tool=$(cd "$(dirname "$0")" && pwd)/live_changes.py
source "$(dirname "$0")/lib.sh"
need_python_nbd
blkio=/sys/fs/cgroup/blkio memory=/sys/fs/cgroup/memory
[[ $EUID == 0 ]] || skip "only root makes cgroups"
[[ -e $blkio/blkio.throttle.io_service_bytes && -e $memory/memory.usage_in_bytes ]] ||
    skip "blkio and memory are no hierarchies of version 1 here"
tenant=ringloop-test-$$
mkdir "$blkio/$tenant" "$memory/$tenant" 2>/dev/null || skip "no cgroups can be made here"
trap 'wait_until 10 rmdir "$blkio/$tenant" "$memory/$tenant" 2>/dev/null' EXIT
export RINGLOOP

/usr/bin/python3 "$tool" --rounds 6 --charge "/$tenant" \
    --changes policy,direct-io,read-only,backing-file,backing-file-force >changes.json ||
    die "live_changes.py failed: $(<changes.json)"
python3 - <<'PYTHON'
import json
for name, result in json.load(open("changes.json")).items():
    if "skipped" in result:
        print(name, result["skipped"])
        continue
    # Each change of the image ends the lane; the next request has one of its own.
    assert result["lanes_started"] >= (1 if name == "policy" else 6), (name, result)
    assert result["lane_fallbacks"] == 0, (name, result)
    print(name, result["pause_us"])
PYTHON

# The process that lanes come from lets go of the old image with them.
truncate -s 1M old new
"$RINGLOOP" attach old --name served --charge "/$tenant" --nbd unix:socket >/dev/null
server=$("$RINGLOOP" status --json served | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' | tail -1)
holders() { # IMAGE: descriptors of the server and its children
    local pid
    for pid in "$server" $(pgrep -P "$server"); do
        find "/proc/$pid/fd" -lname "$PWD/$1" 2>/dev/null
    done
}
[[ -n $(holders old) ]] || die "nobody has the image open"
"$RINGLOOP" set served --backing-file new --force >/dev/null
assert_eq "$(holders old)" "" "who still has the old image open"
[[ -n $(holders new) ]] || die "nobody has the new image open"
"$RINGLOOP" detach served
assert_nothing_left
