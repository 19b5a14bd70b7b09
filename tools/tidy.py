#!/usr/bin/env python3
"""The rules of the house that a compiler cannot check: layers, lengths, banned words.

    tools/tidy.py [ROOT]

Prints one `path:line: what is wrong; the way out` for each violation; exit code 1 when there is
one. tools/tidy_test.py plants every violation in turn and expects it to be reported here.
"""

import ast
import dataclasses
import fnmatch
import os
import pathlib
import re
import subprocess
import sys

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 100

# Lowest first: a folder includes itself and what stands before it.
LAYERS = ("base", "abi", "io", "backing", "engine", "cgroup", "frontend", "control", "cli")

# The kernel's headers are for the folders that speak to the kernel; anybody else asks those.
KERNEL_HEADER_LAYERS = ("abi", "io", "backing")
KERNEL_HEADERS_ELSEWHERE = {
    # file pattern: headers
    "src/control/harden.cc": ("linux/capability.h",),  # the capabilities a server gives up
    "src/control/listening.cc": ("linux/vm_sockets.h",),  # sockaddr_vm, which glibc does not have
    "src/control/doctor.cc": ("linux/capability.h",),  # the capabilities it finds missing
    "src/control/flush.cc": ("linux/fs.h",),  # BLKFLSBUF
    "src/cgroup/nursery.cc": ("linux/sched.h",),  # clone3, which glibc does not offer
}

# One shard is one thread: whoever else wants a thread explains himself here.
THREAD_FILES = (
    "src/control/shard_threads.*",  # the threads of the shards
    "src/engine/survey.*",  # asks the filesystem what may block
    "src/cgroup/keeper.*",  # starts and ends processes, which takes longer than a request may wait
    "src/cgroup/lane_threads_test.cc",  # a lane beside its shard
    # The driver works inside the call that asks it; only another thread can stop waiting for it.
    "src/frontend/nbd/kernel_device.cc",
    "src/control/control_socket_test.cc",  # the other end of the socket
    "src/frontend/nbd/service_test.cc",  # shards of its own
    "src/engine/freeze_test.cc",  # a freeze comes from another thread than the shard's
)

# A sleep hides what is waited for. A pause between two bounded looks is the exception, where
# nothing can be waited for; no test has one.
SLEEP_FILES = (
    "src/io/command_ring.cc",  # between the retries of a command that a signal interrupted
    "src/frontend/ublk/control.cc",  # the kernel says EBUSY while a dead server is still torn down
    "tests/lib.sh",  # wait_until, which the tests use instead
    "tests/vm/agent.sh",  # the guest's watchdog, and its look for processes that a test left
    "tests/vm/lib.sh",  # wait_until, which the tests use instead
    "tests/vm/selftest/40-hangs.sh",  # hangs on purpose
)

TRANSPORT_WORDS = re.compile(r"ublk|nbd|virtio|vhost|sector", re.IGNORECASE)
SLEEP_CPP = re.compile(r"\b(u?sleep|(clock_)?nanosleep|sleep_(for|until))\s*\(")
SLEEP_SHELL = re.compile(r"(^|[\s;&|({`!])(busybox\s+)?sleep\s+[\w.$\"{]")
THREAD = re.compile(r"\bstd::j?thread\b(?!::id)|\bpthread_create\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Joined from halves, so that this file does not break its own rule.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.$})-])/(wo" r"rk|ro" r"ot)/")

CPP_SUFFIXES = (".h", ".cc")
GENERATED_HEADERS = ("version.h", "issuers.bpf.inc")


@dataclasses.dataclass(frozen=True)
class Violation:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


class File:
    """One text file of the tree: its path from the root, its lines and what language it is."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        if self.lines[-1] == "":
            self.lines.pop()
        self.name = path.rsplit("/", 1)[-1]
        self.is_cpp = path.endswith(CPP_SUFFIXES)
        first = self.lines[0] if self.lines else ""
        is_script = first.startswith("#!")
        self.is_python = path.endswith(".py") or (is_script and "python" in first)
        self.is_shell = path.endswith(".sh") or (is_script and first.rstrip().endswith("sh"))
        self.is_markdown = path.endswith(".md")
        self.is_makefile = self.name == "Makefile" or path.endswith(".mk")
        self.is_test = self.name.endswith("_test.cc") or path.startswith("tests/")
        # The folder below src that decides the layer: "frontend" for src/frontend/x/y.cc.
        parts = path.split("/")
        self.layer = parts[1] if parts[0] == "src" and len(parts) > 2 else None
        self.code = blank_comments_and_strings(text) if self.is_cpp else ""

    def at(self, line, text):
        return Violation(self.path, line, text)


# ---- reading C++ -------------------------------------------------------------------------------

CPP_TOKEN = re.compile(
    r"""
      //[^\n]*                                                  # comment to the end of the line
    | /\*.*?\*/                                                 # comment in between
    | R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"              # raw string
    | "(?:[^"\\\n]|\\.)*"                                       # string
    | (?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'                       # character, not a digit separator
    """,
    re.VERBOSE | re.DOTALL,
)


def blank_comments_and_strings(text):
    """The code alone: comments become spaces, literals become "", newlines stay where they are."""

    def blank(match):
        token = match.group(0)
        rest = re.sub(r"[^\n]", " ", token[2:])
        return ("  " if token[0] == "/" else '""') + rest

    return CPP_TOKEN.sub(blank, text)


FUNCTION_TAIL = re.compile(
    r"(\)|\b(const|noexcept|override|final|mutable|try|volatile)|&&?|->\s*[\w:<>,\s*&]+)\s*$")
NO_FUNCTION = re.compile(r"^\s*(template\s*<[^{]*>\s*)?(inline\s+)?"
                         r"(class|struct|union|enum|namespace)\b")
INITIALIZERS = re.compile(r"\)\s*(noexcept\s*(\([^)]*\))?\s*)?:(?!:)")


def opens_function(head):
    """Whether the brace behind `head`, the text since the last statement, opens a body."""
    if "(" not in head or NO_FUNCTION.match(head):
        return False
    if INITIALIZERS.search(head):
        # In a constructor's list `member{` follows a name, the body follows a closed member.
        return head.rstrip()[-1] in ")}"
    return FUNCTION_TAIL.search(head) is not None


def closed(head):
    return head.count("(") <= head.count(")")


def cpp_functions(code):
    """(first line, last line) of every outermost function body, by matching braces."""
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  code, flags=re.MULTILINE)
    line = 1
    head, head_line = "", 1
    scopes = []  # "scope", "initializer", or the first line of a function
    for char in code:
        if char == "{":
            inside = any(isinstance(scope, int) for scope in scopes)
            stripped = head.rstrip()
            if inside:
                scopes.append("scope")
            elif opens_function(head):
                scopes.append(head_line)
            elif stripped and (INITIALIZERS.search(head) or stripped[-1] in "=(,"):
                scopes.append("initializer")
                head += char
                continue
            else:
                scopes.append("scope")
            head = ""
        elif char == "}":
            scope = scopes.pop() if scopes else "scope"
            if scope == "initializer":
                head += char
                continue
            if isinstance(scope, int):
                yield scope, line
            head = ""
        elif char == ";" and scopes[-1:] != ["initializer"] and closed(head):
            head = ""
        elif char == ":" and head.strip() in ("public", "protected", "private"):
            head = ""
        else:
            if char == "\n":
                line += 1
            if not head.strip():
                head, head_line = "", line
            head += char


# ---- the rules ---------------------------------------------------------------------------------


def check_lengths(file):
    if len(file.lines) > FILE_LINES_MAX and not file.is_markdown:
        yield file.at(FILE_LINES_MAX + 1,
                      f"{len(file.lines)} lines, {FILE_LINES_MAX} allowed; split the file")
    for number, line in enumerate(file.lines, 1):
        if len(line) > COLUMNS_MAX and not file.is_markdown:
            yield file.at(number, f"{len(line)} columns, {COLUMNS_MAX} allowed")


def check_functions(file):
    spans = []
    if file.is_cpp:
        spans = cpp_functions(file.code)
    elif file.is_python:
        nodes = ast.walk(ast.parse(file.text))
        spans = ((node.lineno, node.end_lineno) for node in nodes
                 if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    elif file.is_shell:
        spans = shell_functions(file.lines)
    for first, last in spans:
        length = last - first + 1
        if length > FUNCTION_LINES_MAX:
            yield file.at(first, f"a function of {length} lines, {FUNCTION_LINES_MAX} allowed; "
                                 "name its steps")


def shell_functions(lines):
    first = None
    for number, line in enumerate(lines, 1):
        if re.match(r"(function\s+)?[\w-]+\s*\(\)\s*\{\s*$", line):
            first = number
        elif line.startswith("}") and first is not None:
            yield first, number
            first = None


def check_whitespace(file):
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield file.at(number, "white space at the end of the line")
        if "\t" in line and not file.is_makefile:
            yield file.at(number, "a tab; indent with spaces")
    if file.text and not file.text.endswith("\n"):
        yield file.at(len(file.lines), "no newline at the end of the file")


def check_words(file):
    for number, line in enumerate(file.lines, 1):
        found = UNFINISHED.search(line)
        if found:
            yield file.at(number, f"{found.group(0)}; finish it, or open an issue and say why here")
        found = MACHINE_PATH.search(line)
        if found:
            yield file.at(number, f"{found.group(0)} is a path of one machine")


def check_sleep(file):
    way_out = "wait for the thing itself, with a bound"
    if file.path in SLEEP_FILES:
        return
    if file.is_cpp:
        for number, line in enumerate(file.code.split("\n"), 1):
            if SLEEP_CPP.search(line):
                yield file.at(number, f"a sleep; {way_out}")
    elif file.is_shell:
        for number, line in enumerate(file.lines, 1):
            if SLEEP_SHELL.search(line.split("#", 1)[0]):
                yield file.at(number, f"a sleep; {way_out}")


def check_threads(file):
    if not file.is_cpp or any(fnmatch.fnmatch(file.path, name) for name in THREAD_FILES):
        return
    for number, line in enumerate(file.code.split("\n"), 1):
        if THREAD.search(line):
            yield file.at(number, "a thread outside THREAD_FILES of tools/tidy.py; "
                                  "use a shard, or argue for the list")


def check_engine_words(file):
    if file.layer != "engine":
        return
    for number, line in enumerate(file.lines, 1):
        found = TRANSPORT_WORDS.search(line)
        if found:
            yield file.at(number, f"'{found.group(0)}' in the engine, which knows no transport; "
                                  "say it in bytes and ranges")


def check_includes(file, paths):
    if not file.is_cpp:
        return
    for number, line in enumerate(file.lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, header = match.groups()
        if bracket == "<":
            reason = refuse_system_header(file, header)
        else:
            reason = refuse_project_header(file, header, paths)
        if reason:
            yield file.at(number, f"include of {header}: {reason}")


def refuse_system_header(file, header):
    if header.startswith("liburing") and file.layer != "io":
        return "liburing is seen by src/io alone; go through io/kernel.h"
    if header.startswith("linux/") and file.layer not in KERNEL_HEADER_LAYERS:
        for pattern, headers in KERNEL_HEADERS_ELSEWHERE.items():
            if fnmatch.fnmatch(file.path, pattern) and header in headers:
                return None
        return f"the kernel's headers are for {', '.join(KERNEL_HEADER_LAYERS)}"
    return None


def refuse_project_header(file, header, paths):
    if header in GENERATED_HEADERS:
        return None
    if f"src/{header}" not in paths:
        return "no such file below src; includes are written from src"
    target = header.split("/")[0]
    # main, benchmarks, fuzzers and black-box tests stand above every layer.
    if file.layer is None:
        from_main = file.path == "src/main.cc" and target == "sim"
        return "the simulator is for tests" if from_main else None
    if target == "sim":
        return None if file.layer == "sim" or file.is_test else "the simulator is for tests"
    if target not in LAYERS:
        return f"src/{target} is not in LAYERS of tools/tidy.py"
    if file.layer != "sim" and file.layer not in LAYERS:
        return f"src/{file.layer} is not in LAYERS of tools/tidy.py"
    highest = "frontend" if file.layer == "sim" else file.layer
    if LAYERS.index(target) > LAYERS.index(highest):
        return f"{file.layer} stands below {target}"
    if file.layer == "frontend" and target == "frontend":
        own, other = frontend_of(file.path[len("src/"):]), frontend_of(header)
        if other is not None and other != own:
            return f"the frontends {own} and {other} do not know each other"
    return None


def frontend_of(path):
    """The name of a frontend, or None for what all of them share in src/frontend itself."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else None


# ---- the tree ----------------------------------------------------------------------------------


def list_files(root):
    """What git knows or would add; without git, everything but the build folder."""
    git = subprocess.run(
        ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False) if (root / ".git").exists() else None
    if git is not None and git.returncode == 0:
        return sorted(os.fsdecode(name) for name in git.stdout.split(b"\0") if name)
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in (".git", "build", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def read_tree(root):
    for path in list_files(root):
        # What a fuzzer found is input of programs: nobody wrote it, and nobody formats it.
        if path.startswith("fuzz/corpus/"):
            continue
        full = root / path
        if full.is_symlink() or not full.is_file():
            continue
        data = full.read_bytes()
        if b"\0" not in data[:8192]:
            yield File(path, data.decode("utf-8", errors="replace"))


def check_file(file, paths):
    yield from check_includes(file, paths)
    yield from check_lengths(file)
    yield from check_functions(file)
    yield from check_whitespace(file)
    yield from check_words(file)
    yield from check_sleep(file)
    yield from check_threads(file)
    yield from check_engine_words(file)


def check_tree(root):
    files = list(read_tree(pathlib.Path(root)))
    paths = {file.path for file in files}
    return [violation for file in files for violation in check_file(file, paths)], len(files)


def main():
    here = pathlib.Path(__file__).resolve().parent.parent
    root = sys.argv[1] if len(sys.argv) > 1 else here
    violations, count = check_tree(root)
    for violation in violations:
        print(violation)
    print(f"{count} files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
