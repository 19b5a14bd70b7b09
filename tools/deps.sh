#!/usr/bin/env bash
# Installs the Debian packages that ringloop is built and tested with, only those that are missing.
#   tools/deps.sh           install what is missing
#   tools/deps.sh --check   print what is missing; exit 1 when anything is
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'ringloop: %s\n' "$*" >&2; }

wanted() {
    local list
    for list in tools/packages.txt tests/vm/packages.txt; do
        if [[ -e $list ]]; then
            sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$list"
        fi
    done | sort -u
}

missing() {
    local installed
    # shellcheck disable=SC2016  # ${...} is dpkg-query's own format
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
    comm -23 <(wanted) <(sort -u <<<"$installed")
}

install() {
    local -a as_root=()
    if [[ $EUID -ne 0 ]]; then
        if ! command -v sudo >/dev/null; then
            say "these packages are missing and neither root nor sudo is here to install them:"
            say "  apt-get install --no-install-recommends $*"
            exit 1
        fi
        as_root=(sudo)
    fi
    say "installing $*"
    local -a apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get
        -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    # A fresh machine has no package lists and an old one has stale ones: fetch them, but only then.
    if ! "${apt[@]}" install --no-install-recommends "$@" </dev/null >&2; then
        say "fetching the package lists and trying again"
        "${apt[@]}" update </dev/null >&2
        "${apt[@]}" install --no-install-recommends "$@" </dev/null >&2
    fi
}

if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system: install by hand what tools/packages.txt lists"
    exit 0
fi

mapfile -t packages < <(missing)
if [[ ${#packages[@]} -eq 0 ]]; then
    exit 0
fi
if [[ ${1:-} == --check ]]; then
    printf '%s\n' "${packages[@]}"
    exit 1
fi
install "${packages[@]}"
