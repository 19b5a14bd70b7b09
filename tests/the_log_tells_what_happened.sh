#!/usr/bin/env bash
# log shows each state of a device, once and with its time, and follows it from server to server.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 16M image
uri=$("$RINGLOOP" attach --nbd unix:socket --name disk image)
"$RINGLOOP" log disk >once
assert_match "$(<once)" \
    '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z info nbd.* serves /.*/image \('
# The time is UTC, of now.
told_at=$(date -d "$(cut -d' ' -f1 once)" +%s)
((told_at <= $(date +%s) && told_at >= $(date +%s) - 60)) || die "the time is wrong: $(<once)"

"$RINGLOOP" log disk --follow >followed 2>warned &
follower=$!
"$RINGLOOP" log --follow --json >all.json 2>/dev/null &
every=$!
told() { # FILE REGEX
    grep -Eqs -e "$2" "$1"
}
# The watch is there before the log is read, so nothing that happens from here on is missed.
wait_until 10 told followed " serves "
wait_until 10 told all.json " serves "

"$RINGLOOP" set disk --policy linux-4.0 >/dev/null
wait_until 10 told followed " info .*policy linux-4.0"
truncate -s 32M image
"$RINGLOOP" resize disk >/dev/null
wait_until 10 told followed " info .*32"
/usr/bin/python3 -c 'import socket
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
client.recv(18)
client.sendall(b"\xff" * 64)
client.recv(18)'
wait_until 10 told followed " info nbd: a handshake ended early"
cp --sparse=always image another
"$RINGLOOP" attach --nbd unix:other --name other another >/dev/null
wait_until 10 told all.json '"name":"other".* serves '

kill_server disk
wait_until 10 told warned "its server died meanwhile: ringloop recover disk"
"$RINGLOOP" recover disk >/dev/null
wait_until 10 told followed " info .* is recovered and serves "

"$RINGLOOP" detach disk
wait "$follower" || die "following a device to its end failed: $(<warned)"
assert_match "$(tail -1 followed)" " info .* is detached$"
assert_eq "$(sort followed | uniq -d)" "" "what was told twice"
assert_eq "$(sort -c followed 2>&1)" "" "the order of times"
wait_until 10 told all.json '"name":"disk".* is detached'
"$RINGLOOP" log >all
assert_match "$(<all)" "^other  20.*Z info .* serves "
"$RINGLOOP" detach other
wait_until 10 told all.json '"name":"other".* is detached'
kill -INT "$every"
wait "$every" || die "^C is the end of following and no failure"
/usr/bin/python3 -c 'import json
for line in open("all.json"):
    entry = json.loads(line)
    assert entry["name"] in ("disk", "other") and entry["level"] == "info", entry
    assert entry["time"].endswith("Z") and entry["text"], entry'

# A server in the foreground says everything to whoever started it.
"$RINGLOOP" serve --nbd unix:socket --name here image 2>own &
server=$!
wait_until 10 eval '"$RINGLOOP" list | grep -q " live "'
run_program "$RINGLOOP" log here
assert_eq "$status $stdout" "1 "
assert_match "$stderr" "^ringloop: .*: keeps no log: its server runs in the foreground"
"$RINGLOOP" detach here
wait "$server"
assert_match "$(<own)" "Z info .* is detached"
assert_refused "disk: not attached" log disk
