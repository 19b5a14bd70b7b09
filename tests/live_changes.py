#!/usr/bin/env python3
"""Changes devices in use, again and again, under clients that check every byte.

live_changes.py [--rounds N] [--seed N] [--changes NAME,...] [--charge CGROUP]

For each change a device is attached to an NBD socket, clients begin to read and write it, and the
change is made N times, each time when all clients have gone on since the last one. A request that
fails, or reads what nobody wrote, fails the run. The answer is an object on standard output: for
each change the rounds, the requests, and for how long a change held them back. With --charge the
requests go by a lane, which has to follow.

The working directory takes the images; RINGLOOP names the program. Needs libnbd's module for
Python. A thousand rounds of everything take about ten minutes.
"""

import argparse
import errno
import json
import os
import pathlib
import random
import subprocess
import sys
import threading

import nbd

RINGLOOP = os.environ["RINGLOOP"]
BLOCK = 4096
BLOCKS = 2048
SMALL_BLOCKS = 1024  # clients keep to these where the size changes
CLIENTS = 4
SPAN_BLOCKS = 8  # of one read, at most
STEPS = 3  # requests of each client between two rounds


class Trouble(Exception):
    pass


def ringloop(*words):
    done = subprocess.run([RINGLOOP, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Trouble(f"ringloop {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def fill(path, letter):
    """An image in which each block says where it is, and in which image."""
    with open(path, "wb") as image:
        for number in range(BLOCKS):
            image.write((letter + f"{number:015}").encode() * (BLOCK // 16))


class Load:
    """Clients that check what they read. Each writes blocks of its own only."""

    def __init__(self, uri, seed, blocks):
        self.uri, self.seed, self.blocks = uri, seed, blocks
        self.done = threading.Event()
        self.steps = [0] * CLIENTS
        self.errors, self.miscompares = [], []
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        rng = random.Random(self.seed * 100 + number)
        try:
            client = nbd.NBD()
            client.add_meta_context("base:allocation")
            client.connect_uri(self.uri)
            while not self.done.is_set() and not self.miscompares:
                self.step(number, client, rng)
                self.steps[number] += 1
            self.finish(number, client)
            client.shutdown()
        except (nbd.Error, Trouble) as error:
            self.errors.append(f"client {number}: {error}")

    def finish(self, number, client):
        pass

    def miscompare(self, text):
        self.miscompares.append(text)

    def went_on(self):
        """Waits until every client has done some more; False when one has failed."""
        wanted = [steps + STEPS for steps in self.steps]
        while any(now < goal for now, goal in zip(self.steps, wanted)):
            if self.errors or self.miscompares:
                return False
            self.done.wait(0.001)
        return True

    def end(self):
        self.done.set()
        for thread in self.threads:
            thread.join()


class Writers(Load):
    """Read back what they wrote; `may_refuse` says whether a write may be refused now."""

    def __init__(self, uri, seed, blocks=BLOCKS):
        self.known = [{} for _ in range(CLIENTS)]
        self.may_refuse = False
        self.refused = 0
        super().__init__(uri, seed, blocks)

    def step(self, number, client, rng):
        block = rng.randrange(self.blocks // CLIENTS) * CLIENTS + number
        known = self.known[number]
        choice = rng.random()
        if choice < 0.45 and block in known:
            if client.pread(BLOCK, block * BLOCK) != known[block]:
                self.miscompare(f"block {block} is not what was written")
        elif choice < 0.9:
            self.write(client, block, rng.randbytes(16) * (BLOCK // 16), known)
        elif choice < 0.95:
            client.flush()
        else:
            client.block_status(BLOCK, block * BLOCK, lambda *_: 0)

    def write(self, client, block, data, known):
        may_refuse = self.may_refuse
        try:
            client.pwrite(data, block * BLOCK)
            known[block] = data
        except nbd.Error as error:
            if error.errnum != errno.EPERM or not (may_refuse or self.may_refuse):
                raise
            self.refused += 1

    def finish(self, number, client):
        for block, data in self.known[number].items():
            if client.pread(BLOCK, block * BLOCK) != data:
                self.miscompare(f"block {block} is lost")


class Readers(Load):
    """Of one image or another: all of a request is of one that was there while it was."""

    def __init__(self, uri, seed):
        self.images = {"a"}  # that may be served at this moment
        super().__init__(uri, seed, BLOCKS)

    def step(self, number, client, rng):
        count = rng.randint(1, SPAN_BLOCKS)
        first = rng.randrange(self.blocks - count)
        images = set(self.images)
        data = client.pread(count * BLOCK, first * BLOCK)
        images |= self.images
        for image in images:
            wanted = b"".join((image + f"{block:015}").encode() * (BLOCK // 16)
                              for block in range(first, first + count))
            if data == wanted:
                return
        self.miscompare(f"{count} blocks at {first} are neither of {sorted(images)}")


ATTACH = ["attach", "--transport", "socket", "--queues", "2"]


def attach(image, *options):
    return ringloop(*ATTACH, *options, image).strip()


def new_image(name="a"):
    fill(name, "a")
    return name


class Change:
    """One kind: its device, its load, and what a round does. Returns the words of `set`."""

    def __init__(self, seed):
        self.image = new_image()
        self.uri = attach(self.image, *self.options())
        self.load = self.make_load(seed)

    def options(self):
        return ()

    def make_load(self, seed):
        return Writers(self.uri, seed)

    def before(self, number):
        pass

    def after(self, number):
        pass


class Policy(Change):
    NAMES = ("linux-3.19", "auto", "linux-4.4", "loop-nowait", "linux-4.0-capped")

    def words(self, number):
        return ("--policy", self.NAMES[number % len(self.NAMES)])


class Workers(Change):
    def words(self, number):
        return ("--workers", str((2, 16, 512)[number % 3]))


class DirectIo(Change):
    def options(self):
        return ("--direct-io",)

    def words(self, number):
        return ("--direct-io", ("off", "on")[number % 2])


class ReadOnly(Change):
    def words(self, number):
        return ("--read-only", ("on", "off")[number % 2])

    def before(self, number):
        self.load.may_refuse = True

    def after(self, number):
        self.load.may_refuse = number % 2 == 0


class Size(Change):
    def make_load(self, seed):
        return Writers(self.uri, seed, SMALL_BLOCKS)

    def words(self, number):
        return ("--size", str((SMALL_BLOCKS * BLOCK, BLOCKS * BLOCK, 0)[number % 3]))


class BackingFile(Change):
    """Between two images, which readers can tell from each other."""

    def options(self):
        fill("b", "b")
        return ("--read-only",)

    def make_load(self, seed):
        return Readers(self.uri, seed)

    def words(self, number):
        return ("--backing-file", "ba"[number % 2])

    def before(self, number):
        self.load.images = {"a", "b"}

    def after(self, number):
        self.load.images = {"ba"[number % 2]}


class BackingFileUnderWriters(Change):
    """Between two names of one image: what went to the one is read from the other."""

    def words(self, number):
        pathlib.Path("b").unlink(missing_ok=True)
        pathlib.Path("c").unlink(missing_ok=True)
        name = "bc"[number % 2]
        os.link("a", name)
        return ("--backing-file", name, "--force")


CHANGES = {"policy": Policy, "workers": Workers, "direct-io": DirectIo, "read-only": ReadOnly,
           "size": Size, "backing-file": BackingFile,
           "backing-file-force": BackingFileUnderWriters}


def quantiles(values):
    values = sorted(values)
    pick = lambda share: values[min(len(values) - 1, int(len(values) * share))]
    return {"p50": pick(0.5), "p99": pick(0.99), "max": values[-1]}


def run(name, rounds, seed):
    """What the answer says of one change, and whether it went well."""
    try:
        change = CHANGES[name](seed)
    except Trouble as trouble:
        if "no direct I/O" in str(trouble):
            return {"skipped": str(trouble)}, True
        raise
    pauses = []
    trouble = None
    try:
        for number in range(rounds):
            if not change.load.went_on():
                break
            change.before(number)
            answer = json.loads(ringloop("set", "--json", change.uri, *change.words(number)))
            change.after(number)
            pauses.append(answer["pause_us"])
        change.load.went_on()
    except Trouble as error:
        trouble = str(error)
    change.load.end()
    status = json.loads(ringloop("status", "--json", change.uri))
    stats = status["stats"]
    ringloop("detach", change.uri)
    result = {"rounds": len(pauses), "requests": sum(change.load.steps),
              "errors": len(change.load.errors), "miscompares": len(change.load.miscompares),
              "pause_us": quantiles(pauses or [0])}
    for field in ("lanes_started", "lane_fallbacks"):
        if field in status:
            result[field] = status[field]
    if trouble:
        result["trouble"] = trouble
    for text in change.load.errors + change.load.miscompares:
        print(f"{name}: {text}", file=sys.stderr)
    refused = getattr(change.load, "refused", 0)
    if refused:
        result["refused"] = refused
    failed = sum(stats[op]["errors"] for op in ("read", "write", "flush"))
    well = not (trouble or change.load.errors or change.load.miscompares) and failed == refused
    return result, well and len(pauses) == rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--changes", default=",".join(CHANGES))
    parser.add_argument("--charge")
    arguments = parser.parse_args()
    if arguments.charge:
        ATTACH.extend(("--charge", arguments.charge))
    results, all_well = {}, True
    for name in arguments.changes.split(","):
        results[name], well = run(name, arguments.rounds, arguments.seed)
        all_well = all_well and well
    print(json.dumps(results, indent=2))
    return 0 if all_well else 1


if __name__ == "__main__":
    sys.exit(main())
