#!/usr/bin/python3
"""Boots a guest with a real Debian kernel and runs shell tests in it.

  run.py --kernel 6.12 --binary build/release/ringloop --out build/vm/results-6.12 [TEST...]
  run.py --kernel 6.12 --command 'lsblk; uname -r'
  run.py --kernel 6.12 --shell

A TEST is a file, or the name of one in tests/vm/tests; without any, all that name the kernel run.
The last line of a run is "N passed, N failed, N skipped"; the exit status is 0 when none failed.
With --command it is the command's own.
"""

import argparse
import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import image
from guest import HERE, TREE, Ended, Guest, GuestError, Silent

BUILD = TREE / "build/vm"

BOOT_LIMIT_S = 180  # an idle machine needs 5: many compilers beside it make that 40
# At its limit the guest ends a test itself, then cleans up. Later than this it does not answer.
ANSWER_LIMIT_S = 60
TEST_LIMIT_S = 60
COMMAND_LIMIT_S = 600
SHOWN_LINES = 200
STATUS_SKIPPED = 77
STATUS_GUEST_DIED = 97


@dataclasses.dataclass
class Test:
    name: str
    text: str
    kernel: str = "any"
    limit_s: int = TEST_LIMIT_S


class Runner:
    """Runs tests in as few boots as possible: one, unless a test breaks the guest."""

    def __init__(self, options, kernel_image, binary, results):
        self.options = options
        self.kernel_image = kernel_image
        self.binary = binary
        self.results = results
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}

    def run(self, tests):
        waiting = []
        for test in tests:
            if test.kernel in ("any", self.options.kernel):
                waiting.append(test)
            else:
                self.report(test, STATUS_SKIPPED, 0, f"is for the kernel {test.kernel}")
        while waiting:
            guest = Guest(self.kernel_image, self.results, self.options.smp, self.options.memory)
            guest.load({test.name: test.text for test in waiting},
                       [(test.name, test.limit_s * self.options.patience) for test in waiting],
                       self.binary, {"TEST_PATIENCE": self.options.patience})
            try:
                self.run_in(guest, waiting)
            finally:
                guest.stop()
                if not self.options.keep:
                    guest.remove_disks()
        return self.counts

    def run_in(self, guest, waiting):
        """Takes from `waiting` what has run, until the guest is done or broken."""
        started = time.monotonic()
        guest.start()
        deadline = started + BOOT_LIMIT_S * self.options.patience
        ready = False
        try:
            while True:
                kind, *words = guest.next_event(deadline)
                deadline = time.monotonic() + ANSWER_LIMIT_S * self.options.patience
                if kind == "ready":
                    ready = True
                    say(f"guest {words[0]} is up in {time.monotonic() - started:.1f} s")
                elif kind == "begin":
                    started = time.monotonic()
                    deadline += waiting[0].limit_s * self.options.patience
                elif kind == "end":
                    status, milliseconds = int(words[1]), int(words[2])
                    self.report(waiting.pop(0), status, milliseconds / 1000, " ".join(words[3:]))
                elif kind == "dirty":
                    say(f"the guest starts again: {' '.join(words)}")
                elif kind == "bye":
                    return
        except (Ended, Silent) as event:
            if ready:
                self.blame(guest, waiting, time.monotonic() - started, event)
                return
            say(f"the guest did not boot:\n{guest.console_tail()}")
            while waiting:
                self.report(waiting.pop(0), STATUS_GUEST_DIED, 0, "the guest did not boot")

    def blame(self, guest, waiting, seconds, event):
        """The guest broke under the first of `waiting` (if under any)."""
        if not waiting:
            return
        test = waiting.pop(0)
        guest.stop()
        tail = guest.console_tail()
        if isinstance(event, Silent):
            reason = "the guest hangs"
        elif "Kernel panic" in tail:
            reason = "the guest panicked"
        else:
            reason = "the guest ended"
        with open(self.results / f"{test.name}.log", "a", encoding="utf-8") as log:
            log.write(f"vm: {reason}; the end of its console:\n{tail}\n")
        self.report(test, STATUS_GUEST_DIED, seconds, reason)

    def report(self, test, status, seconds, reason):
        (self.results / f"{test.name}.rc").write_text(f"{status}\n", encoding="utf-8")
        log = self.results / f"{test.name}.log"
        output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        verdict = "PASS" if status == 0 else "SKIP" if status == STATUS_SKIPPED else "FAIL"
        self.counts[verdict] += 1
        if verdict == "SKIP" and not reason:
            reasons = re.findall(r"^skipped: (.*)", output, re.MULTILINE)
            reason = reasons[-1] if reasons else "without a reason"
        if verdict == "FAIL" and not reason:
            reason = f"exit status {status}"
        say(f"{verdict} {test.name} {seconds:.1f} s{': ' if reason else ''}{reason}")
        if verdict == "FAIL" or self.options.verbose:
            show(output, log)


def say(line):
    print(line, flush=True)


def show(output, log):
    lines = output.splitlines()
    if len(lines) > SHOWN_LINES:
        say(f"    ... {len(lines) - SHOWN_LINES} lines more in {log}")
    for line in lines[-SHOWN_LINES:]:
        say(f"    {line}")


def run_alone(options, kernel_image, binary, results):
    """--command and --shell; returns the exit status for this process."""
    guest = Guest(kernel_image, results, options.smp, options.memory)
    try:
        if options.shell:
            size = shutil.get_terminal_size()
            guest.load({}, [], binary, {"VM_SHELL": 1, "TERM": os.environ.get("TERM", "dumb"),
                                        "LINES": size.lines, "COLUMNS": size.columns})
            return guest.run_on_terminal()
        # The functions of lib.sh are at hand, its strictness is not.
        code = f'source "$VM_LIB"; trap - ERR; set +eu +o pipefail\n{options.command}\n'
        limit_s = (options.timeout or COMMAND_LIMIT_S) * options.patience
        guest.load({"command": code}, [("command", limit_s)], binary,
                   {"TEST_PATIENCE": options.patience})
        guest.start()
        return follow_command(guest, results / "command.log",
                              limit_s + ANSWER_LIMIT_S * options.patience)
    finally:
        guest.stop()
        if not options.keep:
            guest.remove_disks()


def follow_command(guest, log, limit_s):
    """Shows the output as it comes. Returns the command's exit status."""
    shown = 0

    def show_more():
        nonlocal shown
        if log.exists():
            with open(log, "rb") as output:
                output.seek(shown)
                data = output.read()
            shown += len(data)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    deadline = time.monotonic() + BOOT_LIMIT_S
    try:
        while True:
            kind, *words = guest.next_event(deadline, show_more)
            deadline = time.monotonic() + limit_s
            if kind == "end":
                show_more()
                if reason := " ".join(words[3:]):
                    print(f"run.py: {reason}", file=sys.stderr)
                return int(words[1])
    except (Ended, Silent) as event:
        show_more()
        what = "hangs" if isinstance(event, Silent) else "ended"
        print(f"run.py: the guest {what}; the end of its console:\n{guest.console_tail()}",
              file=sys.stderr)
        return STATUS_GUEST_DIED


def choose_tests(options):
    paths = [find_test(name) for name in options.tests] or sorted((HERE / "tests").glob("*.sh"))
    tests = [read_test(path, options.timeout or TEST_LIMIT_S) for path in paths]
    names = [test.name for test in tests]
    for name in names:
        if names.count(name) > 1:
            raise GuestError(f"two tests are called {name}")
    if not options.tests:
        tests = [test for test in tests if test.kernel in ("any", options.kernel)]
    if not tests:
        raise GuestError(f"no test in {HERE / 'tests'} is for the kernel {options.kernel}")
    return tests


def find_test(name):
    for path in (pathlib.Path(name), HERE / "tests" / name, HERE / "tests" / f"{name}.sh"):
        if path.is_file():
            return path
    raise GuestError(f"no test {name}: give a path, or the name of a file in {HERE / 'tests'}")


def read_test(path, limit_s):
    test = Test(path.stem, path.read_text(encoding="utf-8"), limit_s=limit_s)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", test.name):
        raise GuestError(f"{path}: a test's name has letters, digits, '.', '_' and '-' only")
    for name, value in re.findall(r"^# (timeout|kernel): *(\S+) *$", test.text, re.MULTILINE):
        if name == "kernel" and value in ("any", *image.META_PACKAGES):
            test.kernel = value
        elif name == "timeout" and value.isdigit():
            test.limit_s = int(value)
        else:
            raise GuestError(f"{path}: cannot understand '# {name}: {value}'")
    return test


def find_binary(options):
    if options.binary is None:
        standard = TREE / "build/release/ringloop"
        return standard if standard.exists() else None
    if not options.binary.is_file():
        raise GuestError(f"no binary {options.binary}: build it with 'make', or give another")
    return options.binary


def open_results(folder):
    """Takes the folder for this run, and removes what an earlier run left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / ".lock", "w", encoding="utf-8")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GuestError(f"another run uses {folder}: give this one its own --out") from None
    for pattern in ("*.log", "*.rc", "*.raw"):
        for old in folder.glob(pattern):
            old.unlink()
    return lock


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", metavar="TEST")
    parser.add_argument("--kernel", choices=image.META_PACKAGES, default="6.12")
    parser.add_argument("--binary", type=pathlib.Path,
                        help="the ringloop to test; default build/release/ringloop if it exists")
    parser.add_argument("--out", type=pathlib.Path, metavar="RESULTS",
                        help="where logs go; default build/vm/results-KERNEL")
    parser.add_argument("--cache", type=pathlib.Path, default=BUILD / "images",
                        help="where kernels are kept; default build/vm/images")
    parser.add_argument("--timeout", type=int, metavar="S",
                        help="the limit of a command, and of tests that name none")
    parser.add_argument("--patience", type=int, default=1, metavar="N",
                        help="multiply every limit by N, on a machine that is busy or slow")
    parser.add_argument("--smp", type=int, default=2)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--keep", action="store_true", help="keep the guest's disks in RESULTS")
    parser.add_argument("--verbose", action="store_true", help="show the output of every test")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--shell", action="store_true", help="a root shell; leave it with 'exit'")
    alone.add_argument("--command", metavar="CODE", help="run bash code in the guest")
    return parser.parse_args()


def run(options):
    binary = find_binary(options)
    alone = options.shell or options.command is not None
    tests = [] if alone else choose_tests(options)
    kernel_image = image.prepare(options.kernel, options.cache)
    if alone and not options.out:
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD, prefix="alone-") as folder:
            return run_alone(options, kernel_image, binary, pathlib.Path(folder))
    results = (options.out or BUILD / f"results-{options.kernel}").resolve()
    lock = open_results(results)
    if alone:
        return run_alone(options, kernel_image, binary, results)
    if not binary:
        say("no build/release/ringloop: tests that need it will fail")
    runner = Runner(options, kernel_image, binary, results)
    counts = runner.run(tests)
    lock.close()
    say(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] else 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("run.py: terminated"))
    try:
        sys.exit(run(parse_options()))
    except (GuestError, image.ImageError) as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
