#!/bin/bash
# kernel: any
# timeout: 120
# ^C at any moment: either attach was done before, or nothing is left of it.
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"

# The shell's child is ringloop by now, or was and has finished: then /proc has forgotten it.
has_started() {
    local name
    name=$(cat "/proc/$1/comm" 2>/dev/null) || return 0
    [[ $name == ringloop ]]
}

transport=ublk
if [[ $VM_KERNEL == 6.1 ]]; then transport=nbd; fi
image=$(make_image 8M)
interrupted=0 finished=0
for moment_ms in 1 20 40 60 80 100 130 160 200 250 300 400; do
    # A shell without job control starts its background processes with SIGINT ignored.
    env --default-signal=INT "$RINGLOOP" attach --transport "$transport" "$image" >out 2>err &
    pid=$!
    wait_until 10 has_started $pid
    pause "$(printf '0.%03d' $moment_ms)"
    kill -INT $pid 2>/dev/null || true
    status=0
    wait $pid || status=$?
    echo "$moment_ms ms: $status $(<out)$(<err)"
    if ((status == 0)); then
        finished=$((finished + 1))
        detach "$(<out)"
    else
        interrupted=$((interrupted + 1))
        # Before main() has blocked the signal it still kills, without a word.
        if ((status != 130)) || [[ -s err ]]; then
            assert_eq $status 1 "the exit code after $moment_ms ms"
            assert_match "$(<err)" "^ringloop: [^"$'\n'"]+$" "the message after $moment_ms ms"
        fi
        assert_eq "$(<out)" "" "what attach printed after $moment_ms ms"
    fi
    assert_nothing_left
done
((interrupted >= 3)) || die "only $interrupted were interrupted"
