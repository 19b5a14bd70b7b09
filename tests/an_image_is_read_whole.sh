#!/usr/bin/env bash
# verify reads an image, or a device's part of one, past its holes; it compares two; on a terminal
# it shows how far it has come.
source "$(dirname "$0")/lib.sh"

# fields NAME...: of the object in $stdout, as a list.
fields() {
    python3 -c 'import json, sys
found = json.load(sys.stdin)
print(json.dumps([found[name] for name in sys.argv[1:]], sort_keys=True))' "$@" <<<"$stdout"
}

truncate -s 64M image
dd if=/dev/urandom of=image bs=1M count=8 seek=4 conv=notrunc status=none
cp --sparse=always image copy
run_program "$RINGLOOP" verify image
assert_eq "$status" 0 "the exit code ($stderr)"
assert_match "$stdout" "/image: 8.0 MiB of 64 MiB read, the rest are holes$"
assert_eq "$stderr" "" "what a file is told of progress"
"$RINGLOOP" verify image --against copy >/dev/null || die "a copy is said to be another"

# Two of its 4-KiB units are different.
printf 'other' | dd of=copy bs=1 seek=$((5 << 20)) conv=notrunc status=none
printf 'other' | dd of=copy bs=1 seek=$((60 << 20)) conv=notrunc status=none
run_program "$RINGLOOP" verify image --against copy --json
assert_eq "$status" 1 "the exit code of what is different"
bad='{"bytes": 4096, "offset": '
assert_eq "$(fields different)" "[[$bad$((5 << 20))}, $bad$((60 << 20))}]]"
assert_match "$stderr" "^ringloop: .*/image: 8192 bytes are not those of copy;"

# A device is its part of the image, by any of its names.
uri=$("$RINGLOOP" attach --transport socket --name part --offset 4M --sizelimit 8M image)
for target in part "$uri"; do
    run_program "$RINGLOOP" verify "$target" --json
    assert_eq "$status" 0 "the exit code for $target ($stderr)"
    assert_eq "$(fields offset size_bytes read_bytes unreadable)" \
        "[$((4 << 20)), $((8 << 20)), $((8 << 20)), []]" "the part of the image that $target is"
done
"$RINGLOOP" detach part

assert_refused "nobody: not attached; see ringloop list" verify nobody
assert_refused "/nobody: .*No such|no such" verify ./nobody
assert_refused "image has 67108864 bytes and .*/short has 512" verify image --against \
    "$(truncate -s 512 short && echo short)"

# On a terminal, and only while it works.
truncate -s 3G large
python3 - "$RINGLOOP" <<'END'
import os, pty, re, sys

pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "verify", "large", "--against", "large"])
text = b""
while True:
    try:
        text += os.read(terminal, 65536)
    except OSError:
        break
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
assert re.search(rb"\rverify: \d+ %, [\d.]+ .iB of 3.0 GiB", text), text
last = text.split(b"\r\x1b[K")[-1].decode()
assert re.fullmatch(r".*/large: 3.0 GiB of 3.0 GiB read, the rest are holes\r\n", last), text
END
