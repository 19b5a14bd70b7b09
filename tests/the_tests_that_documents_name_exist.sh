#!/usr/bin/env bash
# docs/kernel-tests.md says which of our tests asserts what: each of them exists.
source "$(dirname "$0")/lib.sh"

root=$(cd "$(dirname "$0")/.." && pwd)
# missing FILE: the tests in the last column of its table that nobody has.
missing() {
    local name found
    sed -n 's/^| [bL][^|]*|[^|]*|\(.*\)|$/\1/p' "$1" | grep -o '`[^`]*`' | tr -d '`' | sort -u |
        while read -r name; do
            if [[ $name == *Test ]]; then
                found=$(grep -rlE "TEST(_F)?\($name, " "$root/src" || true)
            else
                found=$(compgen -G "$root/tests/vm/tests/$name.sh" ||
                    compgen -G "$root/tests/$name.sh" || true)
            fi
            [[ -n $found ]] || echo "$name"
        done
}
assert_eq "$(missing "$root/docs/kernel-tests.md")" "" "the tests that are missing"
# It finds one that is not there.
sed '0,/`sector-sizes/s//`sector-size/' "$root/docs/kernel-tests.md" >wrong.md
assert_eq "$(missing wrong.md)" "sector-size-keep-the-content" "the tests that are missing"
