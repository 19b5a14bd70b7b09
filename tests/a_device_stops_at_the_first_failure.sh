#!/usr/bin/env bash
# --on-error stop: after the first change that fails nothing is changed any more, until somebody
# says so; whoever recovers the device is told, too.
self=$(realpath "$0")
source "$(dirname "$0")/lib.sh"
need_python_nbd
if [[ -z ${OWN_MOUNTS:-} ]]; then
    unshare --mount true 2>/dev/null || skip "mounts of its own are not permitted here"
    OWN_MOUNTS=1 TEST_DIR=$TEST_DIR unshare --mount "$self" && exit 0 || exit $?
fi
mkdir -p small
mount -t tmpfs -o size=1m none small || skip "tmpfs cannot be mounted here"

word() { "$RINGLOOP" list | awk 'NR == 2 { print $6 }'; }
# request OP OFFSET: "ok", or the name of the error.
request() {
    python_nbd "$uri" "$@" <<'PYTHON'
import errno, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
op, offset = sys.argv[2], int(sys.argv[3])
try:
    if op == "read":
        client.pread(4096, offset)
    elif op == "write":
        client.pwrite(b"x" * 65536, offset)
    elif op == "trim":
        client.trim(65536, offset)
    elif op == "zero":
        client.zero(65536, offset)
    else:
        client.flush()
    print("ok")
except nbd.Error as error:
    print(errno.errorcode[error.errnum])
PYTHON
}
expect_stopped() { # WHEN
    assert_eq "$(request write 0)" EIO "a write to blocks that are there, $1"
    assert_eq "$(request zero 0)" EIO "zeroing, $1"
    assert_eq "$(request trim 0)" EIO "trim, $1"
    assert_eq "$(request flush 0)" EIO "a flush, $1"
    assert_eq "$(request read 0)" ok "a read, $1"
    assert_eq "$(word)" stopped "the state in list, $1"
    assert_match "$("$RINGLOOP" status socket0)" \
        $'\n'"stopped +yes: the first change that failed was a write \(ENOSPC: [^"$'\n'"]*" "$1"
}

truncate -s 2M small/image
uri=$("$RINGLOOP" attach --nbd unix:s.sock --on-error stop small/image)
assert_eq "$(request write 0)" ok "a write where there is room"
assert_eq "$(request read 1048576)" ok "a read"
dd if=/dev/zero of=small/filler bs=4k 2>/dev/null || true
assert_eq "$(request write 65536)" ENOSPC "a write where there is none"
wait_until 10 eval '[[ $(word) == stopped ]]'
expect_stopped "after it has failed"
assert_match "$("$RINGLOOP" metrics socket0)" $'\n''ringloop_stopped\{[^}]*\} 1'
"$RINGLOOP" set socket0 --on-error report >said
assert_match "$(<said)" "on errors: report now, stop before"
expect_stopped "with another choice for what comes"
kill_server socket0
"$RINGLOOP" recover socket0 >/dev/null
expect_stopped "after a recovery"

rm small/filler
"$RINGLOOP" set socket0 --resume >said
assert_match "$(<said)" "socket0|sock.*: goes on; was stopped"
assert_eq "$(word)" live "the state in list"
assert_eq "$(request write 65536)" ok "a write after --resume"
assert_eq "$(request flush 0)" ok "a flush after --resume"
assert_match "$("$RINGLOOP" status socket0)" $'\n'"on_error +report"$'\n'
kill_server socket0
"$RINGLOOP" recover socket0 >/dev/null
assert_eq "$(request write 65536)" ok "a write after --resume and a recovery"
"$RINGLOOP" detach socket0
rm -r small/*
assert_nothing_left
