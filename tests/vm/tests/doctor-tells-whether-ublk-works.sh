#!/bin/bash
# kernel: any
# timeout: 90
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

status=0
text=$("$RINGLOOP" doctor) || status=$?
echo "$text"
"$RINGLOOP" doctor --json >doctor.json || true
verdict=$(python3 -ESc 'import json
doctor = json.load(open("doctor.json"))
health = {finding["topic"]: finding["health"] for finding in doctor["findings"]}
print(doctor["usable"], health["ublk"], health["nbd"], health["io_uring"], health["cgroup"],
      health["issuers"])')
if [[ $VM_KERNEL == 6.1 ]]; then
    assert_eq "$verdict" "True warn ok ok ok ok" "usable, ublk, nbd, io_uring, cgroup, issuers"
    assert_match "$text" "warn +ublk .*kernel" "what doctor says"
    assert_match "$text" "ok +attach +makes /dev/nbdN" "what doctor says"
else
    assert_eq "$verdict" "True ok ok ok ok ok" "usable, ublk, nbd, io_uring, cgroup, issuers"
    assert_match "$text" "ok +attach +makes /dev/ublkbN" "what doctor says"
    assert_match "$text" "ok +ublk .*user recovery" "what doctor says"
fi
assert_eq $status 0 "the exit code"
