#!/usr/bin/env python3
"""Each message of ringloop names what it is about, what is wrong with it and what to do.

    tests/messages/run.py [-k PATTERN] [-j N] [--self-test]

tests/messages/table has a row for each text that the sources say to people: which words of it name
the object, the cause and the remedy, and how it is brought about. A text without a row, or a row
without its text, fails this test. Most rows run the program, which has to say exactly this, in one
line and with these words; others name the test that reads the text; of the rest a row says why
nothing brings it about.

A new message needs a row: what is printed for a missing one is the row to paste into the file of
tests/messages/table that has the other rows of this source file. Fill in words of what is printed,
and a command line that makes ringloop print it, with Run's `before` (words.sh) for what has to be
there first and `denied` for system calls that have to fail. Where another test reads the text, name
it with Test; where nothing can bring it about, say why with Cannot; where it is a part of another
message, say of which with Part. A message without a way out says why with NoRemedy, and that is
rare: try to find one. -k runs the rows whose text or command has PATTERN in it.

Exit code 0: all is well.
"""

import argparse
import collections
import concurrent.futures
import importlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import denied
import self_test
from check import ROOT, check_table, output_is_wrong, quoted
from extract import all_messages
from row import Finding, Run

HERE = pathlib.Path(__file__).resolve().parent
TIMEOUT_S = 30
AT_ONCE = 2
IMAGE_BYTES = 1 << 20


def table():
    """Source file -> its rows."""
    sys.path.insert(0, str(HERE / "table"))
    rows = {}
    for path in sorted((HERE / "table").glob("*.py")):
        for file, of_file in importlib.import_module(path.stem).ROWS.items():
            assert file not in rows, f"{file} is in two files of the table"
            rows[file] = of_file
    return rows


def script_of(how):
    words = [f'source "{HERE / "words.sh"}"', f"{{ {how.before or ':'}; }} >/dev/null 2>before",
             "set +e; trap - ERR"]
    program = '"$RINGLOOP"'
    if how.denied:
        program = f'python3 "{HERE / "denied.py"}" {how.denied} "$RINGLOOP"'
    words.append(how.shell or f"exec {program} {how.command}")
    return "\n".join(words)


def environment_of(folder, binary):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("RINGLOOP")}
    return environment | {
        "RINGLOOP": str(binary),
        "TEST_DIR": str(folder),
        "RINGLOOP_RUNTIME_DIR": str(folder / "run"),
        "RINGLOOP_CONFIG_DIR": str(folder / "etc"),
        "LC_ALL": "C",
        "MESSAGES": str(HERE),
    }


def run_row(row, binary, work):
    """What is wrong with what the program said, and that."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=work))
    (folder / "etc").mkdir()
    with open(folder / "image", "wb") as image:
        image.truncate(IMAGE_BYTES)
    environment = environment_of(folder, binary)
    try:
        done = subprocess.run(["bash", "-c", script_of(row.how)], cwd=folder, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=TIMEOUT_S)
        wrong = output_is_wrong(row, done.returncode, done.stderr)
        stderr = done.stderr
        if wrong and (folder / "before").is_file():
            stderr += (folder / "before").read_text(errors="replace")
    except subprocess.TimeoutExpired:
        wrong, stderr = [f"nothing within {TIMEOUT_S} s"], ""
    finally:
        if (folder / "run").exists():
            subprocess.run(["bash", "-c", f'source "{HERE / "words.sh"}"; end_all'], cwd=folder,
                           env=environment, capture_output=True, check=False)
        shutil.rmtree(folder)
    return wrong, stderr


def is_impossible(how):
    denies = how.denied or "denied.py" in how.shell or how.before.startswith("without ")
    return (denies and not denied.possible()) or (how.root and os.geteuid() != 0)


def run_rows(rows, binary, at_once):
    """Runs them; returns what is wrong, how many ran, and how many could not."""
    skipped = [row for row in rows if is_impossible(row.how)]
    rows = [row for row in rows if row not in skipped]
    wrong = []
    work = tempfile.mkdtemp(dir=os.environ.get("TEST_DIR"))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda row: run_row(row, binary, work), rows)
        for row, (faults, stderr) in zip(rows, results):
            if faults:
                command = row.how.shell or f"ringloop {row.how.command}"
                wrong.append(f"{quoted(row.text)}\n  {command}\n  said: {stderr.rstrip()}\n  " +
                             "\n  ".join(faults))
    shutil.rmtree(work)
    return wrong, len(rows), len(skipped)


def check_findings(rows, binary):
    """What doctor says on this host: the rows' topics are among it, and each warning or failure
    of theirs has a remedy, in words of its own or in what it found."""
    said = subprocess.run([binary, "doctor", "--json"], capture_output=True, text=True,
                          check=False).stdout
    findings = {finding["topic"]: finding for finding in json.loads(said)["findings"]}
    wrong = []
    for row in rows:
        finding = findings.get(row.how.what)
        if not finding:
            wrong.append(f"doctor says nothing of {row.how.what}")
        elif finding["health"] != "ok" and not finding["remedy"] and ":" not in finding["fact"]:
            wrong.append(f"doctor names no remedy: {finding}")
    return wrong


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("-k", default="")
    parser.add_argument("-j", type=int, default=AT_ONCE)
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test.main()
    binary = pathlib.Path(os.environ.get("RINGLOOP", ROOT / "build/release/ringloop")).resolve()
    began = time.monotonic()
    by_file = table()
    messages = all_messages(ROOT)
    wrong = check_table(messages, by_file)
    rows = [row for of_file in by_file.values() for row in of_file]
    wrong += check_findings([row for row in rows if isinstance(row.how, Finding)], binary)
    chosen = [row for row in rows if isinstance(row.how, Run) and
              (options.k in row.text or options.k in row.how.command)]
    faults, ran, skipped = run_rows(chosen, binary, options.j)
    for text in wrong + faults:
        print(text)
    kinds = collections.Counter(type(row.how).__name__ for row in rows)
    print(f"{len(messages)} messages: {ran} made to appear, {kinds['Test']} read by other tests, "
          f"{kinds['Finding']} of doctor, {kinds['Cannot']} that nothing brings about, "
          f"{kinds['Part']} parts; {skipped} skipped, {len(wrong) + len(faults)} wrong; "
          f"{time.monotonic() - began:.0f} s")
    return 1 if wrong or faults else 0


if __name__ == "__main__":
    sys.exit(main())
