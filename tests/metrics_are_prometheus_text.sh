#!/usr/bin/env bash
# The counters as Prometheus wants them, on the control socket and over HTTP; promtool is asked too
# where there is one. Clients that are slow, rude or many keep the server from nothing.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 16M image
cp --sparse=always image $'ima"ge \\2\n'
port=$(free_port)
uri=$("$RINGLOOP" attach --nbd unix:socket --name disk --metrics "$port" $'ima"ge \\2\n')
"$RINGLOOP" attach --nbd unix:other --name other --charge issuer --metrics "[::1]:$port" image \
    >/dev/null 2>.stderr && die "two servers have one port"
assert_match "$(<.stderr)" "--metrics: .*somebody listens there already"
"$RINGLOOP" attach --nbd unix:other --name other --charge issuer image >/dev/null

python_nbd "$uri" <<'END'
import sys
client = nbd.NBD()
client.connect_uri(sys.argv[1])
for i in range(300):
    client.pwrite(b"x" * 4096, i * 4096)
client.shutdown()
END

"$RINGLOOP" metrics disk >disk.prom
"$RINGLOOP" metrics --all >all.prom
if command -v promtool >/dev/null; then
    promtool check metrics <disk.prom
    promtool check metrics <all.prom
fi
/usr/bin/python3 - "$port" "$RINGLOOP" "$PWD" <<'END'
import json, math, os, re, select, socket, subprocess, sys, threading, time
import urllib.error, urllib.request

port, ringloop, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")


def parse(text):
    """Of the text format 0.0.4, strictly: {family: (type, {(sample, labels): value})}."""
    assert text.endswith("\n")
    families, current = {}, None
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) ((?:[^\\]|\\[\\n])+)", line):
            assert found[1] not in families, f"{found[1]} appears in two pieces"
            current, families[found[1]] = found[1], [None, {}]
        elif found := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert found[1] == current and families[current] == [None, {}], line
            families[current][0] = found[2]
        else:
            found = SAMPLE.fullmatch(line)
            assert found, f"no sample: {line!r}"
            kind, samples = families[current]
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert found[1] in [current + suffix for suffix in suffixes], line
            assert kind != "counter" or current.endswith("_total"), line
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
            key = (found[1], tuple(sorted(labels.items())))
            assert key not in samples, f"twice: {line}"
            samples[key] = float(found[3])
            assert not math.isnan(samples[key]) and samples[key] >= 0, line
    return families


def check_histograms(families):
    samples = families["ringloop_request_duration_seconds"][1]
    series = {}
    for (name, labels), value in samples.items():
        rest = tuple(item for item in labels if item[0] != "le")
        series.setdefault(rest, {})[name.rpartition("_")[2], dict(labels).get("le")] = value
    for labels, values in series.items():
        buckets = sorted((float(le), value) for (kind, le), value in values.items()
                         if kind == "bucket")
        assert [value for _, value in buckets] == sorted(value for _, value in buckets), labels
        assert buckets[-1] == (math.inf, values["count", None]), labels
        assert (values["sum", None] > 0) == (values["count", None] > 0), labels
    return series


with open("disk.prom", encoding="utf-8") as file:
    disk = parse(file.read())
with open("all.prom", encoding="utf-8") as file:
    every = parse(file.read())
series = check_histograms(disk)
assert len(check_histograms(every)) == 2 * len(series) == 12
writes = ("ringloop_requests_total", (("device", "disk"), ("op", "write")))
assert disk["ringloop_requests_total"][1][writes] == 300
assert every["ringloop_requests_total"][1][writes] == 300
written = ("ringloop_request_bytes_total", (("device", "disk"), ("op", "write")))
assert disk["ringloop_request_bytes_total"][1][written] == 300 * 4096
assert series[("device", "disk"), ("op", "write")]["count", None] == 300
(_, labels), = disk["ringloop_device_info"][1]
assert dict(labels)["image"] == folder + '/ima\\"ge \\\\2\\n', labels
lanes = [dict(labels)["lane"] for _, labels in every["ringloop_lane_requests_total"][1]]
assert lanes == ["(server)"], lanes

# Over HTTP, at both addresses of loopback.
for host in ("127.0.0.1", "[::1]") if os.path.exists("/proc/net/if_inet6") else ("127.0.0.1",):
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), host
        body = answer.read().decode()
    assert parse(body).keys() == disk.keys(), host


def refused(path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        return error.code
    raise AssertionError("not refused")


assert refused("/") == 404 and refused("/metrics/x") == 404
assert refused("/metrics", "POST") == 405 and refused("/metrics", "DELETE") == 405


def connect():
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def status_answers():
    started = time.monotonic()
    subprocess.run([ringloop, "status", "--json", "disk"], check=True, capture_output=True)
    took = time.monotonic() - started
    assert took < 2, f"status took {took} s"


def scrape_answers():
    with connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while part := client.recv(65536):
            text += part
        assert text.startswith(b"HTTP/1.1 200 "), text[:100]


half = connect()
half.sendall(b"GET /metr")
status_answers()
scrape_answers()

# A megabyte of header: the reason, or the end of the connection, but no patience.
with connect() as long:
    try:
        for _ in range(64):
            long.sendall(b"X" * 16384)
        long.shutdown(socket.SHUT_WR)
        heard = long.recv(65536)
        assert heard.startswith(b"HTTP/1.1 431 "), heard
    except (BrokenPipeError, ConnectionResetError):
        raise AssertionError("cut off without an answer")
status_answers()

many = [connect() for _ in range(200)]
status_answers()
scrape_answers()
for client in many:
    client.close()

# Readers that do not read, each with all the questions that fit in.
slow = []
for _ in range(32):
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n" * 20)
    slow.append(client)
status_answers()
scrape_answers()

# Scrapes without a pause, by many: the device's owner is heard all the same.
done = threading.Event()


def flood():
    while not done.is_set():
        with connect() as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.recv(65536)


threads = [threading.Thread(target=flood) for _ in range(8)]
for thread in threads:
    thread.start()
try:
    for _ in range(5):
        status_answers()
finally:
    done.set()
    for thread in threads:
        thread.join()

# All of them are let go of in time, and then the server sleeps.
pid = json.loads(subprocess.run([ringloop, "status", "--json", "disk"], check=True,
                                capture_output=True).stdout)["pid"]
deadline = time.monotonic() + 30
for client in [half, *slow]:
    client.settimeout(deadline - time.monotonic())
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass


def switches():
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


before = switches()
select.select([], [], [], 2)
assert switches() - before <= 2, "the control thread of an idle server wakes up"
END

# Recovery listens there again.
kill_server disk
"$RINGLOOP" recover disk >/dev/null
assert_match "$("$RINGLOOP" status disk)" "metrics +$port"
again=$(/usr/bin/python3 -c 'import sys, urllib.request
url = f"http://127.0.0.1:{sys.argv[1]}/metrics"
print(urllib.request.urlopen(url, timeout=10).read().decode())' "$port")
assert_match "$again" 'ringloop_requests_total\{device="disk",op="write"\} 0'

# Where somebody else has the port by then, the device comes back without.
kill_server disk
/usr/bin/python3 -c 'import signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
signal.pause()' "$port" >squatting &
squatter=$!
wait_until 10 grep -qs listening squatting
"$RINGLOOP" recover disk >/dev/null 2>.stderr || die "not recovered: $(<.stderr)"
kill "$squatter"
wait "$squatter" || true
assert_match "$(<.stderr)" "warning: no metrics over HTTP: .*somebody listens there already"
assert_match "$("$RINGLOOP" metrics disk)" 'ringloop_size_bytes\{device="disk"\} 16777216'
"$RINGLOOP" detach --all

assert_refused "--metrics '0.0.0.0:9100': other hosts could read them" \
    attach --nbd unix:socket --metrics 0.0.0.0:9100 image
assert_refused "--metrics 'x': use PORT" attach --nbd unix:socket --metrics x image
refused_status=2 assert_refused "--stdio is one connection: .*--metrics" \
    serve --stdio --metrics 9100 image
assert_refused "disk: not attached" metrics disk
