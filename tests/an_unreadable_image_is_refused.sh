#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

as_user=()
if [[ $EUID == 0 ]]; then
    as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    "${as_user[@]}" test -x "$RINGLOOP" || skip "$RINGLOOP cannot be run by another user"
fi
# A user of its own needs folders that it may enter.
TEST_DIR=$(mktemp -d)
trap 'rm -rf "$TEST_DIR"' EXIT
chmod 755 "$TEST_DIR"
export RINGLOOP_RUNTIME_DIR=$TEST_DIR/run
mkdir -m 777 "$RINGLOOP_RUNTIME_DIR"
truncate -s 1M "$TEST_DIR/secret" "$TEST_DIR/fixed"
chmod 000 "$TEST_DIR/secret"
chmod 444 "$TEST_DIR/fixed"

refused_to_user() { # REGEX ARGUMENT...
    run_program "${as_user[@]}" "$RINGLOOP" attach "${@:2}"
    assert_eq "$status" 1 "the exit code ($stderr)"
    assert_match "$stderr" "^ringloop: [^"$'\n'"]*$1" "what was said"
}
refused_to_user "secret: no permission to read" "$TEST_DIR/secret"
refused_to_user "secret: no permission to read" --read-only "$TEST_DIR/secret"
refused_to_user "fixed: no permission to write it; .*--read-only" "$TEST_DIR/fixed"
assert_nothing_left
