#!/usr/bin/env bash
# Whoever takes a server over can open no other file, run nothing and connect nowhere, in its
# control thread or in a shard; all of that works with --sandbox=off, or this would show nothing.
source "$(dirname "$0")/lib.sh"
need_python_nbd
need_program g++

library=$TEST_DIR/attempts.so
g++ -std=c++23 -shared -fPIC -o "$library" "$(dirname "$0")/hijacked/attempts.cc" -ldl
truncate -s 1M image
echo secret >secret

# Somebody to connect to.
python3 - ready <<'PYTHON' &
import os, socket, sys
unix = socket.socket(socket.AF_UNIX)
unix.bind("listener")
unix.listen(8)
tcp = socket.create_server(("127.0.0.1", 0), backlog=8)
with open("ready.new", "w") as file:
    print(tcp.getsockname()[1], file=file)
os.rename("ready.new", sys.argv[1])
sys.stdin.close()
forever = socket.socketpair()
forever[0].recv(1)
PYTHON
listener=$!
trap 'kill "$listener" 2>/dev/null || true' EXIT
wait_until 10 test -e ready

export HIJACK_NOW=$TEST_DIR/now HIJACK_FILE=$TEST_DIR/secret HIJACK_NEW=$TEST_DIR/new
export HIJACK_SOCKET=$TEST_DIR/listener HIJACK_PORT
HIJACK_PORT=$(<ready)

# attempts SANDBOX: what came of them, in both threads, is in $said.
attempts() {
    rm -f now new
    LD_PRELOAD=$library "$RINGLOOP" attach --transport socket --sandbox="$1" --name victim \
        image >/dev/null
    touch now
    "$RINGLOOP" status victim >status
    uri=$("$RINGLOOP" status --json victim | sed -n 's/.*"device": "\(.*\)",*/\1/p')
    # The first read finds nothing in the page cache and the second one does; either is a try.
    python_nbd "$uri" <<'PYTHON'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
for _ in range(4):
    client.pread(4096, 0)
PYTHON
    said=$(grep ^hijacked "$RINGLOOP_RUNTIME_DIR/victim.log" || true)
    "$RINGLOOP" detach victim
    assert_eq "$(grep -c . <<<"$said")" 22 "the number of attempts"
}
came_to() { # THREAD ATTEMPT
    sed -n "s/^hijacked $1 $2: //p" <<<"$said"
}

all=(open "open for writing" "open O_PATH" create exec fork "connect unix" "connect tcp"
    "a new ring" "new code")
attempts off
for thread in control shard; do
    for attempt in "${all[@]}"; do
        assert_eq "$(came_to $thread "$attempt")" done "without a sandbox, '$attempt' of a $thread"
    done
    ((EUID != 0)) || assert_eq "$(came_to $thread chroot)" done "without a sandbox, chroot"
done
test -e new || die "nothing was created"
grep -q "^sandbox  *off$" status || die "status does not say that there is no sandbox"

attempts on
for thread in control shard; do
    for attempt in exec fork "open O_PATH" "connect unix" "connect tcp" "a new ring" "new code" \
        chroot; do
        assert_eq "$(came_to $thread "$attempt")" EPERM "in the sandbox, '$attempt' of a $thread"
    done
    grep -q "^landlock  *yes" status || continue
    for attempt in open "open for writing" create; do
        assert_eq "$(came_to $thread "$attempt")" EACCES "in the sandbox, '$attempt' of a $thread"
    done
    test ! -e new || die "a file was created"
done
grep -q "^seccomp  *yes" status || die "status does not say that system calls are filtered"

# The program has no such door by itself.
"$RINGLOOP" attach --transport socket --name plain image >/dev/null
touch now
"$RINGLOOP" status plain >/dev/null
! grep -q ^hijacked "$RINGLOOP_RUNTIME_DIR/plain.log" || die "the program itself is hijacked"
"$RINGLOOP" detach plain

grep -q "^landlock  *yes" status || skip "files are not restricted here: $(grep ^landlock status)"
