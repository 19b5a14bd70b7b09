"""What the benchmarks have in common on the host: the guest they run in and the file they write."""

import datetime
import json
import pathlib
import shlex
import signal
import subprocess
import sys

import plot
from rows import PlanError

TREE = pathlib.Path(__file__).resolve().parent.parent
BUILD = TREE / "build/bench"
RESULTS = BUILD / "vm"  # what the guest sees as /results

KERNEL = "6.12"


class BenchError(Exception):
    """One line for the person at the terminal."""


def main(program, run):
    """What each benchmark is as a program: `run` returns the exit status."""
    # As an exception: what runs below this process then ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{program}: terminated"))
    try:
        sys.exit(run())
    except (BenchError, PlanError) as error:
        sys.exit(f"{program}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def settle(options, defaults, smoke):
    """Fills in what the person did not give; --smoke has its own idea of it."""
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, smoke[name] if options.smoke else value)
    return options


def take_turns(plan, rounds, measure):
    """(cells, failures) of a plan of (row, names of systems), natively: what disturbs the machine
    for a while disturbs all the systems of a row. `measure(row, name)` returns figures."""
    results, failures, number = [], [], 0
    count = sum(len(names) for _, names in plan) * rounds
    for row, names in plan:
        cells = {name: {"row": row.name, "system": name} for name in names}
        results += cells.values()
        for turn in range(rounds):
            for name, cell in cells.items():
                number += 1
                try:
                    figures = measure(row, name)
                except (BenchError, AssertionError, OSError) as error:
                    failures.append(f"{row.name}: {name}: {error}")
                    print(f"[{number}/{count}] FAILED {failures[-1]}", flush=True)
                    continue
                for figure, value in figures.items():
                    cell.setdefault(figure, []).append(value)
                print(f"[{number}/{count}] {row.name} {name} {turn + 1}: "
                      f"{figures['iops']:.0f} IOPS, {figures['cpu_us_per_io']:.2f} us per I/O",
                      flush=True)
    return results, failures


def check_binary(path):
    if not path.is_file():
        raise BenchError(f"no {path}: build it with 'make', or name another with --binary")


def run_guest(script, arguments, cpus, limit_s, binary):
    """Runs a script of this folder in a guest of its own and shows what it says. Returns its
    status and what it left in the file that --out names."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "guest.json").unlink(missing_ok=True)
    # The guest sees the host's files under the same paths, the tree also under RINGLOOP_TREE.
    code = (f'python3 -B "$RINGLOOP_TREE/bench/{script}" --scratch "$SCRATCH" '
            f'--ringloop "$RINGLOOP" --out /results/guest.json '
            f'{shlex.join(map(str, arguments))}')
    command = [TREE / "tests/vm/run.py", "--kernel", KERNEL, "--smp", cpus, "--out", RESULTS,
               "--timeout", limit_s, "--command", code]
    if binary.is_file():
        command += ["--binary", binary]
    status = subprocess.run(list(map(str, command)), check=False).returncode
    try:
        return status, json.loads((RESULTS / "guest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"the guest left no results (status {status})") from None


def keep(results, path):
    """Adds when, from which commit and by which command, and writes it all to `path`."""
    results["meta"] |= {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                        "commit": commit(), "command": shlex.join(sys.argv)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def publish(results, path, text):
    """Keeps them, draws them beside the file and prints the tables."""
    keep(results, path)
    pictures = plot.write(path)
    print("\n" + "\n".join([text + "\n", str(path), *map(str, pictures)]))


def commit():
    """With a '+' when the tree has changes that are in no commit."""
    def git(*words):
        return subprocess.run(["git", "-C", TREE, *words], capture_output=True, text=True,
                              check=False)

    head = git("rev-parse", "--verify", "--short=12", "HEAD")
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("+" if git("status", "--porcelain").stdout else "")


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
