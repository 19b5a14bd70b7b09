#!/usr/bin/env bash
source "$(dirname "$0")/lib.sh"

truncate -s 1M image
for folder in /proc/ringloop "$PWD/image" "$PWD/image/below"; do
    export RINGLOOP_RUNTIME_DIR=$folder
    for verb in "attach image" "list" "detach --all"; do
        # shellcheck disable=SC2086  # words of a command
        run_program "$RINGLOOP" $verb
        assert_eq "$status" 1 "the exit code of '$verb' with $folder ($stderr)"
        assert_match "$stderr" "^ringloop: [^"$'\n'"]*${folder}[^"$'\n'"]*$" "what '$verb' said"
    done
done

# One that everybody may write to would let others choose what is detached.
export RINGLOOP_RUNTIME_DIR=relative/run
run_program "$RINGLOOP" list
assert_eq "$status" 1 "the exit code with a relative folder ($stderr)"
assert_match "$stderr" "^ringloop: [^"$'\n'"]*relative/run" "what list said"
