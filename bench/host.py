"""What the benchmarks have in common on the host: the guest they run in and the file they write."""

import datetime
import json
import pathlib
import shlex
import subprocess
import sys

import plot

TREE = pathlib.Path(__file__).resolve().parent.parent
BUILD = TREE / "build/bench"
RESULTS = BUILD / "vm"  # what the guest sees as /results

KERNEL = "6.12"


class BenchError(Exception):
    """One line for the person at the terminal."""


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
