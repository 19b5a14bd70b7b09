#!/usr/bin/env bash
# stats tells what a device does now, not what it did since it was attached, and notices its end.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 16M image
uri=$("$RINGLOOP" attach --nbd unix:socket --name disk image)

# 300 writes of 4 KiB and nothing else, before the watching, then a steady load.
python_nbd "$uri" <<'END'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
for i in range(300):
    client.pwrite(b"x" * 4096, i * 4096)
client.shutdown()
END
object=$("$RINGLOOP" stats disk --json --interval 0.2)
check() { # PYTHON-EXPRESSION of o
    /usr/bin/python3 -c "import json, sys; o = json.loads(sys.argv[1])
assert $1, sys.argv[1]" "$object"
}
check 'all(op["requests_per_s"] == 0 for op in o["ops"].values())'
check 'o["nowait_hit_rate"] is None and o["errors"] == 0 and o["inflight"] == 0'
check '0.2 <= o["interval_s"] < 5 and o["name"] == "disk"'

python_nbd "$uri" <<'END'
import json, os, subprocess, sys, threading
ringloop = os.environ["RINGLOOP"]
client = nbd.NBD()
client.connect_uri(sys.argv[1])
done = threading.Event()


def load():
    while not done.is_set():
        client.pread(8192, 0)
    client.shutdown()


def status():
    return json.loads(subprocess.run([ringloop, "status", "--json", "disk"], check=True,
                                     capture_output=True).stdout)["stats"]


thread = threading.Thread(target=load)
thread.start()
before = status()
watch = subprocess.Popen([ringloop, "stats", "disk", "--watch", "--json", "--interval", "0.4"],
                         stdout=subprocess.PIPE, text=True)
looks = [json.loads(watch.stdout.readline()) for _ in range(4)]
after = status()
watch.send_signal(2)
assert watch.wait(10) == 0, "^C is the end of a watch and no failure"
text = subprocess.run([ringloop, "stats", "disk", "--interval", "0.2"], check=True,
                      capture_output=True, text=True).stdout
done.set()
thread.join()
seen = sum(look["ops"]["read"]["requests_per_s"] * look["interval_s"] for look in looks)
done_meanwhile = after["read"]["requests"] - before["read"]["requests"]
assert 0 < seen <= done_meanwhile * 1.01, (seen, done_meanwhile)
assert seen >= done_meanwhile * 0.3, (seen, done_meanwhile)
for look in looks:
    read = look["ops"]["read"]
    assert abs(read["bytes_per_s"] - read["requests_per_s"] * 8192) < 8192, look
    assert 0 < read["latency_us"]["p50"] <= read["latency_us"]["p99"], look
    assert look["ops"]["write"]["requests_per_s"] == 0, look
    assert 0 <= look["nowait_hit_rate"] <= 1, look
lines = text.splitlines()
assert lines[0].split() == ["IOPS", "MB/s", "P50", "us", "P99", "us", "ERRORS"], text
read = next(line.split() for line in lines if line.startswith("read "))
assert int(read[1]) > 0 and float(read[2]) > 0, text
END

# Whether it has asked its first question and holds on to the server's process.
waits_for_the_end() { # PID
    grep -qs ^Pid: "/proc/$1/fdinfo/"* && ! ls -l "/proc/$1/fd" 2>/dev/null | grep -q socket:
}

# The end of the device is noticed at once, however long the interval is.
watched() { # COMMAND...: what the watcher says when the command has run
    "$RINGLOOP" stats disk --watch --interval 3000 >.watch.out 2>.watch.err &
    local watcher=$! status=0
    wait_until 10 waits_for_the_end "$watcher"
    "$@"
    wait "$watcher" || status=$?
    assert_eq "$status" 1 "the exit code of stats"
    assert_eq "$(<.watch.out)" "" "the output of stats"
}
watched kill_server disk
assert_eq "$(<.watch.err)" "ringloop: $uri: its server died meanwhile: ringloop recover disk"
run_program "$RINGLOOP" stats disk
assert_eq "$status $stderr" "1 ringloop: $uri: its server died: ringloop recover disk"
"$RINGLOOP" recover disk >/dev/null
watched "$RINGLOOP" detach disk
assert_eq "$(<.watch.err)" "ringloop: $uri was detached meanwhile"
assert_refused "disk: not attached" stats disk
