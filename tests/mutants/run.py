#!/usr/bin/python3
"""Plants one defect after the other in the server's code and shows that each is noticed.

    tests/mutants/run.py [-j N] [--json FILE] [MUTANT...]

A mutant is one line of the real code, changed (table.py). Its file is compiled anew and linked into
ringloop-sim in the place of the original, which then runs from a fixed seed until it fails. What a
simulation cannot tell from the original, because no promise is broken by it, is shown to a unit
test instead. Needs build/release. Prints a line for each: PASS (noticed), FAIL (not), and by how
much work; exit code 0 only when all were noticed.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

from table import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "release"
OUT = ROOT / "build" / "mutants"
SEED = 1
LIMIT_S = 60
PATIENCE = int(os.environ.get("TEST_PATIENCE", "1"))
BEFORE = re.compile(r"^(\d+) runs, (\d+) operations before it$", re.MULTILINE)
REASON = re.compile(r"^seed \d+ of commit \S+ FAILS: (.*)$", re.MULTILINE)


class Unusable(Exception):
    """The table does not fit the code: a failure of its own kind."""


def compile_commands():
    with open(BUILD / "compile_commands.json", encoding="utf-8") as file:
        return {os.path.relpath(entry["file"], ROOT): entry for entry in json.load(file)}


def link_command(program):
    lines = subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", program], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.strip().split("\n")
    link = [line for line in lines if f" -o {program} " in line]
    if len(link) != 1:
        raise Unusable(f"{program}: {len(link)} link commands")
    # ninja wraps it in ": && ... && :".
    return shlex.split(link[0].split("&&")[1])


def mutate(mutant, folder):
    """The changed copy; a header lies where the include path finds it first."""
    source = ROOT / mutant.file
    text = source.read_text(encoding="utf-8")
    if text.count(mutant.before) != 1:
        raise Unusable(f"{mutant.file} has the line {text.count(mutant.before)} times")
    copy = folder / mutant.file
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")
    return copy


def build(mutant, commands, folder):
    copy = mutate(mutant, folder)
    unit = mutant.unit or mutant.file
    original = commands[unit]
    words = [word for word in shlex.split(original["command"]) if not word.endswith("ccache")]
    source = copy if unit == mutant.file else ROOT / unit
    mutated_object = folder / "mutant.o"
    words[words.index("-o") + 1] = str(mutated_object)
    words[words.index("-c") + 1] = str(source)
    words += ["-w", "-g0", "-O1"]
    words.insert(1, f"-I{folder / 'src'}")
    compiled = subprocess.run(words, cwd=original["directory"], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if compiled.returncode != 0:
        raise Unusable(f"does not compile:\n{compiled.stdout}")
    program = mutant.test.split(":")[0] if mutant.test else "ringloop-sim"
    link = link_command(program)
    place = link.index("-o")
    link[place + 1] = str(folder / program)
    # In front of the libraries: the linker takes what it finds first.
    link.insert(place, str(mutated_object))
    linked = subprocess.run(link, cwd=BUILD, check=False, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    if linked.returncode != 0:
        raise Unusable(f"does not link:\n{linked.stdout}")
    return folder / program


def show_to_simulator(program, mutant):
    command = [program, "--seed", str(SEED), "--minutes", str(LIMIT_S / 60), "--no-shrink",
               "--story", "0"]
    for setting in mutant.settings:
        command += ["--set", setting]
    done = subprocess.run(command, check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    found, before = REASON.search(done.stdout), BEFORE.search(done.stdout)
    if done.returncode == 0 or not found or not before:
        return None
    return {"by": "ringloop-sim", "runs": int(before[1]) + 1, "operations": int(before[2]),
            "reason": found[1]}


def show_to_unit_test(program, mutant):
    pattern = mutant.test.split(":")[1]
    done = subprocess.run([program, f"--gtest_filter={pattern}"], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=LIMIT_S * PATIENCE)
    if done.returncode == 0 or "[==========] Running 0 tests" in done.stdout:
        return None
    return {"by": mutant.test, "runs": 1, "operations": 0, "reason": "a test fails"}


def try_one(mutant, commands):
    folder = OUT / mutant.name
    begin = time.monotonic()
    try:
        program = build(mutant, commands, folder)
        noticed = (show_to_unit_test if mutant.test else show_to_simulator)(program, mutant)
        program.unlink()
    except Unusable as error:
        return mutant, {"error": str(error)}, time.monotonic() - begin
    return mutant, noticed, time.monotonic() - begin


def table_of(results):
    lines = ["| defect | noticed by | after so many operations |", "| --- | --- | --- |"]
    for mutant, noticed in results:
        if noticed is None:
            lines.append(f"| {mutant.what} | **nobody** | |")
            continue
        simulated = noticed["by"] == "ringloop-sim"
        work = f"{noticed['operations']:,} in {noticed['runs']} runs" if simulated else ""
        lines.append(f"| {mutant.what} | `{noticed['by']}` | {work} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--table", type=pathlib.Path,
                        help="write what noticed each, and when, as docs/testing.md has it")
    parser.add_argument("names", nargs="*", metavar="MUTANT")
    options = parser.parse_args()
    unknown = set(options.names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    commands = compile_commands()
    failures, results = 0, []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for mutant, noticed, seconds in pool.map(lambda one: try_one(one, commands), chosen):
            caught = noticed is not None and "error" not in noticed
            failures += not caught
            results.append((mutant, noticed if caught else None))
            print(f"{'PASS' if caught else 'FAIL'} {mutant.name} {seconds:.1f} s", flush=True)
            if caught:
                print(f"    {noticed['by']}, {noticed['runs']} runs, {noticed['operations']} "
                      f"operations: {noticed['reason']}", flush=True)
            else:
                print(f"    {(noticed or {}).get('error', 'nobody noticed')}", flush=True)
    if options.table:
        options.table.write_text(table_of(results), encoding="utf-8")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
