#!/usr/bin/env bash
# What `set` does to the image of a device in use, what it refuses, and what recovery makes of it.
source "$(dirname "$0")/lib.sh"
need_program nbdinfo
need_python_nbd

for name in a b small; do
    printf '%s' "$name" >"$name"
    truncate -s 1M "$name"
done
truncate -s 512K small

# says FIRST-LINE-REGEX ARGUMENT...: what set prints, with how long requests waited where they did.
says() {
    local printed
    printed=$("$RINGLOOP" set "$uri" "${@:2}")
    printed=${printed//"$uri: "/}
    assert_match "${printed%%$'\n'*}" "^$1$" "what set ${*:2} printed"
    [[ $1 == *"as before" ]] ||
        assert_match "$printed" $'\n'"requests waited for [0-9]+\.[0-9]{3} ms$"
}
refuses() { # STATUS REGEX ARGUMENT...
    run_program "$RINGLOOP" set "$uri" "${@:3}"
    assert_eq "$status" "$1" "the exit code of set ${*:3} ($stderr)"
    assert_eq "$stdout" "" "the output of set ${*:3}"
    assert_match "$stderr" "^ringloop: $2$" "what set ${*:3} said"
}
begins_with() { # TEXT
    python_nbd "$uri" "$1" <<'PYTHON'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
text = sys.argv[2].encode()
assert client.pread(len(text), 0) == text, client.pread(len(text), 0)
PYTHON
}
field() { # NAME: of status --json
    "$RINGLOOP" status --json "$uri" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# ---- another image ----
uri=$("$RINGLOOP" attach --transport socket --read-only a)
begins_with a
says "serves $PWD/b now, $PWD/a before" --backing-file b
begins_with b
assert_eq "$(field backing_file)" "$PWD/b"
assert_match "$("$RINGLOOP" list)" "$PWD/b" "what list shows"
run_program "$RINGLOOP" status a
assert_match "$stderr" "a: not attached" "the image that was there before"
refuses 1 "$PWD/small: makes a device of 524288 bytes, and this one has 1048576; .*" \
    --backing-file small
refuses 1 "nowhere: cannot be looked up.*: No such file or directory" --backing-file nowhere
refuses 1 "$PWD: is a directory; an image is a regular file or a block device" --backing-file .
begins_with b
# A dead server's image is the one that it served last.
kill_server b
"$RINGLOOP" recover b >/dev/null
begins_with b
rm b
says "serves $PWD/a now, $PWD/b before" --backing-file a
begins_with a
"$RINGLOOP" detach a

uri=$("$RINGLOOP" attach --transport socket a)
cp a b
refuses 1 ".*: is writable, and what its users have in their caches is of $PWD/a; .*--force.*" \
    --backing-file b
python_nbd "$uri" <<'PYTHON'
import os, subprocess, sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
client.pwrite(b"old", 4096)
subprocess.run([os.environ["RINGLOOP"], "set", "a", "--backing-file", "b", "--force"], check=True,
               stdout=subprocess.DEVNULL)
client.pwrite(b"new", 8192)
client.flush()
client.shutdown()
for path, at, text in (("a", 4096, b"old"), ("a", 8192, b"\0\0\0"), ("b", 4096, b"\0\0\0"),
                       ("b", 8192, b"new")):
    with open(path, "rb") as image:
        image.seek(at)
        assert image.read(3) == text, (path, at)
PYTHON

# ---- through the page cache, or past it ----
refuses 1 ".*direct I/O.*" --direct-io on
says "buffered .* clients share this host's page cache\), as before" --direct-io auto
"$RINGLOOP" detach b
if uri=$("$RINGLOOP" attach --transport socket --direct-io a 2>/dev/null); then
    says "buffered \(--direct-io=off\) now, direct I/O before" --direct-io off
    assert_eq "$(field direct_io)" False
    says "direct I/O now, buffered before" --direct-io on
    says "direct I/O, as before" --direct-io on
    "$RINGLOOP" detach a
else
    echo "no direct I/O here: not tried"
fi

# ---- writable or not ----
uri=$("$RINGLOOP" attach --transport socket a)
python_nbd "$uri" <<'PYTHON'
import errno, os, subprocess, sys
def connect():
    client = nbd.NBD()
    client.connect_uri(sys.argv[1])
    return client
def set_read_only(word):
    return subprocess.run([os.environ["RINGLOOP"], "set", "a", "--read-only", word], check=True,
                          capture_output=True, text=True).stdout
def refused(act):
    try:
        act()
    except nbd.Error as error:
        return error.errnum == errno.EPERM
    return False
old = connect()
old.pwrite(b"kept", 4096)
assert "read-only now, writable before" in set_read_only("on")
assert refused(lambda: old.pwrite(b"lost", 4096)) and refused(lambda: old.trim(4096, 4096))
assert old.pread(4, 4096) == b"kept"
old.flush()
new = connect()
assert new.is_read_only() and not old.is_read_only()
assert "read-only, as before" in set_read_only("on")
assert "writable now, read-only before" in set_read_only("off")
old.pwrite(b"more", 4096)
old.flush()
newest = connect()
assert not newest.is_read_only() and newest.pread(4, 4096) == b"more"
PYTHON
says "read-only now, writable before" --read-only on
kill_server a
"$RINGLOOP" recover a >/dev/null
says "read-only, as before" --read-only on
# An image that cannot be written stays read-only, and is served on.
if ((EUID != 0)); then
    chmod a-w a
    refuses 1 "$PWD/a: no permission to write it; .*" --read-only off
    chmod u+w a
fi
says "serves $PWD/b now, $PWD/a before" --backing-file b
"$RINGLOOP" detach b

# ---- its size ----
uri=$("$RINGLOOP" attach --transport socket a)
says "64 KiB \(65536 bytes\) now, 1\.0 MiB before" --size 64K
assert_eq "$(nbdinfo --size "$uri")" 65536
says "64 KiB \(65536 bytes\) as before" --size auto
kill_server a
"$RINGLOOP" recover a >/dev/null
assert_eq "$(nbdinfo --size "$uri")" 65536
refuses 1 "$PWD/a: has 1048576 bytes, and a device of 2097152 does not fit; .*" --size 2M
says "512 KiB \(524288 bytes\) now, 64 KiB before" --size 512K
says "1\.0 MiB \(1048576 bytes\) now, 512 KiB before" --size 0
truncate -s 2M a
says "2\.0 MiB \(2097152 bytes\) now, 1\.0 MiB before" --size auto
assert_eq "$(field sizelimit_bytes)" 0

# ---- what is no change ----
refuses 1 "--read-only maybe: use on or off" --read-only maybe
refuses 1 "--direct-io=maybe: use on, off or auto" --direct-io maybe
refuses 1 "--size.*" --size large
refuses 2 "set: --force is of --backing-file and --read-only; .*" --force --policy auto
refuses 2 "set: --size and a change of the image are two steps.*" --size auto --direct-io off
"$RINGLOOP" detach a
assert_nothing_left
