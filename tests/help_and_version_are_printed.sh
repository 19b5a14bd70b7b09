#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

run_program "$RINGLOOP" --version
assert_eq "$status" 0 "the exit code"
assert_match "$stdout" '^ringloop [0-9]+\.[0-9]+\.[0-9]+$' "the version"

run_program "$RINGLOOP" --help
assert_eq "$status" 0 "the exit code"
for verb in attach serve detach list status recover doctor stats top log metrics; do
    assert_match "$stdout" "  $verb " "the help"
done

run_program "$RINGLOOP" attach --help
assert_eq "$status" 0 "the exit code"
for option in name transport offset sizelimit read-only sector-size direct-io queues depth charge \
    lane-idle metrics json; do
    assert_match "$stdout" "--$option" "the help of attach"
done
run_program "$RINGLOOP" set --help
for option in policy workers lane-idle reap-lanes json; do
    assert_match "$stdout" "--$option" "the help of set"
done
assert_match "$("$RINGLOOP" list --help)" "--lanes" "the help of list"

# An answer that cannot be written is no success.
RINGLOOP=$RINGLOOP run_program bash -c '"$RINGLOOP" doctor --json >/dev/full'
((status != 0)) || die "doctor succeeded with a full disk"
