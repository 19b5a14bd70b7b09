#!/usr/bin/python3
"""Checks that run.py tells the truth: runs the scripts of this folder, of which some fail, hang,
leave things behind or break the guest, and compares the report with what they deserve."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# In the order of the report: a test of another kernel is known to be skipped from the start.
EXPECTED = [
    ("SKIP 31-other-kernel", "is for the kernel 6.1"),
    ("PASS 10-passes", ""),
    ("FAIL 20-fails", "exit status 3"),
    ("FAIL 21-dies-in-a-command", "exit status 2"),
    ("SKIP 30-skips", "this is not the time"),
    ("FAIL 40-hangs", "timed out after 3 s"),
    ("PASS 41-leaves-nothing-running", ""),
    ("PASS 42-finds-a-clean-guest", ""),
    ("FAIL 50-leaves-a-server", "left behind: process"),
    ("FAIL 51-leaves-what-stays", "left behind: /run/ringloop/immutable"),
    ("FAIL 60-kernel-warning", "the kernel complained: "),
    ("FAIL 70-panics", "the guest panicked"),
    ("PASS 80-passes-after-all", ""),
]
EXPECTED_OUTPUT = ["some output", "before the hang", "cleaned up", "before the panic"]
EXPECTED_END = "4 passed, 7 failed, 2 skipped"


def main():
    scripts = sorted(str(path) for path in HERE.glob("*.sh"))
    done = subprocess.run([HERE.parent / "run.py", "--kernel", "6.12", "--out",
                           HERE.parents[2] / "build/vm/selftest", *scripts],
                          stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    lines = done.stdout.splitlines()
    reports = [line for line in lines if line[:5] in ("PASS ", "FAIL ", "SKIP ")]
    wrong = [f"expected '{verdict} ... {reason}'" for line, (verdict, reason)
             in zip(reports, EXPECTED) if not line.startswith(verdict) or reason not in line]
    wrong += [f"the output '{text}' is missing" for text in EXPECTED_OUTPUT
              if f"    {text}" not in lines]
    if len(reports) != len(EXPECTED):
        wrong.append(f"{len(EXPECTED)} reports expected, {len(reports)} came")
    starts = sum(line.startswith("guest ") for line in lines)
    if starts != 3:  # again after 51 and after 70
        wrong.append(f"the guest started {starts} times, not 3")
    if lines[-1:] != [EXPECTED_END]:
        wrong.append(f"the last line is not '{EXPECTED_END}'")
    if done.returncode != 1:
        wrong.append(f"the exit status is {done.returncode}, not 1")
    print("\n".join(f"WRONG: {line}" for line in wrong) or "the harness tells the truth")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
