#!/usr/bin/env bash
# The server of a unit is replaced by one that starts within the unit, as ExecReload= does, and the
# service manager hears which process it is to look after before the old one ends.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 1M image
python_nbd <<'END_OF_MANAGER'
import json
import os
import socket
import subprocess

RINGLOOP = os.environ["RINGLOOP"]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind("notify.sock")
notify.settimeout(20)
service = dict(os.environ, NOTIFY_SOCKET=os.path.abspath("notify.sock"))


def told(word):
    while True:
        message = notify.recv(4096).decode()
        if message.startswith(word):
            return message


server = subprocess.Popen([RINGLOOP, "serve", "--transport", "socket", "--nbd", "unix:s", "image"],
                          env=service, stderr=subprocess.DEVNULL)
told("READY=1")
client = nbd.NBD()
client.connect_unix("s")
client.pwrite(b"kept" * 128, 0)
pids = [server.pid]
for _ in range(2):
    done = subprocess.run([RINGLOOP, "upgrade", "--json", "image"], env=service, text=True,
                          capture_output=True)
    assert done.returncode == 0, done
    pids.append(json.loads(done.stdout)[0]["pid"])
    assert told("MAINPID=") == f"MAINPID={pids[-1]}", pids
    told("READY=1")
    assert client.pread(512, 0) == b"kept" * 128
assert server.wait(20) == 0 and len(set(pids)) == 3, pids
client.shutdown()
subprocess.run([RINGLOOP, "detach", "image"], check=True)
told("STOPPING=1")
END_OF_MANAGER
assert_nothing_left
