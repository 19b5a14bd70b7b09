"""What ringloop says to people, as its sources have it.

A small reader of C++: comments away, adjacent literals joined, and for each literal the calls that
it is an argument of. From these come the messages: what goes into a call that makes one, and
whatever else has words enough to be one and is none of the things listed here as something else.
"""

import dataclasses
import re

TOKEN = re.compile(
    r"""
      (?P<blank>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
    | R"(?P<mark>[^()\s\\]{0,16})\((?P<raw>.*?)\)(?P=mark)"
    | "(?P<text>(?:[^"\\\n]|\\.)*)"
    | (?P<char>(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+')
    | (?P<word>[A-Za-z_]\w*(?:::~?[A-Za-z_]\w*)*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
ESCAPES = {"n": "\n", "t": "\t", "0": "\0", "r": "\r"}
PLACEHOLDER = re.compile(r"\{[^{}]*\}")

# What makes a message of its argument, and which one that is (from 0; None: of any).
SINKS = {
    "fail": 1, "fail_errno": 1, "error_of": 1,
    "log::warning": 0, "log::error": 0, "print_error": 0, "print_warning": 0,
    "malformed": 1, "usage": 1, "losetup_fails": 0, "set_up_fails": 1, "no_support": 0,
    "refuse": None, "report": None, "close": None, "close_start": 0, "reply_refusal": None,
    "trouble": 0, "failed": 0, "kill": None,
}  # fmt: skip

# Words enough to be a message, and yet none.
WORDS_MIN = 4
NOT_OF_CALLS = {
    "help": ("add_option", "add_flag", "add_list", "add_subcommand", "set_help_flag", "app"),
    "what a person of this project reads": ("static_assert", "ASSERT"),
    "told when all goes well": ("log::info", "log::debug", "notify_manager"),
    "metrics describe themselves": ("family", "Family", "OpFamily", "LaneFamily"),
    "descriptions of the policies": ("Policy",),
}
NOT_OF_FILES = {
    "src/base/errno.cc": "errnos in the log of requests",
    "src/base/log.cc": "the pattern of a line",
    "src/cli/arguments.cc": "help",
    "src/cli/arguments_look.cc": "help",
    "src/cli/arguments_pack.cc": "help",
    "src/cli/lanes.cc": "headings of a table",
    "src/cli/live_change.cc": "what became of a change",
    "src/cli/losetup.cc": "the help of losetup",
    "src/cli/progress.cc": "how far the work is",
    "src/cli/rates.cc": "headings of a table",
    "src/cli/stats.cc": "headings of a table",
    "src/cli/status.cc": "headings of a table",
    "src/cli/top.cc": "headings of a table",
    "src/cli/top_screen.cc": "headings of a table",
    "src/cli/up.cc": "what became of a device",
    "src/cli/upgrade.cc": "what became of a device",
    "src/cli/verify.cc": "what was read",
    "src/control/dispatching.cc": "what became of a change",
    "src/control/http.cc": "the heads of replies",
    "src/control/image_change.cc": "what became of a device",
    "src/control/metrics.cc": "metrics",
    "src/control/resize.cc": "what became of a device",
    "src/control/set.cc": "what became of a device",
    "src/engine/policy.cc": "descriptions of the policies",
    "src/frontend/nbd/limits.h": "what a person of this project reads",
}


@dataclasses.dataclass
class Literal:
    line: int
    calls: tuple  # of (name, argument) that enclose it, innermost last
    text: str


@dataclasses.dataclass
class Message:
    file: str
    text: str
    lines: list
    has_errno: bool  # ": " and the errno follow


def unescape(text):
    return re.sub(r"\\x([0-9a-fA-F]{2})|\\(.)",
                  lambda m: chr(int(m[1], 16)) if m[1] else ESCAPES.get(m[2], m[2]), text)


def literals(source):
    """Every string of one file, joined, with the calls around it."""
    found = []
    stack = []  # of [name before the bracket, commas so far]
    name = ""
    joining = None
    for match in TOKEN.finditer(source):
        if match["blank"] is not None or match["directive"] is not None:
            continue
        text = match["raw"]
        if match["text"] is not None:
            text = unescape(match["text"])
        if text is not None:
            if joining:
                joining.text += text
            else:
                calls = tuple((called, argument) for called, argument in stack)
                line = source.count("\n", 0, match.start()) + 1
                joining = Literal(line, calls, text)
                found.append(joining)
            name = ""
            continue
        joining = None
        if match["word"]:
            name = match["word"]
            continue
        sign = match["sign"] or " "
        if sign in "([{":
            stack.append([name if sign != "[" else "", 0])
        elif sign in ")]}":
            if stack:
                stack.pop()
        elif sign == "," and stack:
            stack[-1][1] += 1
        name = ""
    return found


def sink_of(literal):
    """The call that makes a message of this literal, directly or by way of a format."""
    calls = [(name.removeprefix("cli::"), argument) for name, argument in literal.calls]
    if calls and calls[-1] == ("fmt::format", 0):
        calls.pop()
    if not calls or calls[-1][0] not in SINKS:
        return None
    name, argument = calls[-1]
    return name if SINKS[name] in (None, argument) else None


def is_excluded(file, literal):
    if file in NOT_OF_FILES or "/test_" in file:
        return True
    names = {name for name, _ in literal.calls}
    return any(names & set(calls) for calls in NOT_OF_CALLS.values())


def messages_of(file, source):
    found = {}
    for literal in literals(source):
        sink = sink_of(literal)
        words = PLACEHOLDER.sub("x", literal.text).split()
        if sink in ("fail", "fail_errno"):
            is_message = bool(literal.text)
        elif sink:
            is_message = len(words) > 1 or "{" in literal.text
        else:
            is_message = len(words) >= WORDS_MIN and not is_excluded(file, literal)
        if not is_message:
            continue
        message = found.setdefault(literal.text, Message(file, literal.text, [], False))
        message.lines.append(literal.line)
        message.has_errno |= sink == "fail_errno"
    return list(found.values())


def all_messages(root):
    found = []
    for path in sorted(root.glob("src/**/*")):
        file = str(path.relative_to(root))
        if path.suffix not in (".cc", ".h") or path.name.endswith("_test.cc"):
            continue
        if not file.startswith("src/sim/"):
            found += messages_of(file, path.read_text())
    return found
