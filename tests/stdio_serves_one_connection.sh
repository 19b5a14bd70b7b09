#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"
need_python_nbd

printf 'content' >image
python_nbd <<'END'
import os
client = nbd.NBD()
client.connect_command([os.environ["RINGLOOP"], "serve", "--stdio", "--export", "x", "image"])
assert client.get_size() == 7
assert client.pread(7, 0) == b"content"
client.pwrite(b"C", 0)
client.shutdown()
END
assert_eq "$(<image)" Content "the image"
assert_nothing_left
assert_refused "stdio: standard input is no connected" serve --stdio image
for input in image /dev/zero; do
    status=0
    "$RINGLOOP" serve --stdio image <"$input" 2>.stderr || status=$?
    assert_eq "$status" 1 "the exit code with $input"
done
status=0
true | "$RINGLOOP" serve --stdio image 2>.stderr || status=$?
assert_eq "$status" 1 "the exit code with a pipe"
assert_match "$(<.stderr)" "a pipe goes one way only" "what it said of a pipe"
refused_status=2 assert_refused "stdio" serve --stdio --nbd unix:s image
refused_status=2 assert_refused "stdio" serve --stdio --name n image
