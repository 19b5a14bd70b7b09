#!/usr/bin/env bash
# A server whose opener was killed serves on, says so, refuses what it cannot do any more, and its
# successor has another; a killed server takes its opener along.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image other
"$RINGLOOP" attach --transport socket --read-only --name disk image >/dev/null
pid_of_server() { "$RINGLOOP" status --json disk | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
opener_of() { # SERVER
    ps --ppid "$1" -o pid=,comm= | sed -n 's/^ *\([0-9]*\) ringloop-opener$/\1/p'
}
has_ended() { ! kill -0 "$1" 2>/dev/null || [[ $(ps -o stat= -p "$1") == Z* ]]; }
uri=$("$RINGLOOP" status --json disk | sed -n 's/.*"device": "\(.*\)",*/\1/p')
one_read() {
    python_nbd "$uri" <<'PYTHON'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
assert client.pread(4096, 0) == bytes(4096)
PYTHON
}

assert_match "$("$RINGLOOP" status disk)" $'\n'"opener +yes"$'\n' "status of a new server"
opener=$(opener_of "$(pid_of_server)")
kill -KILL "$opener"
wait_until 10 has_ended "$opener"
one_read
died="the process that opens images again has died; ringloop upgrade starts another"
assert_match "$("$RINGLOOP" status disk)" $'\n'"opener +no: $died"$'\n' \
    "status of a server without its opener"
run_program "$RINGLOOP" set disk --backing-file other
assert_eq "$status" 1 "the exit code of set without an opener"
assert_eq "$stderr" "ringloop: $died" "what set said"
one_read

"$RINGLOOP" upgrade disk >/dev/null
assert_match "$("$RINGLOOP" status disk)" $'\n'"opener +yes"$'\n' "status of its successor"
"$RINGLOOP" set disk --backing-file other >/dev/null
one_read

opener=$(opener_of "$(pid_of_server)")
[[ -n $opener ]] || die "the successor has no opener"
kill_server disk
wait_until 10 has_ended "$opener"
"$RINGLOOP" detach disk
assert_nothing_left
