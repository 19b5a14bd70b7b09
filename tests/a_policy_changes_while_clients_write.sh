#!/usr/bin/env bash
# No request fails and no byte is lost, whatever the policy becomes; recovery keeps the last one.
source "$(dirname "$0")/lib.sh"
need_python_nbd

truncate -s 16M image
# Direct I/O is what most of the policies differ in; tmpfs has none before Linux 6.6.
direct=()
dd if=/dev/zero of=probe bs=4096 count=1 oflag=direct status=none 2>/dev/null &&
    direct=(--direct-io)
uri=$("$RINGLOOP" attach --transport socket --queues 2 ${direct[@]+"${direct[@]}"} image)

python_nbd "$uri" <<'PYTHON'
import json, os, random, subprocess, sys, threading
ringloop = os.environ["RINGLOOP"]
block, blocks, clients = 4096, 4096, 4
rng = random.Random(4)
done = threading.Event()
failures = []
written = [{} for _ in range(clients)]

# Each client has every fourth block to itself, writes it, and reads back what it wrote before.
def load(number):
    rng = random.Random(number)
    mine = range(number, blocks, clients)
    try:
        client = nbd.NBD()
        client.connect_uri(sys.argv[1])
        known = written[number]
        while not done.is_set():
            at = rng.choice(mine)
            data = rng.randbytes(block)
            if at in known and rng.random() < 0.5:
                assert client.pread(block, at * block) == known[at], f"block {at}"
            else:
                client.pwrite(data, at * block)
                known[at] = data
            if rng.random() < 0.02:
                client.flush()
        client.flush()
        client.shutdown()
    except Exception as error:
        failures.append(f"client {number}: {error!r}")

def run(*words):
    return subprocess.run([ringloop, *words], check=True, capture_output=True, text=True).stdout

def stats_now():
    return json.loads(run("status", "--json", "image"))["stats"]

def requests(stats):
    return stats["read"]["requests"] + stats["write"]["requests"]

threads = [threading.Thread(target=load, args=(number,)) for number in range(clients)]
for thread in threads:
    thread.start()
names = ["linux-3.19", "linux-4.0", "linux-4.0-capped", "linux-4.4", "linux-5.14", "loop-nowait",
         "nowait-no-hint", "auto"]
for name in names:
    answer = json.loads(run("set", "--json", "image", "--policy", name))
    assert answer["policy"] == name, answer
    assert (answer["pause_us"] > 0) == (answer["previous_policy"] != name), answer
    # The load goes on under each of them, and takes the way of this one: the kernel's driver tried
    # nothing before 2025 and gave all to its workers.
    start = now = stats_now()
    while requests(now) < requests(start) + 100 and not failures:
        now = stats_now()
    if name.startswith("linux-"):
        assert now["nowait_attempts"] == start["nowait_attempts"], (name, start, now)
        assert now["lane_requests"] >= start["lane_requests"] + 90, (name, start, now)
    limit = rng.choice([2, 3, 16, 512])
    answer = json.loads(run("set", "--json", "image", "--workers", str(limit)))
    assert answer["workers"] == limit and answer["policy"] == name, answer
done.set()
for thread in threads:
    thread.join()
assert not failures, failures
stats = stats_now()
assert all(stats[op]["errors"] == 0 for op in ("read", "write", "flush")), stats
assert stats["workers_now"] == 0 and stats["inflight"] == 0, stats

client = nbd.NBD()
client.connect_uri(sys.argv[1])
for known in written:
    assert known
    for at, data in known.items():
        assert client.pread(block, at * block) == data, f"block {at} is lost"
PYTHON

# What becomes of the workers is said; a number that somebody gave stays.
set_to() { # ARGUMENT... EXPECTED
    local printed waited=""
    printed=$("$RINGLOOP" set image "${@:1:$#-1}")
    assert_eq "${printed%%$'\n'*}" "$uri: ${!#}" "what set ${*:1:$#-1} printed"
    [[ $printed != *$'\n'* ]] || waited=${printed#*$'\n'}
    # Nobody waits for what is so already.
    if [[ ${!#} == *"as before" ]]; then
        assert_eq "$waited" "" "how long requests waited for nothing"
    else
        assert_match "${waited#"$uri: "}" "^requests waited for [0-9]+\.[0-9]{3} ms$"
    fi
}
"$RINGLOOP" detach image
uri=$("$RINGLOOP" attach --transport socket --queues 2 image)
set_to --policy linux-4.0 "policy linux-4.0, 512 workers (auto, 16 workers before)"
set_to --policy linux-4.4 "policy linux-4.4, 2 workers (linux-4.0, 512 workers before)"
set_to --workers 5 "policy linux-4.4, 5 workers (linux-4.4, 2 workers before)"
set_to --workers 5 "policy linux-4.4, 5 workers, as before"
set_to --policy loop-nowait "policy loop-nowait, 5 workers (linux-4.4, 5 workers before)"

# What no device can have is refused before the server is asked, what this one cannot, by it.
refuses() { # STATUS REGEX ARGUMENT...
    run_program "$RINGLOOP" set "${@:3}"
    assert_eq "$status" "$1" "the exit code of set ${*:3} ($stderr)"
    assert_match "$stderr" "^ringloop: $2$" "what set ${*:3} said"
}
refuses 2 "set: no policy 'fast'; there are auto, .*" image --policy fast
refuses 2 "set: --workers 0: use 1 to 512; .*" image --workers 0
refuses 2 "set: --workers 513: .*" image --workers 513
refuses 2 "set: nothing to set: give --policy, --workers, .*" image
refuses 1 ".*: --workers 1 is less than its 2 queues, .*--workers 2, or attach it with --queues 1" \
    image --workers 1
refuses 1 "nowhere: not attached.*" nowhere --policy auto
set_to --workers 5 "policy loop-nowait, 5 workers, as before"

# A dead server has no policy to change; the next one has what it had.
kill_server image
refuses 1 ".*: its server died: ringloop recover socket0" image --policy auto
assert_match "$("$RINGLOOP" status image)" $'\n'"policy +loop-nowait"$'\n'
"$RINGLOOP" recover image >/dev/null
set_to --workers 5 "policy loop-nowait, 5 workers, as before"
set_to --policy auto "policy auto, 5 workers (loop-nowait, 5 workers before)"
"$RINGLOOP" detach image
assert_nothing_left
