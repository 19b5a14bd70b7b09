#!/usr/bin/env bash
# Where neither driver is, or may be used, a socket is served; one line says so and why.
source "$(dirname "$0")/lib.sh"

if has_ublk || has_nbd; then skip "this host has a driver for block devices"; fi
truncate -s 1M image
run_program "$RINGLOOP" attach image
assert_eq "$status" 0 "the exit code ($stderr)"
assert_eq "$stdout" "nbd+unix:///?socket=$RINGLOOP_RUNTIME_DIR/socket0.nbd" "the URI"
assert_match "$stderr" "^ringloop: using --transport socket: .*ublk.*nbd" "what attach said"
assert_eq "$(wc -l <.stderr)" 1 "the lines of it"
"$RINGLOOP" detach image
# Who asked for it is told nothing.
run_program "$RINGLOOP" attach --transport socket image
assert_eq "$stderr" "" "what attach said"
"$RINGLOOP" detach image
assert_nothing_left
assert_refused "nbd driver" attach --transport nbd image
