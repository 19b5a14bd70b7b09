# Completion of ringloop(1) for bash. Verbs and options are read from the program's own --help, so
# that they are those of the version that is installed.

# What a --help lists, one a line. KIND: verb or option.
_ringloop_words() { # PROGRAM KIND [VERB]
    local program=$1 kind=$2
    shift 2
    "$program" "$@" --help 2>/dev/null | command sed -n \
        -e '/^Subcommands:/,/^$/s/^  \([a-z-]*\)  .*/verb \1/p' \
        -e '/^Options:/,/^$/!b' \
        -e 's/^ \{1,6\}\(-[a-zA-Z0-9], \{0,1\}\)\{0,1\}\(--[a-z-]*\).*/option \2/p' |
        command sed -n "s/^$kind //p"
}

_ringloop_devices() { # PROGRAM
    "$1" list --json 2>/dev/null | command sed -n \
        -e 's/^ *"name": "\([A-Za-z0-9._-]*\)",*$/\1/p' \
        -e 's/^ *"device": "\(\/dev\/[a-z0-9]*\)",*$/\1/p'
}

_ringloop_files_of_etc() {
    local file
    for file in "${1:-${RINGLOOP_CONFIG_DIR:-/etc/ringloop}}"/*.conf; do
        file=${file##*/}
        [[ $file == '*.conf' ]] || echo "${file%.conf}"
    done
}

# The values of an option; fails for one that is no choice among words.
_ringloop_values() { # PROGRAM OPTION
    case $2 in
    --policy)
        "$1" attach --help 2>/dev/null |
            command sed -n 's/^ *--policy .*dispatched: \(.*\) \[.*/\1/p' | command tr -d ,
        ;;
    --transport) echo auto ublk nbd socket ;;
    --direct-io) echo on off auto ;;
    --tls | --sandbox) echo off on require ;;
    --sector-size | -b) echo 512 1024 2048 4096 ;;
    --charge) echo off issuer /sys/fs/cgroup/ ;;
    --nbd) echo unix: tcp: vsock: ;;
    --config) _ringloop_files_of_etc ;;
    *) return 1 ;;
    esac
}

_ringloop() {
    local program=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} option="" verb="" word i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -z $verb && $word != -* ]]; then verb=$word; fi
    done
    # bash makes words of their own of what is on both sides of a '=', and of the sign itself.
    if ((COMP_CWORD >= 2)); then
        option=${COMP_WORDS[COMP_CWORD - 1]}
        if [[ $cur == '=' ]]; then
            cur=""
        elif [[ $option == '=' ]]; then
            option=${COMP_WORDS[COMP_CWORD - 2]}
        elif [[ $option == --direct-io ]]; then
            option="" # its value stands behind a '=' only
        fi
    fi

    if [[ $option == -* ]]; then
        local values
        case $option in
        --tls-certificates | --config-dir)
            compopt -o filenames 2>/dev/null || : # not while it is typed: a test
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            return
            ;;
        --tls-psk)
            compopt -o filenames 2>/dev/null || : # not while it is typed: a test
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
            ;;
        esac
        if values=$(_ringloop_values "$program" "$option"); then
            mapfile -t COMPREPLY < <(compgen -W "$values" -- "$cur")
            return
        fi
    fi
    if [[ $cur == -* ]]; then
        local -a of_verb=()
        [[ -z $verb ]] || of_verb=("$verb")
        mapfile -t COMPREPLY < <(
            compgen -W "$(_ringloop_words "$program" option "${of_verb[@]}")" -- "$cur"
        )
        return
    fi
    case $verb in
    "") mapfile -t COMPREPLY < <(compgen -W "$(_ringloop_words "$program" verb)" -- "$cur") ;;
    attach | serve | losetup)
        compopt -o filenames 2>/dev/null || : # not while it is typed: a test
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    up | down)
        mapfile -t COMPREPLY < <(compgen -W "$(_ringloop_files_of_etc)" -- "$cur")
        ;;
    list | doctor) ;;
    *) # a verb for devices, whatever it is called; an image is a name of one, too
        compopt -o filenames 2>/dev/null || : # not while it is typed: a test
        mapfile -t COMPREPLY < <(
            compgen -W "$(_ringloop_devices "$program")" -- "$cur"
            [[ -z $cur ]] || compgen -f -- "$cur"
        )
        ;;
    esac
}
complete -F _ringloop ringloop
