"""What came of the tests, for tests/run.py."""

import contextlib
import time


class Report:
    """What came of the tests: printed as it happens, counted for the last line."""

    def __init__(self):
        self.passed = self.skipped = 0
        self.failures = []  # (group, name)
        self.passed_names = set()  # (group, name), of tests with a line of their own
        self.unsteady = []  # (group, name): failed among others, passed alone
        self.stages = []

    def line(self, text):
        print(text, flush=True)

    def test(self, group, name, outcome, seconds, output=""):
        """One test with a line of its own. outcome: PASS, FAIL or SKIP."""
        note = ""
        if outcome == "PASS":
            self.passed += 1
            self.passed_names.add((group, name))
        elif outcome == "SKIP":
            self.skipped += 1
            note = f": {last_line(output) or 'no reason given'}"
        else:
            self.failures.append((group, name))
        self.line(f"[{group}] {outcome} {name} ({seconds:.1f} s){note}")
        if outcome == "FAIL":
            self.show(output)

    def show(self, output):
        for text in output.rstrip("\n").split("\n"):
            self.line(f"    {text}")

    def show_tests(self, title, tests):
        if tests:
            self.line(f"\n{title}:")
        for group, name in tests:
            self.line(f"    {group}: {name}")

    def settle(self, failed, again):
        """`again` is of a second attempt at the tests in `failed`, which failed here."""
        for test in failed:
            if test in again.passed_names and test not in again.failures:
                self.failures.remove(test)
                self.unsteady.append(test)
                self.passed += 1
        self.stages += again.stages

    @contextlib.contextmanager
    def stage(self, name):
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages.append((name, time.monotonic() - start))

    def finish(self):
        ran = self.passed + len(self.failures)
        self.show_tests("failed", self.failures)
        self.show_tests("unsteady: failed among others, passed alone", self.unsteady)
        self.line("\nseconds: " + ", ".join(f"{name} {took:.0f}" for name, took in self.stages))
        if ran == 0:
            self.line("nothing ran")
        self.line(f"{self.passed} passed, {len(self.failures)} failed, {self.skipped} skipped")
        return 0 if ran > 0 and not self.failures else 1


def last_line(text):
    lines = text.strip().split("\n")
    return lines[-1].strip()
