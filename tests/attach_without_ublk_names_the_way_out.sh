#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

if has_ublk; then skip "this host has ublk"; fi
truncate -s 1M image
assert_refused "ublk" attach --transport ublk image
echo "$stderr"
assert_refused "ublk" attach --name data --transport ublk image
assert_refused "ublk" serve --ublk image
assert_refused "ublk" serve --ublk --nbd unix:socket image
[[ ! -e socket ]] || die "the socket is still there"
