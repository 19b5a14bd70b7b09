#!/usr/bin/env bash
# Standard error is closed, or its disk is full: the exit code is the same, and nothing crashes.
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
check() { # EXIT_CODE ARGUMENT...
    local wanted=$1
    shift
    status=0
    "$RINGLOOP" "$@" >.stdout 2>/dev/full </dev/null || status=$?
    assert_eq "$status" "$wanted" "the exit code of 'ringloop $*' where the disk is full"
    status=0
    "$RINGLOOP" "$@" >.stdout 2>&- </dev/null || status=$?
    assert_eq "$status" "$wanted" "the exit code of 'ringloop $*' without standard error"
}

check 1 status nothing
check 2 no-such-verb
check 1 attach missing
check 1 serve missing
check 1 serve --stdio image
check 2 serve --ready-fd 77 image
check 1 losetup -O NOPE
check 1 losetup --no-such-option
mkdir -p run
echo rubbish >run/disk.json
check 0 list
rm run/disk.json
assert_nothing_left

# No file that a server opens takes the place of what was closed: a log line would go into it.
"$RINGLOOP" serve --nbd unix:s.sock --transport socket image 0<&- 1>&- 2>&- &
server=$!
wait_until 10 test -S s.sock
for fd in 0 1 2; do
    assert_eq "$(readlink "/proc/$server/fd/$fd")" /dev/null "descriptor $fd of the server"
done
kill "$server"
wait "$server"
assert_nothing_left
