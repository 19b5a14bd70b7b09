#!/usr/bin/env python3
"""Replaces the server of a device in use, again and again, under clients that check every byte.

upgrades.py [--rounds N] [--seed N]

A device is attached to a Unix and to a TCP socket, clients begin to read and write it at both, and
another server takes over N times, each time when all clients have gone on since the last one. A
request that fails, a connection that ends, or data that nobody wrote fails the run. The answer is
an object on standard output: the rounds, the requests, and for how long an upgrade held them back.

The working directory takes the image; RINGLOOP names the program. Needs libnbd's module for Python.
A hundred rounds take about half a minute.
"""

import argparse
import json
import random
import socket
import sys

import live_changes
from live_changes import BLOCK, BLOCKS, CLIENTS, Trouble, Writers, quantiles, ringloop

LONG_BYTES = 1024 * 1024  # a write that seldom comes in one piece


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class LongWriters(Writers):
    """Beside small requests, writes of many pieces, each client in an area of its own."""

    def __init__(self, uri, seed):
        self.long = [None] * CLIENTS
        super().__init__(uri, seed)

    def area(self, number):
        return BLOCKS * BLOCK + number * LONG_BYTES

    def step(self, number, client, rng):
        if rng.random() < 0.8:
            super().step(number, client, rng)
        elif self.long[number] is None or rng.random() < 0.7:
            data = rng.randbytes(LONG_BYTES)
            client.pwrite(data, self.area(number), rng.choice((0, live_changes.nbd.CMD_FLAG_FUA)))
            self.long[number] = data
        else:
            self.check_long(number, client)

    def check_long(self, number, client):
        if client.pread(LONG_BYTES, self.area(number)) != self.long[number]:
            self.miscompare(f"the long write of client {number} is not what was written")

    def finish(self, number, client):
        super().finish(number, client)
        if self.long[number] is not None:
            self.check_long(number, client)


def run(rounds, seed):
    """The answer, and whether it went well."""
    with open("upgrades.img", "wb") as image:
        image.truncate(BLOCKS * BLOCK + 2 * CLIENTS * LONG_BYTES)
    port = free_port()
    uri = ringloop("attach", "--transport", "socket", "--queues", "2", "--nbd",
                   "unix:upgrades.sock", "--nbd", f"tcp:127.0.0.1:{port}", "upgrades.img").strip()
    halves = [LongWriters(uri, seed), Other(f"nbd://127.0.0.1:{port}", seed + 1)]
    pauses, wholes, trouble = [], [], None
    rng = random.Random(seed)
    try:
        for _ in range(rounds):
            if not all(half.went_on() for half in halves):
                break
            halves[0].done.wait(rng.random() * 0.005)  # in the midst of whatever it may be
            answer = json.loads(ringloop("upgrade", "--json", uri))[0]
            pauses.append(answer["pause_us"])
            wholes.append(answer["upgrade_ms"])
        for half in halves:
            half.went_on()
    except Trouble as error:
        trouble = str(error)
    for half in halves:
        half.end()
    ringloop("detach", uri)
    errors = [text for half in halves for text in half.errors]
    miscompares = [text for half in halves for text in half.miscompares]
    for text in errors + miscompares:
        print(text, file=sys.stderr)
    result = {"rounds": len(pauses), "requests": sum(sum(half.steps) for half in halves),
              "errors": len(errors), "miscompares": len(miscompares),
              "pause_us": quantiles(pauses or [0]), "upgrade_ms": quantiles(wholes or [0])}
    if trouble:
        result["trouble"] = trouble
    return result, not (trouble or errors or miscompares) and len(pauses) == rounds


class Other(LongWriters):
    """At the other address: only its own long writes, behind those of the first."""

    def area(self, number):
        return super().area(number) + CLIENTS * LONG_BYTES

    def step(self, number, client, rng):
        if self.long[number] is None or rng.random() < 0.6:
            self.long[number] = None
            data = rng.randbytes(LONG_BYTES)
            client.pwrite(data, self.area(number))
            self.long[number] = data
        else:
            self.check_long(number, client)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result, well = run(arguments.rounds, arguments.seed)
    print(json.dumps(result, indent=2))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
