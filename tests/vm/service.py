#!/usr/bin/python3
"""Installs the Debian package in a guest that systemd runs, and lives with it across a reboot.

  service.py [--kernel 6.12] [--package build/deb/ringloop_*.deb] [--kills 200]

Each stage is a boot on the disks of the one before: SERVICE_STAGE 1 of tests/vm/tools/service.sh
ends by `systemctl reboot`, stage 2 by powering off. A stage tells of each step by a line; the first
that fails ends the test.
"""

import argparse
import pathlib
import shutil
import sys
import time

import image
import run
from guest import Ended, GuestError, Silent
from power_cut import KeptGuest

STAGES = 2
STEP_LIMIT_S = 120


class ServiceGuest(KeptGuest):
    """Its clock is right on a busy machine, too, where the kernel measures the processor's own
    wrongly: systemd's limits are times."""
    kernel_command_line = KeptGuest.kernel_command_line + (
        " clocksource=acpi_pm systemd.show_status=no")


class Service:
    def __init__(self, options):
        self.options = options
        self.results = run.BUILD / "service"
        self.lock = run.open_results(self.results)
        kernel_image = image.prepare(options.kernel, options.cache)
        self.guest = ServiceGuest(kernel_image, self.results, 2, "1G")
        self.started = time.monotonic()

    def say(self, text):
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    def boot(self, stage):
        script = (run.HERE / "tools/service.sh").read_text(encoding="utf-8")
        self.guest.load({"stage": script}, [], None,
                        {"VM_INIT": "systemd_root.sh", "SERVICE_STAGE": stage})
        shutil.copy(self.options.package, self.guest.share / "ringloop.deb")
        (self.guest.share / "stage").write_text(f"{stage}\n", encoding="utf-8")
        (self.guest.share / "kills").write_text(f"{self.options.kills}\n", encoding="utf-8")
        self.guest.start()
        try:
            self.follow(stage)
        finally:
            self.guest.stop()

    def follow(self, stage):
        """Until the guest has ended, by itself and after its last step."""
        done = False
        while True:
            try:
                deadline = time.monotonic() + STEP_LIMIT_S * self.options.patience
                kind, *words = self.guest.next_event(deadline)
            except Silent:
                raise GuestError(f"the guest hangs:\n{self.guest.console_tail()}") from None
            except Ended:
                if done:
                    return
                raise GuestError(f"the guest ended:\n{self.guest.console_tail()}") from None
            if kind == "failed":
                log = self.results / f"stage-{stage}.log"
                raise GuestError(f"{' '.join(words)}; see {log}\n{tail(log)}")
            done = kind == "done"
            self.say(f"boot {stage}: {' '.join(words) if kind == 'step' else kind}")

    def run(self):
        try:
            for stage in range(1, STAGES + 1):
                self.boot(stage)
        finally:
            if not self.options.keep:
                self.guest.remove_disks()
            self.lock.close()


def tail(log, lines=60):
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=pathlib.Path, help="default: the one of build/deb")
    parser.add_argument("--kernel", choices=image.META_PACKAGES, default="6.12")
    parser.add_argument("--cache", type=pathlib.Path, default=run.BUILD / "images")
    parser.add_argument("--patience", type=int, default=1, metavar="N",
                        help="multiply every limit by N, on a machine that is busy or slow")
    parser.add_argument("--kills", type=int, default=0, metavar="N",
                        help="kill the server N times more, at random moments, under a load")
    parser.add_argument("--keep", action="store_true", help="keep the guest's disks")
    options = parser.parse_args()
    if not options.package:
        options.package = next(iter(sorted((run.TREE / "build/deb").glob("*.deb"))), None)
    if not options.package or not options.package.is_file():
        parser.error("no package: make it with 'make deb', or give one")
    return options


def main():
    options = parse_options()
    started = time.monotonic()
    try:
        Service(options).run()
    except (GuestError, image.ImageError) as error:
        print(f"FAIL service {time.monotonic() - started:.1f} s: {error}", flush=True)
        sys.exit(1)
    print(f"PASS service {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
