#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

run_program "$RINGLOOP" list
assert_eq "$status" 0 "the exit code of list"
assert_eq "$stdout$stderr" "" "the list"
run_program "$RINGLOOP" list --json
assert_eq "$status" 0 "the exit code of list --json"
assert_eq "$stdout" "[]" "the list"
run_program "$RINGLOOP" detach --all
assert_eq "$status" 0 "the exit code of detach --all"
run_program "$RINGLOOP" recover --all
assert_eq "$status" 0 "the exit code of recover --all"

truncate -s 1M image
for verb in status detach recover; do
    assert_refused "nobody" "$verb" nobody
    assert_refused "/dev/ublkb999" "$verb" /dev/ublkb999
    assert_refused "image" "$verb" image
done
