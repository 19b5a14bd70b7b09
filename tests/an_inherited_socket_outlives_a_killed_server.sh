#!/usr/bin/env bash
# A service manager keeps its socket while it starts the server anew; nobody else binds it.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
mkdir etc
printf 'image = %s\nnbd = unix:%s\n' "$PWD/image" "$PWD/own.sock" >etc/disk.conf
RINGLOOP_CONFIG_DIR=$PWD/etc python_nbd <<'END'
import os, socket, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind("inherited.sock")
listener.listen()
ringloop = os.environ["RINGLOOP"]
folder = os.getcwd()

def served():
    """A server as a service manager starts it, when it has answered at both addresses."""
    server = subprocess.Popen(
        ["/bin/sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"', "sh", ringloop,
         "serve", "--config", "disk"],
        preexec_fn=lambda: os.dup2(os.dup2(listener.fileno(), 13), 3), close_fds=False)
    # The manager's socket takes clients before there is a server, so the first of them waits.
    for name in ("inherited.sock", "own.sock"):
        client = nbd.NBD()
        client.connect_uri(f"nbd+unix:///?socket={folder}/{name}")
        check_kept(client)
        client.shutdown()
    return server

def check_kept(client):
    if client.pread(4, 0) == bytes(4):
        client.pwrite(b"kept", 0)
        client.flush()
    assert client.pread(4, 0) == b"kept"

server = served()
server.kill()
server.wait()
server = served()
status = subprocess.check_output([ringloop, "status", "--json", "disk"], text=True)
assert "inherited.sock" in status and "own.sock" in status, status
server.terminate()
assert server.wait(10) == 0
assert os.path.exists("inherited.sock"), "it belongs to the manager"
END
assert_nothing_left
