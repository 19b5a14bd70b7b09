#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"
need_program nbdinfo
need_python_nbd

truncate -s 1000001 image
uri=$("$RINGLOOP" attach --transport socket image)

resize() { # EXPECTED-BYTES EXPECTED-TEXT
    assert_match "$("$RINGLOOP" resize image)" "^nbd\+unix:.*: .*\($1 bytes\) $2$"
    assert_eq "$(nbdinfo --size "$uri")" "$1" "the size that a new client sees"
    assert_match "$("$RINGLOOP" status --json image)" "\"size_bytes\": $1,"
    assert_match "$("$RINGLOOP" list --json)" "\"size_bytes\": $1,"
}

resize 1000001 "as before"
truncate -s 3000007 image
resize 3000007 "now, 977 KiB before"

# One that was there before keeps its size, reaches everything that is still there, and is refused
# what is not.
python_nbd "$uri" <<'PYTHON'
import errno, os, subprocess, sys
ringloop = os.environ["RINGLOOP"]
old = nbd.NBD()
old.add_meta_context("base:allocation")
old.connect_uri(sys.argv[1])
old.pwrite(b"kept", 4000)
size = old.get_size()
os.truncate("image", 2000000)
answer = subprocess.run([ringloop, "resize", "--json", "image"], check=True, capture_output=True)
assert b'"previous_size_bytes": 3000007' in answer.stdout, answer
assert old.pread(4, 4000) == b"kept"
assert old.get_size() == size
for refuse, number in ((lambda: old.pread(1, 2000000), errno.EINVAL),
                       (lambda: old.pwrite(b"x", 2000000), errno.ENOSPC)):
    try:
        refuse()
        sys.exit("behind the new end")
    except nbd.Error as error:
        assert error.errnum == number, error
extents = []
old.block_status(size, 0, lambda context, offset, entries, error: extents.extend(entries))
assert sum(extents[::2]) <= size and extents, extents
old.pwrite(b"x", 1999999)
old.flush()
old.shutdown()
PYTHON
resize 2000000 "as before"

# What the image cannot be is refused, and the device stays as it is.
truncate -s 0 image
run_program "$RINGLOOP" resize image
assert_eq "$status" 1 "the exit code for an empty image"
assert_match "$stderr" "^ringloop: .*/image: is empty"
assert_match "$("$RINGLOOP" status --json image)" '"size_bytes": 2000000,'
run_program "$RINGLOOP" resize nowhere
assert_match "$stderr" "^ringloop: nowhere: not attached"
"$RINGLOOP" detach image

# Offset and limit stay.
truncate -s 1M image
"$RINGLOOP" attach --transport socket --offset 512K --sizelimit 1M image >/dev/null
truncate -s 10M image
assert_match "$("$RINGLOOP" resize image)" "\(1048576 bytes\) now, 512 KiB before$"

# Nobody answers for a dead server, and the next one serves what clients know.
truncate -s 700K image
"$RINGLOOP" resize image >/dev/null
truncate -s 10M image
kill_server image
run_program "$RINGLOOP" resize image
assert_match "$stderr" "its server died: ringloop recover socket0$"
"$RINGLOOP" recover image >/dev/null
assert_match "$("$RINGLOOP" status --json image)" '"size_bytes": 192512,'
assert_eq "$(nbdinfo --size "$uri")" 192512 "the size after the recovery"
"$RINGLOOP" detach image
assert_nothing_left
