#!/usr/bin/env bash
# One file a device: up attaches, says what is attached already, recovers what is dead, and refuses
# a file that it does not understand; down undoes it.
source "$(dirname "$0")/lib.sh"
need_program nbdinfo

folder=$TEST_DIR/etc
export RINGLOOP_CONFIG_DIR=$folder
mkdir "$folder"
truncate -s 2M one.img two.img
write() { # NAME LINE...
    local name=$1
    shift
    printf '%s\n' "$@" >"$folder/$name.conf"
}
write one '# the first' '' "image = $TEST_DIR/one.img" 'transport = socket' 'offset = 1M' \
    'read-only = yes' "nbd = unix:$TEST_DIR/a.sock" "nbd = unix:$TEST_DIR/b.sock" \
    'policy = linux-4.4'
write two "image=$TEST_DIR/two.img" 'transport=socket' 'read-only = no'
touch "$folder/one.conf~" "$folder/.hidden.conf"

# What the file says is what is served.
run_program "$RINGLOOP" up one
assert_eq "$status $stdout" "0 nbd+unix:///?socket=$TEST_DIR/a.sock" "up ($stderr)"
for socket in a b; do
    assert_eq "$(nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/$socket.sock")" $((1 << 20)) "size"
done
known=$("$RINGLOOP" status --json one)
assert_match "$known" '"read_only": true' "status"
assert_match "$known" '"policy": "linux-4.4"' "status"

# Again: it is there. All: the other one comes.
run_program "$RINGLOOP" up one
assert_eq "$status $stdout" "0 nbd+unix:///?socket=$TEST_DIR/a.sock" "up again"
assert_match "$stderr" "'one' is attached already" "what up said"
run_program "$RINGLOOP" up --all --json
assert_eq "$status" 0 "the exit code of up --all ($stderr)"
assert_eq "$(python3 -c 'import json, sys
print([(one["name"], one["done"]) for one in json.load(sys.stdin)])' <<<"$stdout")" \
    "[('one', 'attached already'), ('two', 'attached')]" "the objects"
assert_match "$("$RINGLOOP" status --json two)" '"read_only": false' "status"

# Another image under the name is refused, and stays.
write one "image = $TEST_DIR/two.img" 'transport = socket'
run_program "$RINGLOOP" up one
assert_eq "$status" 1 "the exit code"
assert_match "$stderr" "'one' is .* of another image, $TEST_DIR/one.img; ringloop detach one" "it"
write one "image = $TEST_DIR/one.img" 'transport = socket'

# A dead one is recovered, by up and by a service manager's serve.
kill_server one
run_program "$RINGLOOP" up --json one
assert_match "$stdout" '"done": "recovered"' "up of a dead device ($stderr)"
assert_eq "$(nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/b.sock")" $((1 << 20)) "size"

# What up has attached, a service manager's serve takes over, and clients stay where they are.
if /usr/bin/python3 -c "import nbd" 2>/dev/null; then
    python_nbd "nbd+unix:///?socket=$TEST_DIR/b.sock" <<'END_OF_CLIENT'
import json
import os
import subprocess
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
server = subprocess.Popen([os.environ["RINGLOOP"], "serve", "--config", "one"],
                          stderr=subprocess.PIPE, text=True)
said = server.stderr.readline()
assert "is taken over and serves" in said, said
status = json.loads(subprocess.run([os.environ["RINGLOOP"], "status", "--json", "one"], check=True,
                                   capture_output=True, text=True).stdout)
assert status["pid"] == server.pid and status["connections"] == 1, status
assert len(client.pread(512, 0)) == 512
client.shutdown()
END_OF_CLIENT
fi
kill_server one
"$RINGLOOP" serve --config one 2>served.log &
server=$!
wait_until 10 eval 'nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/b.sock" >/dev/null 2>&1'
assert_eq "$(nbdinfo --size "nbd+unix:///?socket=$TEST_DIR/b.sock")" $((1 << 20)) "size"
run_program "$RINGLOOP" serve --config one
assert_eq "$status" 1 "the exit code of a second server"
assert_match "$stderr" "b.sock|a.sock" "what it said"
assert_match "$stderr" "runs in the foreground" "what it said"

# down: what is not attached is no error, what nobody knows is.
run_program "$RINGLOOP" down one two one
assert_eq "$status" 0 "the exit code of down ($stderr)"
wait $server || die "the server in the foreground failed: $(<served.log)"
assert_nothing_left
run_program "$RINGLOOP" down --all --json
assert_eq "$status ${stdout//[$' \n']/}" '0 {"detached":[]}' "down of nothing"
assert_refused "'three': neither attached, nor is there $folder/three.conf" down three
assert_refused "three.conf: there is no such file; write one" up three
refused_status=2 assert_refused "name the devices, or give --all" up
refused_status=2 assert_refused "name the devices, or give --all" down --all one
refused_status=2 assert_refused "the file says everything else" serve --config one one.img
refused_status=2 assert_refused "the file says everything else" serve --config one --read-only

# FILE:LINE, what is wrong and what to write.
image="image = $TEST_DIR/one.img"
while IFS='|' read -r regex lines; do
    printf '%b\n' "$lines" >"$folder/bad.conf"
    assert_refused "$folder/bad.conf$regex" up bad
    assert_refused "$folder/bad.conf$regex" serve --config bad
done <<END
: no image; write a line image = PATH|read-only = yes
:2: no key 'ofset'; write image, or an option|$image\nofset = 1
:2: no key 'json'|$image\njson = yes
:2: 'name' is not set here|$image\nname = other
:3: 'offset' is in line 2 already|$image\noffset = 1M\noffset = 2M
:2: 'read-only = maybe': write yes or no|$image\nread-only = maybe
:2: --workers 0: use 1 to 512|$image\nworkers = 0
:3: .*--offset.* 'x'|$image\nworkers = 2\noffset = x
:2: .*fast.*linux-4.4|$image\npolicy = fast
:2: --transport=teleport: use auto|$image\ntransport = teleport
:3: .*queues|$image\n\nqueues = many
: --workers 1 and --queues 2: each queue needs|$image\nqueues = 2\nworkers = 1
: image 'disk.img': relative to nothing here; write a path that begins with /|image = disk.img
:2: 'image' is no setting|$image\nimage
END
rm "$folder/bad.conf"
assert_refused "name 'a b': use 1 to 64" up "a b"
assert_refused "name 'ublkb0': reserved" up ublkb0

# One that fails keeps no other from being attached; a directory by option.
write bad 'image = nothing'
run_program env -u RINGLOOP_CONFIG_DIR "$RINGLOOP" up --config-dir "$folder" --all
assert_eq "$status" 1 "the exit code of up --all with a bad file"
assert_match "$("$RINGLOOP" list)" "one .*two " "list"
run_program "$RINGLOOP" down --all
assert_eq "$status" 0 "the exit code of down --all ($stderr)"
assert_nothing_left
assert_refused "$folder/none: No such file" up --config-dir "$folder/none" --all
