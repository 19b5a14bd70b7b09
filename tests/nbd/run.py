#!/usr/bin/python3
"""Runs the cases of one file, in the order in which they stand there.

    tests/nbd/run.py FILE [-k PATTERN] [--list]

A line for each: `PASS|FAIL|SKIP NAME SECONDS[: REASON]`; what failed is shown below it, indented.
The exit status is 0 when none failed. The server is chosen by NBD_SERVER (server.py). A process
that a case leaves behind fails it.
"""

import argparse
import pathlib
import re
import runpy
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))

import cases
import processes


def run_case(function):
    """(outcome, reason or report) of one case in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ringloop-test-") as folder:
        test = cases.Test(folder)
        outcome, text = "PASS", ""
        try:
            function(test)
        except cases.Skipped as reason:
            outcome, text = "SKIP", str(reason)
        except (Exception, KeyboardInterrupt) as error:
            outcome, text = "FAIL", report(error)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            try:
                test.finish()
            except Exception as error:
                outcome, text = "FAIL", f"{text}\n{report(error)}".strip()
            logs = [f"{one.log.name}: {one.said()}" for one in test.servers]
        left = processes.end_stragglers()
        if left:
            outcome = "FAIL"
        if outcome == "FAIL":
            text = "\n".join([text, *left, *logs])
        return outcome, text


def report(error):
    """Where in the cases it was, and what."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{pathlib.Path(frame.filename).name}:{frame.lineno}: {frame.line}"
              for frame in frames if "nbd/run.py" not in frame.filename
              and "/lib/python" not in frame.filename]
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, subprocess.TimeoutExpired):
        said += f"\n{error.stdout or ''}{error.stderr or ''}"
    return "\n".join([*places, said])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("-k", dest="pattern", default="", metavar="PATTERN")
    parser.add_argument("--list", action="store_true", help="only the names")
    options = parser.parse_args()
    runpy.run_path(str(options.file))
    chosen = [one for one in cases.CASES if re.search(options.pattern, one.__name__)]
    if options.list:
        print("\n".join(one.__name__ for one in chosen))
        return 0
    processes.become_subreaper()
    failed = 0
    for function in chosen:
        start = time.monotonic()
        outcome, text = run_case(function)
        failed += outcome == "FAIL"
        note = f": {text.splitlines()[0]}" if outcome == "SKIP" else ""
        print(f"{outcome} {function.__name__} {time.monotonic() - start:.1f} s{note}", flush=True)
        if outcome == "FAIL":
            print("\n".join(f"    {line}" for line in text.splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
