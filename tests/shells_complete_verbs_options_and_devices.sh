#!/usr/bin/env bash
# What bash and zsh offer, asked for without a terminal: every verb and every option of its --help,
# the values of those that are a choice, and the devices that there are.
folder=$(cd "$(dirname "$0")/.." && pwd)/packaging/completions
source "$(dirname "$0")/lib.sh"

source "$folder/ringloop.bash"

offered_by_bash() { # WORD... : the last one is being typed
    COMP_WORDS=("$RINGLOOP" "$@")
    COMP_CWORD=$#
    _ringloop
    printf '%s\n' "${COMPREPLY[@]}"
}

# zsh's own completion system needs a terminal; what it is told is what counts.
offered_by_zsh() { # WORD...
    zsh -f -c '
        compadd() { [[ $1 == -a ]] && print -l -- ${(P)2} }
        compset() { : }
        _describe() { [[ $1 == -o ]] && shift; print -l -- ${${(P)2}%%:*} }
        _files() { print -l -- *(N) }
        script=$1
        shift
        words=("$@")
        CURRENT=$#words
        source $script' zsh "$folder/_ringloop" "$RINGLOOP" "$@"
}

assert_offers() { # SHELL WANTED WORD...
    local shell=$1 wanted=$2 offered
    shift 2
    offered=$("offered_by_$shell" "$@")
    [[ $'\n'$offered$'\n' == *$'\n'"$wanted"$'\n'* ]] ||
        die "$shell does not offer '$wanted' after 'ringloop $*', but: ${offered//$'\n'/ }"
}

truncate -s 1M disk.img
"$RINGLOOP" attach --transport socket --name mydisk disk.img >/dev/null
mkdir etc
export RINGLOOP_CONFIG_DIR=$PWD/etc
: >etc/configured.conf
shells=(bash)
if command -v zsh >/dev/null; then shells+=(zsh); fi

mapfile -t verbs < <("$RINGLOOP" --help | sed -n '/^Subcommands:/,$s/^  \([a-z]\+\) .*/\1/p')
((${#verbs[@]} >= 11)) || die "verbs: ${verbs[*]}"
options=0
for shell in "${shells[@]}"; do
    for verb in "${verbs[@]}"; do
        assert_offers "$shell" "$verb" ""
        # Whatever --help names, wherever it names it at the begin of a line.
        mapfile -t named < <("$RINGLOOP" "$verb" --help |
            grep -o '^ \{1,6\}\(-., \?\)\?--[a-z-]*')
        for option in "${named[@]/#*--/--}"; do
            assert_offers "$shell" "$option" "$verb" "--"
            options=$((options + 1))
        done
    done
    for verb in detach status set recover resize upgrade stats; do
        assert_offers "$shell" mydisk "$verb" ""
    done
    for verb in up down; do assert_offers "$shell" configured "$verb" ""; done
    assert_offers "$shell" configured serve --config ""
    assert_offers "$shell" disk.img attach d
    assert_offers "$shell" linux-4.0-capped attach --policy ""
    assert_offers "$shell" auto set mydisk --policy ""
    assert_offers "$shell" socket attach --transport ""
    assert_offers "$shell" require attach --tls ""
done
assert_offers bash ublk attach --transport = u
assert_offers bash off attach --direct-io =
if [[ ${#shells[@]} -gt 1 ]]; then
    assert_offers zsh ublk attach --transport=u
    zsh -n "$folder/_ringloop"
fi
((options > 50)) || die "only $options options were tried"
if [[ $(offered_by_bash list "") != "" ]]; then die "list takes no device"; fi
"$RINGLOOP" detach mydisk
assert_nothing_left
[[ ${#shells[@]} -gt 1 ]] || skip "zsh is missing (bash passed)"
