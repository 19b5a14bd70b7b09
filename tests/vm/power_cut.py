#!/usr/bin/python3
"""Cuts the power of a guest that writes through ringloop, and looks what is left.

  power_cut.py [--transport ublk,nbd,socket] [--rounds N] [--seed N]

Each round boots the guest, compares what earlier rounds acknowledged, writes batches of blocks that
are made safe by a flush or by FUA, and kills QEMU at a random moment. The image is on the guest's
own disk; what was acknowledged is noted outside. At the end a last boot compares.

What this proves is that what the client was told to be safe had left the guest: the memory of the
guest is gone, its page cache with it, and what its disk was told to write is not. The host's own
caches and its disk lose nothing here; tests of crashes replay what a disk may lose.
"""

import argparse
import pathlib
import random
import sys
import time

import image
import run
from guest import Ended, Guest, GuestError, Silent

TRANSPORTS = ("ublk", "nbd", "socket")
LEAST_BATCHES = 20  # of a round, before its power may go
LONGEST_MORE_S = 4.0
BOOTS = 3  # tries to boot at all
STEP_LIMIT_S = 240  # boot, compare, write the first batches

SCRIPT = """
source "$(dirname "$0")/../lib.sh"
source "$RINGLOOP_TREE/tests/vm/tools/device.sh"
[[ -e image ]] || truncate -s 32M image
options=(--transport "$POWER_TRANSPORT" --direct-io="$POWER_DIRECT")
target=$SCRATCH/socket
[[ $POWER_TRANSPORT != socket ]] || options+=(--nbd "unix:$target")
rm -f "$target"
"$RINGLOOP" attach "${options[@]}" image >attached
[[ $POWER_TRANSPORT == socket ]] || target=$(<attached)
on_exit '"$RINGLOOP" detach --all'
/usr/bin/python3 "$RINGLOOP_TREE/tests/vm/tools/power_writer.py" "$target" /results $POWER_OPTIONS
"""


class KeptGuest(Guest):
    """A guest whose disks survive it."""
    mode = None

    def make_disks(self):
        self.mode = self.mode or super().make_disks()
        return self.mode


class PowerCut:
    """The rounds of one transport, each on the disks of the one before."""

    def __init__(self, options, transport):
        self.options = options
        self.transport = transport
        self.results = run.BUILD / f"power-cut-{transport}"
        self.lock = run.open_results(self.results)
        for name in ("acknowledged", "verdicts"):
            (self.results / name).unlink(missing_ok=True)
        kernel_image = image.prepare(options.kernel, options.cache)
        self.guest = KeptGuest(kernel_image, self.results, 2, "1G")
        self.ready = False  # whether the guest has come up in this boot
        self.random = random.Random(f"{options.seed} {transport}")

    def lines_of(self, name):
        path = self.results / name
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []

    def batches(self):
        return int((self.lines_of("acknowledged") or [0])[-1])

    def boot(self, number, last):
        self.guest.load({"power-cut": SCRIPT}, [("power-cut", STEP_LIMIT_S)], self.options.binary,
                        {"POWER_TRANSPORT": self.transport,
                         "POWER_DIRECT": "on" if number % 2 == 0 else "off",
                         "POWER_OPTIONS": "--check-only" if last else ""})
        self.guest.start()

    def wait_for(self, condition, seconds):
        """Returns at once when it is true; Silent is raised when it has not become true."""
        deadline = time.monotonic() + seconds
        while not condition():
            try:
                kind, *words = self.guest.next_event(time.monotonic() + 0.1)
            except Silent:
                if time.monotonic() > deadline:
                    raise
                continue
            self.ready = self.ready or kind == "ready"
            if kind == "end" and not condition():
                raise GuestError(f"the writer ended: {' '.join(words)}; "
                                 f"{(self.lines_of('verdicts') or ['without a verdict'])[-1]}; see "
                                 f"{self.results}/power-cut.log")

    def verdict(self, number):
        self.wait_for(lambda: len(self.lines_of("verdicts")) > number, STEP_LIMIT_S)
        text = self.lines_of("verdicts")[number]
        if not text.startswith("0 blocks are wrong"):
            raise GuestError(f"after power cut {number}: {text}")

    def let_pass(self, seconds):
        """The moment of the cut is the subject: nothing is waited for."""
        try:
            self.wait_for(lambda: False, seconds)
        except Silent:
            pass

    def round(self, number, last):
        for attempt in range(BOOTS):
            try:
                self.one_boot(number, last)
                return
            except GuestError:
                # The emulated processor itself faults at times, before there is a test to blame.
                if self.ready or attempt == BOOTS - 1:
                    raise

    def one_boot(self, number, last):
        before = self.batches()
        self.ready = False
        self.boot(number, last)
        try:
            self.verdict(number)
            if not last:
                self.wait_for(lambda: self.batches() >= before + LEAST_BATCHES, STEP_LIMIT_S)
                self.let_pass(self.random.random() * LONGEST_MORE_S)
        except (Ended, Silent) as event:
            what = "hangs" if isinstance(event, Silent) else "ended"
            raise GuestError(f"the guest {what}:\n{self.guest.console_tail()}") from None
        finally:
            self.guest.stop()

    def run(self):
        started = time.monotonic()
        try:
            for number in range(self.options.rounds + 1):
                self.round(number, last=number == self.options.rounds)
        finally:
            self.guest.remove_disks()
            self.lock.close()
        return (f"{self.options.rounds} power cuts, {self.batches()} batches acknowledged, "
                f"0 blocks lost ({time.monotonic() - started:.0f} s)")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transport", default=",".join(TRANSPORTS), help="of ublk,nbd,socket")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the cuts")
    parser.add_argument("--kernel", choices=image.META_PACKAGES, default="6.12")
    parser.add_argument("--binary", type=pathlib.Path,
                        default=run.TREE / "build/release/ringloop")
    parser.add_argument("--cache", type=pathlib.Path, default=run.BUILD / "images")
    options = parser.parse_args()
    options.transports = options.transport.split(",")
    if unknown := set(options.transports) - set(TRANSPORTS):
        parser.error(f"no transport {', '.join(sorted(unknown))}")
    if not options.binary.is_file():
        parser.error(f"no binary {options.binary}: build it with 'make', or give another")
    return options


def main():
    options = parse_options()
    failed = 0
    for transport in options.transports:
        try:
            print(f"PASS {transport}: {PowerCut(options, transport).run()}", flush=True)
        except (GuestError, image.ImageError) as error:
            failed += 1
            print(f"FAIL {transport}: {error}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
