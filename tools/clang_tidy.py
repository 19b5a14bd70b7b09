#!/usr/bin/env python3
"""clang-tidy over src/, one process a core, remembering what was clean.

    tools/clang_tidy.py [-p BUILD] [-j N] [-k PATTERN]

BUILD is a configured build tree of clang, build/asan by default, with its target `generated` built.
A file is checked again only when it, a header of this project that it reaches, its compile command,
.clang-tidy or clang-tidy itself has changed: what was clean is remembered for every clone, in
$XDG_CACHE_HOME/ringloop or ~/.cache/ringloop. Unit tests are left out: the macros of GoogleTest are
most of what would be found.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLANG_TIDY = "clang-tidy-19"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache",
                     "ringloop", "clang-tidy")
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def reached_headers(source, generated, seen):
    """The project's headers that `source` includes, directly or not, in the order of discovery."""
    for name in INCLUDE.findall(source.read_bytes()):
        for folder in (ROOT / "src", generated):
            header = folder / os.fsdecode(name)
            if header.is_file() and header not in seen:
                seen.append(header)
                reached_headers(header, generated, seen)
    return seen


def fingerprint(entry, salt):
    source = pathlib.Path(entry["file"])
    generated = pathlib.Path(entry["directory"]) / "generated"
    digest = hashlib.sha256(salt)
    digest.update(entry["command"].replace(f"{ROOT}/", "").encode())
    for path in [source, *reached_headers(source, generated, [])]:
        digest.update(os.path.relpath(path, ROOT).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def check(entry, build, salt):
    """(path, from the cache?, what was found); nothing found is remembered."""
    path = os.path.relpath(entry["file"], ROOT)
    mark = CACHE / fingerprint(entry, salt)
    if mark.exists():
        return path, True, ""
    run = subprocess.run([CLANG_TIDY, "--quiet", "-p", build, entry["file"]], cwd=ROOT, text=True,
                         stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if run.returncode == 0:
        mark.touch()
        return path, False, ""
    return path, False, run.stdout.replace(f"{ROOT}/", "") or run.stderr


def wanted(entry, pattern):
    path = os.path.relpath(entry["file"], ROOT)
    return (path.startswith("src/") and not path.endswith("_test.cc")
            and os.path.exists(entry["file"]) and re.search(pattern, path))


def main():
    parser = argparse.ArgumentParser(description="clang-tidy over src/")
    parser.add_argument("-p", dest="build", default=str(ROOT / "build" / "asan"))
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count())
    parser.add_argument("-k", dest="pattern", default="")
    options = parser.parse_args()

    database = pathlib.Path(options.build) / "compile_commands.json"
    if not database.exists():
        sys.exit(f"{database}: not there; configure first: cmake --preset asan")
    CACHE.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    salt = version + (ROOT / ".clang-tidy").read_bytes()
    entries = [entry for entry in json.loads(database.read_text())
               if wanted(entry, options.pattern)]

    cached = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = pool.map(lambda entry: check(entry, options.build, salt), entries)
        for path, from_cache, found in results:
            cached += from_cache
            if found:
                failed += 1
                print(f"{path}:\n{found}")
    print(f"{len(entries)} files, {cached} unchanged, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
