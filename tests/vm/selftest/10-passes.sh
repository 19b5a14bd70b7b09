#!/bin/bash
source "$(dirname "$0")/../lib.sh"
on_exit 'echo last'
on_exit 'echo first'
expect_fail sh -c 'echo refused >&2; exit 3'
assert_eq "$status" 3
assert_match "$output" "^refused$"
