#!/usr/bin/env bash
# The soak of an hour, in seconds: with a killed server and a full disk nothing is lost; and a block
# that is damaged behind everybody's back is found, or the soak would be worth nothing.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/lib.sh"
export RINGLOOP TMPDIR=$TEST_DIR

soak_for() { # SECONDS ARGUMENT...: sets $stdout, $stderr and $status
    local seconds=$1
    shift
    run_program "$here/soak/soak.py" --minutes "$(awk "BEGIN { print $seconds / 60 }")" \
        --clients 8 --depth 16 --kill-every 1.5 --json "$TEST_DIR/result.json" "$@"
}

number_of() { # FIELD
    sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p" result.json
}

soak_for 6
assert_eq "$status" 0 "the exit code of a soak ($stdout$stderr)"
assert_eq "$(number_of lost)" 0 "the blocks that were lost"
assert_eq "$(number_of corrupt)" 0 "the blocks that are corrupt"
(($(number_of kills) >= 1)) || die "the server was never killed"
(($(number_of operations) >= 100)) || die "only $(number_of operations) operations"
if [[ $stdout != *"no full disk"* ]]; then
    (($(number_of enospc) >= 1)) || die "the disk was never full"
fi

for plant in lost-write corrupt; do
    soak_for 2 --plant "$plant"
    assert_eq "$status" 1 "the exit code of a soak with $plant planted ($stdout$stderr)"
    field=${plant%-write}
    assert_eq "$(number_of "$field")" 1 "what was found of $plant"
    assert_match "$stdout" "at the end: client [0-9]+, block [0-9]+: generation" "what was said"
done
