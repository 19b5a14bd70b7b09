# What tests of attached devices share; sourced after lib.sh.

# attach IMAGE [OPTION...]: sets $device.
attach() {
    device=$("$RINGLOOP" attach "$@")
    [[ -b $device ]] || die "attach printed '$device', which is no block device"
}

detach() {
    "$RINGLOOP" detach "$@"
}

# json_value FIELD[.FIELD...] <JSON: true, false and null as JSON writes them, texts without quotes.
json_value() {
    python3 -ESc '
import functools, json, sys
path = sys.argv[1].split(".")
value = functools.reduce(lambda node, key: node[key], path, json.load(sys.stdin))
print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

# status_value TARGET FIELD[.FIELD...]
status_value() {
    "$RINGLOOP" status --json "$1" | json_value "$2"
}

# What ringloop left in the system, one line each.
traces() {
    local path
    # The nodes of nbd are always there, this file only while a device is connected.
    for path in /dev/ublkb* /dev/ublkc[0-9]* /sys/block/nbd*/pid /run/ringloop/*; do
        if [[ -e $path ]]; then echo "$path"; fi
    done
}

no_server_runs() {
    ! pidof -q ringloop
}

# Nodes and files must be gone already; a process may still be on its way out.
assert_nothing_left() {
    local left
    left=$(traces)
    [[ -z $left ]] || die "left behind: ${left//$'\n'/, }"
    wait_until 2 no_server_runs
}

# assert_refused REGEX COMMAND...: exit code 1, one line that begins "ringloop: " and matches.
assert_refused() {
    local regex=$1
    shift
    expect_fail "$@"
    assert_eq "$status" 1 "the exit code of '$*' ($output)"
    assert_match "$output" "^ringloop: [^"$'\n'"]+$" "what '$*' printed"
    assert_match "$output" "$regex" "what '$*' printed"
}

drop_caches() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

# kill_server DEVICE: as a crash would, and waits until the process is gone.
kill_server() {
    local pid
    pid=$(status_value "$1" pid)
    kill -KILL "$pid"
    wait_until 10 process_is_gone "$pid"
}

# The guest's first process may take a moment to collect it: a zombie is gone.
process_is_gone() {
    ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"
}

pause() { # SECONDS: lets time pass where time itself is the subject
    read -rt "$1" <> <(:) || true
}

# begin_load [COMMAND...]: writes to $device and reads back every block of it, run by that command,
# for as long as a test needs: until end_load, in turns of five seconds. Sets $load.
begin_load() {
    : >load.on
    while [[ -e load.on ]]; do
        DEVICE=$device SECONDS_TO_RUN=5 "$@" fio "$RINGLOOP_TREE/tests/vm/tools/verify.fio" \
            >fio.log 2>&1 || exit 1
    done &
    load=$!
    on_exit "rm -f load.on; kill $load 2>/dev/null; pkill -x fio"
}

end_load() {
    rm load.on
    wait "$load" || die "the load failed: $(<fio.log)"
}

# Of a load whose pid is in $load, on $device.
load_runs() {
    kill -0 "$load" 2>/dev/null
}
# requests_ended: sets $ended, how many the disk has had.
requests_ended() {
    local counts
    read -ra counts <"/sys/block/${device#/dev/}/stat"
    ended=$((counts[0] + counts[4]))
}
# Since $before was taken of $ended; or the load has ended.
load_went_on() {
    requests_ended
    ((ended >= before + 50)) || ! load_runs
}
