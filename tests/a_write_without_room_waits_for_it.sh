#!/usr/bin/env bash
# --on-error pause: a write that finds the image's filesystem full waits until there is room, while
# everything else goes on; nothing that was acknowledged is missing, and nobody hangs for ever.
self=$(realpath "$0")
source "$(dirname "$0")/lib.sh"
need_python_nbd
# A filesystem of the test's own, which goes with its processes.
if [[ -z ${OWN_MOUNTS:-} ]]; then
    unshare --mount true 2>/dev/null || skip "mounts of its own are not permitted here"
    OWN_MOUNTS=1 TEST_DIR=$TEST_DIR unshare --mount "$self" && exit 0 || exit $?
fi
mkdir -p small
mount -t tmpfs -o size=4m none small || skip "tmpfs cannot be mounted here"

field() { # NAME: of the status, as JSON has it
    "$RINGLOOP" status --json socket0 | sed -n "s/^  \"$1\": \(.*[^,]\),*$/\1/p"
}
held() { (($(field held_requests) $1)); }
word() { "$RINGLOOP" list | awk 'NR == 2 { print $6 }'; }
# Takes all room but this.
leave() { # BYTES
    rm -f small/filler
    dd if=/dev/zero of=small/filler bs=4k 2>/dev/null || true
    truncate -s -"$1" small/filler
}
attach() { # BYTES that are left for it, OPTION...
    rm -f small/*
    # The ring of a server that has ended may have its image open for a moment yet.
    wait_until 10 eval '(($(df --output=used small | tail -n 1) == 0))'
    leave "$1"
    shift
    truncate -s 3M small/image
    uri=$("$RINGLOOP" attach --transport socket "$@" small/image)
}
# Each block has its number in it. "written", or the name of the error.
write_all() {
    python_nbd "$uri" <<'PYTHON'
import errno, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
try:
    for block in range(48):
        client.pwrite(bytes([block + 1]) * 65536, block * 65536)
    client.flush()
    print("written")
except nbd.Error as error:
    print(errno.errorcode[error.errnum])
PYTHON
}
verify() {
    python3 -c '
for block in range(48):
    with open("small/image", "rb") as image:
        image.seek(block * 65536)
        assert image.read(65536) == bytes([block + 1]) * 65536, f"block {block} is not there"'
}
others_go_on() {
    python_nbd "$uri" <<'PYTHON'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
assert client.pread(65536, 0) == b"\1" * 65536
client.pwrite(b"\1" * 65536, 0)  # has its blocks
client.flush()  # covers nothing that waits
client.shutdown()
PYTHON
}

for direct in off on; do
    attach 1M --on-error pause --direct-io=$direct
    write_all >written &
    writer=$!
    wait_until 20 held "== 1"
    wait_until 10 eval '[[ $(word) == paused ]]'
    assert_match "$("$RINGLOOP" status socket0)" \
        $'\n'"paused +yes: 1 request waits for room .* a write \(ENOSPC: .*\), at 20"
    assert_match "$("$RINGLOOP" status socket0)" $'\n'"degraded +no" "what status says"
    assert_match "$("$RINGLOOP" metrics socket0)" $'\n''ringloop_held_requests\{[^}]*\} 1'
    others_go_on
    # Live changes do not wait for what waits.
    "$RINGLOOP" set socket0 --policy linux-4.4 >/dev/null
    held "== 1"
    assert_eq "$(<written)" "" "what the writer says while there is no room"
    rm small/filler
    "$RINGLOOP" set socket0 --resume >resumed
    assert_match "$(<resumed)" "what waited for room is tried again"
    wait "$writer"
    assert_eq "$(<written)" written "what became of the writes"
    verify
    wait_until 10 eval '[[ $(word) == live ]]'
    log=$("$RINGLOOP" log socket0)
    assert_match "$log" "paused: a write found no room: ENOSPC.*no request waits for room any more"
    "$RINGLOOP" detach socket0
done

# By itself, within a second or two.
attach 1M --on-error pause
write_all >written &
writer=$!
wait_until 20 held "== 1"
rm small/filler
wait "$writer"
assert_eq "$(<written)" written "what became of the writes, without a word from anybody"
verify
"$RINGLOOP" detach socket0

# Another choice ends the wait, and so does the end of the device.
for end in "set socket0 --on-error report" "detach socket0 --force"; do
    attach 1M --on-error pause
    write_all >written &
    writer=$!
    wait_until 20 held "== 1"
    begin=$SECONDS
    # shellcheck disable=SC2086
    "$RINGLOOP" $end >/dev/null
    wait "$writer"
    assert_match "$(<written)" "^(ENOSPC|ESHUTDOWN)$" "what the writer hears of '$end'"
    ((SECONDS - begin < 10 * patience)) || die "'$end' took $((SECONDS - begin)) s"
    "$RINGLOOP" detach socket0 2>/dev/null || [[ $end == detach* ]]
done

# A client that has gone leaves nothing that would be written later, however much it had sent.
attach 8K --on-error pause
for writes in 4 400; do
    python_nbd "$uri" "$writes" >ready <<'PYTHON' &
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
data = nbd.Buffer.from_bytearray(bytearray(b"x" * 4096))
for write in range(int(sys.argv[2])):
    client.aio_pwrite(data, (1 << 20) + 4096 * write)
print("sent", flush=True)
while True:
    client.poll(-1)
PYTHON
    writer=$!
    wait_until 20 held ">= ($writes < 128 ? 1 : 100)"
    # The shell's child is python itself, or waits for it.
    pkill -KILL -P "$writer" 2>/dev/null || true
    kill -KILL "$writer" 2>/dev/null || true
    wait "$writer" 2>/dev/null || true
    wait_until 10 held "== 0"
    truncate -s 0 small/image
    truncate -s 3M small/image
    leave 4K
done
"$RINGLOOP" detach socket0
rm -r small/*
assert_nothing_left
