# What the black-box tests beside this file share; each begins: source "$(dirname "$0")/lib.sh"
# RINGLOOP names the program, TEST_DIR a folder of the test's own, in which it starts.
set -euo pipefail

RINGLOOP=${RINGLOOP:-$(cd "$(dirname "$0")/.." && pwd)/build/release/ringloop}
if [[ -z ${TEST_DIR:-} ]]; then
    TEST_DIR=$(mktemp -d)
    trap 'rm -rf "$TEST_DIR"' EXIT
fi
export RINGLOOP_RUNTIME_DIR=${RINGLOOP_RUNTIME_DIR:-$TEST_DIR/run}
cd "$TEST_DIR"
set -E
trap 'echo "FAILED: line $LINENO: $BASH_COMMAND (status $?)" >&2' ERR

die() {
    echo "FAILED: $*" >&2
    exit 1
}

skip() {
    echo "skipped: $*"
    exit 77
}

assert_eq() { # ACTUAL EXPECTED [WHAT]
    [[ $1 == "$2" ]] || die "${3:-value} is '$1', expected '$2'"
}

assert_match() { # TEXT REGEX [WHAT]
    [[ $1 =~ $2 ]] || die "${3:-text} is '$1', expected to match '$2'"
}

# Sets $stdout, $stderr and $status, whatever comes.
run_program() {
    status=0
    "$@" >.stdout 2>.stderr </dev/null || status=$?
    stdout=$(<.stdout) stderr=$(<.stderr)
}

# assert_refused REGEX ARGUMENT...: ringloop exits with 1, prints nothing on stdout and one line on
# stderr that begins "ringloop: " and matches; no state is left. (That no process is left, run.py
# checks after every test.)
assert_refused() {
    local regex=$1
    shift
    run_program "$RINGLOOP" "$@"
    assert_eq "$status" "${refused_status:-1}" "the exit code of 'ringloop $*' ($stderr)"
    assert_eq "$stdout" "" "the output of 'ringloop $*'"
    assert_match "$stderr" "^ringloop: [^"$'\n'"]+$" "what 'ringloop $*' said"
    assert_match "$stderr" "$regex" "what 'ringloop $*' said"
    assert_nothing_left
}

assert_nothing_left() {
    local left
    left=$(find "$RINGLOOP_RUNTIME_DIR" -mindepth 1 2>/dev/null || true)
    [[ -z $left ]] || die "left behind: $left"
}

has_ublk() {
    [[ -e /dev/ublk-control ]] || modinfo ublk_drv &>/dev/null
}

has_nbd() {
    [[ -e /sys/module/nbd ]] || modinfo nbd &>/dev/null
}

need_program() {
    command -v "$1" >/dev/null || skip "$1 is missing"
}

# python_nbd ARGUMENT... <PROGRAM: with libnbd's module as `nbd`.
python_nbd() {
    { echo "import nbd"; cat; } >.client.py
    RINGLOOP=$RINGLOOP /usr/bin/python3 .client.py "$@"
}

need_python_nbd() {
    /usr/bin/python3 -c "import nbd" 2>/dev/null || skip "libnbd's Python module is missing"
}

# A TCP port of both loopback addresses that nobody uses at this moment.
free_port() {
    python3 -c 'import socket
listener = socket.socket(socket.AF_INET)
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1])'
}

# make_authority FOLDER NAME: what signs certificates.
make_authority() {
    mkdir "$1"
    printf '%s\n' "cn = \"$2\"" ca cert_signing_key 'expiration_days = 1' >"$1/template"
    certtool --generate-privkey --ecc --outfile "$1/ca-key.pem" 2>/dev/null
    certtool --generate-self-signed --load-privkey "$1/ca-key.pem" --template "$1/template" \
        --outfile "$1/ca-cert.pem" 2>/dev/null
}

# make_certificate AUTHORITY NAME PURPOSE [LINE...]: a folder NAME as --tls-certificates and libnbd
# want it. PURPOSE and each LINE are of certtool's template; the common name is NAME, unless one of
# them says another.
make_certificate() {
    local authority=$1 name=$2 role=client
    shift 2
    [[ $1 != tls_www_server ]] || role=server
    mkdir "$name"
    cp "$authority/ca-cert.pem" "$name"
    [[ $* == *"cn ="* ]] || set -- "$@" "cn = \"$name\""
    printf '%s\n' "$@" signing_key 'expiration_days = 1' >"$name/template"
    (umask 077 && certtool --generate-privkey --ecc --outfile "$name/$role-key.pem" 2>/dev/null)
    certtool --generate-certificate --load-ca-certificate "$authority/ca-cert.pem" \
        --load-ca-privkey "$authority/ca-key.pem" --load-privkey "$name/$role-key.pem" \
        --template "$name/template" --outfile "$name/$role-cert.pem" 2>/dev/null
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

# kill_server TARGET: as a crash would, and waits until it is known to be dead.
kill_server() {
    kill -KILL "$("$RINGLOOP" status --json "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')"
    wait_until 10 eval '[[ $("$RINGLOOP" list) == *" dead "* ]]'
}
