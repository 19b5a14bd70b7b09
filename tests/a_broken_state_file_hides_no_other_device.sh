#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

mkdir -p "$RINGLOOP_RUNTIME_DIR"
echo '{"name": "cut' >"$RINGLOOP_RUNTIME_DIR/broken.json"
head -c 100K /dev/zero >"$RINGLOOP_RUNTIME_DIR/large.json"
echo '[]' >"$RINGLOOP_RUNTIME_DIR/array.json"
mkdir "$RINGLOOP_RUNTIME_DIR/folder.json"
run_program "$RINGLOOP" list --json
assert_eq "$status" 0 "the exit code"
assert_eq "$stdout" "[]" "the list"
for name in broken large array folder; do
    assert_match "$stderr" "ringloop: warning: [^"$'\n'"]*$name.json" "the warnings"
done

truncate -s 1M image
run_program "$RINGLOOP" attach --name broken image
assert_eq "$status" 1 "the exit code of attach"
assert_match "$stderr" "^ringloop: [^"$'\n'"]*broken.json[^"$'\n'"]*$" "what attach said"
