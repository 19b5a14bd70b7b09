#!/usr/bin/env bash
# Each allocation of a start fails in turn, in the server or in the command that waits for it: this
# one alone, or all from there on. Then the device serves all the same, or there is a message that
# says why not, and nothing is in the way of the next start. NO_MEMORY_STEP=1 tries every one;
# otherwise the first ones, and then each NO_MEMORY_STEPth (151).
here=$(cd "$(dirname "$0")" && pwd)
source "$here/lib.sh"
need_program g++
need_python_nbd

step=${NO_MEMORY_STEP:-151}
g++ -std=c++23 -O1 -shared -fPIC -o fail.so "$here/no_memory/fail_allocation.cc"
head -c 4096 /dev/urandom >image
truncate -s 1M image
counted=0 survived=0

serves() { # URI
    python_nbd "$1" <<'END_OF_CLIENT'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
with open("image", "rb") as image:
    assert client.pread(4096, 0) == image.read(4096), "the device reads as something else"
client.pwrite(b"kept" * 1024, 8192)
client.flush()
END_OF_CLIENT
}

ended_by_itself_or_by_us() {
    [[ -n $(find "$RINGLOOP_RUNTIME_DIR" -mindepth 1 2>/dev/null) ]] || return 0
    [[ $("$RINGLOOP" list) == *" live "* ]] && "$RINGLOOP" detach image 2>/dev/null
}

# fail_from WORD NUMBER [FAIL_ALWAYS=1]: true as long as the process had so many allocations.
fail_from() {
    local where="allocation $2 of '$1' ${3:-}"
    rm -f mark
    run_program env "${@:3}" LD_PRELOAD="$PWD/fail.so" FAIL_VERB="$1" FAIL_ALLOCATION="$2" \
        FAIL_MARK="$PWD/mark" timeout $((30 * patience)) "$RINGLOOP" attach --nbd unix:s.sock image
    ((counted += 1))
    if ((status == 0)); then
        assert_eq "$stderr" "" "what was said when $where failed and nothing came of it"
        if [[ -e mark ]]; then
            # Not each: a client takes longer than a start.
            if [[ -z ${3:-} ]] && ((survived % 8 == 0)); then
                serves "$stdout" || die "the device does not serve when $where failed"
            fi
            ((survived += 1))
        fi
        # A server that has no memory at all may die of its detaching. That is no longer its start.
        [[ -z ${3:-} ]] || "$RINGLOOP" detach --all >/dev/null 2>&1 || true
        if [[ $("$RINGLOOP" list) == *socket0* ]]; then
            "$RINGLOOP" detach image || die "the device cannot be detached when $where failed"
        fi
    else
        assert_eq "$status" 1 "the exit code of attach when $where failed ($stderr)"
        assert_eq "$stdout" "" "the output of attach when $where failed"
        assert_match "$stderr" "[Mm]emory" "what was said when $where failed"
        [[ $stderr != *signal* ]] || die "it crashed when $where failed: $stderr"
        # It was there already, and only its name could not be said; or its server is just learning
        # that nobody waits for it any more.
        [[ $1 != attach ]] || wait_until 20 ended_by_itself_or_by_us
    fi
    assert_nothing_left
    [[ -e mark ]]
}

for word in serve attach; do
    number=1
    while fail_from "$word" "$number"; do
        [[ ! -e s.sock ]] || die "s.sock is left when allocation $number of '$word' failed"
        ((number += number < 20 ? 1 : step))
    done
    ((number > 200)) || die "only $number allocations of '$word' were seen"
    # Whoever cannot even undo what he did may leave a socket, which the next start replaces.
    number=1
    while fail_from "$word" "$number" FAIL_ALWAYS=1; do
        ((number += step * 2))
    done
done
serves "$("$RINGLOOP" attach --nbd unix:s.sock image)"
"$RINGLOOP" detach image
[[ ! -e s.sock ]] || die "s.sock is left"
echo "$counted starts without memory; $survived of them served all the same"
