#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
attach() {
    "$RINGLOOP" attach --transport socket "$@" image >/dev/null
}
value() { # FIELD
    "$RINGLOOP" status --json image | sed -n "s/^  \"$1\": \"\?\([^\",]*\)\"\?,\?$/\1/p"
}
shows() { # POLICY WORKERS QUEUES
    assert_eq "$(value policy) $(value workers) $(value queues)" "$1 $2 $3" \
        "policy, workers and queues"
}

# Every policy that the help names can be had, says what it does, and its driver's one queue is the
# default for all but the first.
names=$("$RINGLOOP" attach --help | sed -n 's/^ *--policy .*dispatched: \(.*\) \[auto\]$/\1/p')
assert_match "$names" "^auto, .*linux-3.19$" "the policies in the help"
for name in ${names//,/}; do
    attach --policy "$name"
    assert_eq "$(value policy)" "$name"
    [[ $name == auto ]] || assert_eq "$(value queues)" 1 "the queues of $name"
    assert_match "$("$RINGLOOP" status image)" $'\n'"policy +$name: [^"$'\n'"]{20,}"$'\n'
    assert_match "$("$RINGLOOP" status --json image)" '"policy_reason": "[^"]{20,}"'
    "$RINGLOOP" detach image
done

attach
assert_eq "$(value policy) $(value workers)" "auto 16" "the default"
"$RINGLOOP" detach image
attach --policy linux-4.0
shows linux-4.0 512 1
"$RINGLOOP" detach image
attach --policy linux-4.4 --queues 3
shows linux-4.4 3 3 # a worker for each
"$RINGLOOP" detach image
attach --workers 1
shows auto 1 1 # no more queues than workers
"$RINGLOOP" detach image

# What a policy counts is there from the start.
attach --policy linux-3.19
for counter in nowait_attempts nowait_eagain nowait_unsupported hint_skips lane_requests \
    serial_overflow workers_now workers_max_seen blocking_writes merged; do
    assert_match "$("$RINGLOOP" status --json image)" "\"$counter\": 0" "$counter"
done
for counter in passes syscalls context_switches; do
    assert_match "$("$RINGLOOP" status --json image)" "\"$counter\": [0-9]+" "$counter"
done
"$RINGLOOP" detach image

assert_refused "no policy 'fast'; there are auto, .*linux-3.19" attach --policy fast image
assert_refused "--workers 0: use 1 to 512" attach --workers 0 image
assert_refused "--workers 513: use 1 to 512" attach --workers 513 image
assert_refused "--workers 2 and --queues 3: .*--workers 3, or --queues 2" \
    attach --workers 2 --queues 3 image
