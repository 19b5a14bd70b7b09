#!/usr/bin/env bash
# An image that is cut short or removed under its device: what clients get, and what is said of it.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
uri=$("$RINGLOOP" attach --transport socket image)
state() { # of the device in list
    "$RINGLOOP" list | awk 'NR == 2 { print $6 }'
}
degraded() { # REGEX, or nothing
    local status
    status=$("$RINGLOOP" status "$uri")
    if [[ -n $1 ]]; then
        assert_match "$status" $'\n'"degraded +yes: $1"$'\n' "what status says"
        assert_eq "$(state)" degraded "the state in list"
        assert_match "$("$RINGLOOP" list --json)" '"state": "live"' "what programs read of it"
    else
        assert_match "$status" $'\n'"degraded +no"$'\n' "what status says"
        assert_eq "$(state)" live "the state in list"
    fi
}
# request OP OFFSET: "ok", or the name of the error.
request() {
    python_nbd "$uri" "$@" <<'PYTHON'
import errno, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
try:
    if sys.argv[2] == "read":
        client.pread(4096, int(sys.argv[3]))
    else:
        client.pwrite(b"x" * 4096, int(sys.argv[3]))
    print("ok")
except nbd.Error as error:
    print(errno.errorcode[error.errnum])
PYTHON
}
degraded ""

# Once a read has met the end, no write makes the file longer than somebody wants it.
truncate -s 512K image
assert_eq "$(request read 524288)" EIO "a read behind the end"
assert_eq "$(state)" degraded "the state in list, though nobody asked for the status"
assert_eq "$(request write 786432)" EIO "a write behind the end"
assert_eq "$(request write 520192)" ok "a write before the end"
assert_eq "$(stat -c %s image)" 524288 "the size of the image"
degraded "the image was cut short, 524288 bytes of the device are missing; 1 request failed: .*"
log=$(cat "$RINGLOOP_RUNTIME_DIR"/*.log)
assert_eq "$(grep -c "cut short" <<<"$log")" 1 "lines of the log about it"
# Looking is enough, too.
truncate -s 256K image
degraded "the image was cut short, 786432 bytes .*"
assert_eq "$(request write 262144)" EIO "a write behind the end that status has seen"
truncate -s 1M image
"$RINGLOOP" resize image >/dev/null
assert_eq "$(request write 786432)" ok "a write to the image that is whole again"
degraded "1 request failed: the first a read .*, at [0-9TZ:-]+"
"$RINGLOOP" detach image

uri=$("$RINGLOOP" attach --transport socket image)
degraded ""
rm image
degraded "its file was removed, and is gone when the device is"
assert_eq "$(request write 786432)" ok "a write to a file without a name"
# Another image makes the device whole.
truncate -s 1M other
"$RINGLOOP" set "$uri" --backing-file other --force >/dev/null
degraded ""
"$RINGLOOP" detach other
assert_nothing_left
