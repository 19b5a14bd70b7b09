#!/usr/bin/env bash
# The protocol of a service manager: LISTEN_PID and LISTEN_FDS.
source "$(dirname "$0")/lib.sh"
need_program nbdinfo

truncate -s 3M image
assert_eq "$(nbdinfo --size -- [ "$RINGLOOP" serve image ])" $((3 << 20)) "the size"
assert_nothing_left
# Two, and one of our own beside them.
python3 - "$RINGLOOP" <<'END'
import os, socket, subprocess, sys, time
unix = socket.socket(socket.AF_UNIX)
unix.bind("inherited.sock")
unix.listen()
tcp = socket.socket(socket.AF_INET6)
tcp.bind(("::1", 0))
tcp.listen()
port = tcp.getsockname()[1]
folder = os.getcwd()
def start():
    os.dup2(unix.fileno(), 13), os.dup2(tcp.fileno(), 14)
    os.dup2(13, 3), os.dup2(14, 4)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="a:b")
server = subprocess.Popen(["/bin/sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=2; exec "$@"', "sh",
                           sys.argv[1], "serve", "--nbd", "unix:own.sock", "image"],
                          preexec_fn=start, close_fds=False)
for uri in (f"nbd+unix:///?socket={folder}/inherited.sock", f"nbd://[::1]:{port}/"):
    size = subprocess.check_output(["nbdinfo", "--size", uri])
    assert int(size) == 3 << 20, size
subprocess.check_call(["nbdinfo", "--size", f"nbd+unix:///?socket={folder}/own.sock"])
server.terminate()
assert server.wait(10) == 0
assert os.path.exists("inherited.sock"), "it belongs to the one who made it"
assert not os.path.exists("own.sock")
END
assert_nothing_left
# Not for us: nothing is inherited.
LISTEN_PID=1 LISTEN_FDS=1 run_program "$RINGLOOP" attach --transport socket image
assert_eq "$status" 0 "the exit code"
"$RINGLOOP" detach image
assert_nothing_left
