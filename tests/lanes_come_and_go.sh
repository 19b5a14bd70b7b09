#!/usr/bin/env bash
# Cgroups are made, used once by a client of a socket, and removed: CGROUPS of them, 100 unless set.
#   CGROUPS=10000 tests/lanes_come_and_go.sh
# More than there can be lanes at a time, so that some must go before the next ones come. On a host
# whose cgroups are of version 1; tests/vm has the same for version 2 and a block device.
source "$(dirname "$0")/lib.sh"

need_python_nbd
blkio=/sys/fs/cgroup/blkio memory=/sys/fs/cgroup/memory
[[ $EUID == 0 ]] || skip "only root makes cgroups"
[[ -e $blkio/blkio.throttle.io_service_bytes && -e $memory/memory.usage_in_bytes ]] ||
    skip "blkio and memory are no hierarchies of version 1 here"
mkdir "$blkio/ringloop-test-$$" 2>/dev/null || skip "no cgroups can be made here"
rmdir "$blkio/ringloop-test-$$"
trap '"$RINGLOOP" detach served &>/dev/null || true' EXIT

truncate -s 16M image
"$RINGLOOP" attach image --name served --charge issuer --nbd unix:socket >/dev/null
python_nbd "$$" "${CGROUPS:-100}" <<'END'
import json, os, subprocess, sys, time

run, total = sys.argv[1], int(sys.argv[2])
ringloop = os.environ["RINGLOOP"]


def say(*arguments):
    return subprocess.run([ringloop, *arguments], check=True, capture_output=True).stdout


def status():
    return json.loads(say("status", "--json", "served"))


pid = status()["pid"]


def folders(number):
    return [f"/sys/fs/cgroup/{tree}/ringloop-test-{run}-{number}" for tree in ("blkio", "memory")]


def use(number):
    for folder in folders(number):
        os.mkdir(folder)
    child = os.fork()
    if child == 0:
        for folder in folders(number):
            with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as procs:
                procs.write(str(os.getpid()))
        client = nbd.NBD()
        client.connect_unix("socket")
        client.pwrite(number.to_bytes(8, "little") * 512, number % 4096 * 4096)
        client.shutdown()
        os._exit(0)
    _, code = os.waitpid(child, 0)
    assert code == 0, f"the client in cgroup {number} failed"


def remove(numbers):
    say("set", "served", "--reap-lanes")
    deadline = time.monotonic() + 10
    for folder in (folder for number in numbers for folder in folders(number)):
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError:  # a process that is being collected counts for an instant
                assert time.monotonic() < deadline, f"{folder} cannot be removed"


def stock():
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    children = subprocess.run(["ps", "-eo", "comm="], check=True, capture_output=True, text=True)
    return rss, len(os.listdir(f"/proc/{pid}/fd")), children.stdout.count("ringloop")


def round_of(first, count):
    numbers = range(first, min(first + count, total + 200))
    for number in numbers:
        use(number)
    remove(numbers)


round_of(total, 100)  # until everything is warm
before = stock()
started = time.monotonic()
for first in range(0, total, 100):
    round_of(first, min(100, total - first))
seconds = time.monotonic() - started
after = stock()
found = status()
print(f"{total} cgroups in {seconds:.0f} s; server KiB, files, processes: {before}, then {after}")
print({field: found[field] for field in found if field.startswith("lane")
       and field not in ("lanes", "lane_idle_s")})
assert after[0] <= before[0] + 1024, "the server has grown"
assert after[1] <= before[1] and after[2] <= before[2], "files or processes are left"
assert found["lanes_started"] == total + 100, "not each had a lane"
assert found["lane_fallbacks"] == 0, "the server carried out requests of others"
assert found["lanes_reaped"] == total + 100, "lanes are left"
END
"$RINGLOOP" detach served
assert_nothing_left
