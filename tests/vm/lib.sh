# What a test of the guest may use; a test begins with: source "$(dirname "$0")/../lib.sh"
# Set by the guest: RINGLOOP (the binary), SCRATCH (an ext4 of some GiB, emptied after each test),
# RAW_DISK (an unformatted disk, discarded before each test), RINGLOOP_TREE (the repository, read
# only), VM_KERNEL (6.12 or 6.1). A test starts in SCRATCH.
set -euo pipefail

die() {
    echo "FAILED: $*" >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

# on_exit COMMAND: runs it when the test ends, however it ends; the last one given runs first.
on_exit() {
    exit_commands=("$1" ${exit_commands[@]+"${exit_commands[@]}"})
}

run_exit_commands() {
    local command
    set +e
    trap - ERR  # what they undo may not be there
    for command in ${exit_commands[@]+"${exit_commands[@]}"}; do eval "$command"; done
}
exit_commands=()
trap run_exit_commands EXIT
trap 'exit 143' TERM
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND (status $?)" >&2' ERR
set -E

assert_eq() { # ACTUAL EXPECTED [WHAT]
    [[ $1 == "$2" ]] || die "${3:-value} is '$1', expected '$2'"
}

assert_match() { # TEXT REGEX [WHAT]
    [[ $1 =~ $2 ]] || die "${3:-text} is '$1', expected to match '$2'"
}

# expect_fail COMMAND...: it must refuse, by an exit status of its own and not by a signal.
# Afterwards $output holds what it printed (both streams) and $status its exit status.
expect_fail() {
    status=0
    output=$("$@" 2>&1) || status=$?
    ((status != 0)) || die "'$*' succeeded, expected it to fail; it printed: $output"
    ((status < 126)) || die "'$*' ended with status $status, expected a refusal: $output"
}

# How many times slower than an idle machine this one may be: limits of time are as much longer.
patience=${TEST_PATIENCE:-1}

# wait_until SECONDS COMMAND...: repeats the command until it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1 * patience))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || die "still not true: $*"
        sleep 0.05
    done
}

# within SECONDS COMMAND...: it is ended when it takes longer.
within() {
    timeout "$(($1 * patience))" "${@:2}"
}

# make_image SIZE [PATH]: a sparse file; prints its path.
make_image() {
    local path=${2:-}
    [[ -n $path ]] || path=$(mktemp "$SCRATCH/image-XXXXXX")
    truncate -s "$1" "$path"
    echo "$path"
}

# mark=$(dmesg_mark) ... dmesg_errors_since "$mark": prints the kernel's complaints about I/O,
# filesystems or itself since then. (The runner fails a test for a BUG, WARNING, Oops or hung task
# anyway.)
dmesg_mark() {
    local mark="vm: mark $EPOCHREALTIME"
    echo "<6>$mark" >/dev/kmsg
    echo "$mark"
}

dmesg_errors_since() {
    dmesg | sed "1,/$1/d" |
        grep -E 'error|EXT4-fs warning|[Cc]orrupt|[Ss]hutting down|BUG:|WARNING:|Oops' ||
        true
}
