#!/usr/bin/env bash
# What is wrong with an image is told on every host, before what the host lacks.
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
truncate -s 511 tiny
: >empty
mkdir folder
mkfifo pipe

assert_refused "missing: no such file" attach missing
assert_refused "missing/deeper: no such file" attach missing/deeper
assert_refused "folder: is a directory" attach folder
assert_refused "empty: is empty" attach empty
assert_refused "pipe: is a FIFO" attach pipe
assert_refused "/dev/null: is a character device" attach /dev/null
assert_refused "tiny: .*511 bytes .*less than one sector" attach --transport ublk tiny
assert_refused "image: .*offset 2097152 is beyond its end" attach --offset 2M image
assert_refused "image: .*offset 1048576 is beyond its end" attach --offset 1MiB image
assert_refused "image: .*sizelimit 100 is less than one sector" \
    attach --transport ublk --sizelimit 100 image
assert_refused "image: .*offset" attach --offset 1000 --direct-io=on image
# serve tells the same.
assert_refused "missing: no such file" serve missing
# A name with a newline takes one line too.
assert_refused "no such file" attach $'new\nline'
