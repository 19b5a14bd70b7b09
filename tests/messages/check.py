"""Whether the table and the sources say the same, and each row what a row has to say."""

import pathlib
import re

from row import ERRNO, Cannot, Finding, NoRemedy, Part, Run, Test

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PLACEHOLDER = re.compile(r"\{[^{}]*\}|%[sd]")
# A test that reads a message has this much of it at least.
PIECE_MIN = 10
PIECE = 20
TESTS = re.compile(r"^(?=TEST(?:_F|_P)?\()", re.MULTILINE)


def quoted(text):
    """As a string of the table."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def skeleton(message):
    """The row that is missing, to be pasted and filled in."""
    cause = "ERRNO" if message.has_errno else '"CAUSE"'
    remedy = "ERRNO" if message.has_errno else '"REMEDY"'
    return (f'  ROWS["{message.file}"]:\n'
            f"    Row({quoted(message.text)},\n"
            f'        "OBJECT", {cause}, {remedy},\n'
            f'        Run("attach image")),')


def differences(messages, rows):
    """What one has and the other has not. rows: source file -> rows of it."""
    wrong = []
    known = {(file, row.text) for file in rows for row in rows[file]}
    said = {(message.file, message.text) for message in messages}
    for message in messages:
        if (message.file, message.text) not in known:
            wrong.append(f"{message.file}:{message.lines[0]}: not in tests/messages/table; "
                         f"a row for it:\n{skeleton(message)}")
    for file in rows:
        texts = [row.text for row in rows[file]]
        for row in rows[file]:
            if (file, row.text) not in said:
                wrong.append(f"{file} does not say {quoted(row.text)}: remove its row")
            if texts.count(row.text) > 1:
                wrong.append(f"{file}: two rows of {quoted(row.text)}")
    return wrong


def word_is_wrong(row, name, word, has_errno):
    """What is wrong with one of the three words of a row that does not run the program."""
    if word == ERRNO and name != "object":
        return "" if has_errno else f"{name} is an errno, which this message has not"
    if not word:
        return f"names no {name}"
    return "" if word in row.text else f"{name}: {quoted(word)} is not in it"


def row_is_wrong(row, message):
    """What a row lacks, whatever the program says."""
    if isinstance(row.how, Part):
        return [] if row.how.of else ["of what is it a part?"]
    if not isinstance(row.how, (Run, Test, Finding, Cannot)):
        return ["says neither how it is brought about nor why it cannot be"]
    wrong = []
    words = {"object": row.object, "cause": row.cause}
    if not isinstance(row.remedy, NoRemedy):
        words["remedy"] = row.remedy
    elif not row.remedy.reason:
        wrong.append("no reason why there is no remedy")
    if isinstance(row.how, (Run, Finding)):
        if isinstance(row.how, Run):
            wrong += [f"names no {name}" for name, word in words.items() if not word]
    else:
        found = (word_is_wrong(row, name, word, message.has_errno) for name, word in words.items())
        wrong += [text for text in found if text]
    if isinstance(row.how, Cannot) and not row.how.reason:
        wrong.append("no reason why it cannot be brought about")
    if isinstance(row.how, Test) and (text := test_is_wrong(row)):
        wrong.append(text)
    return wrong


# ---- other tests -------------------------------------------------------------------------------


class Sources:
    """The texts of the other tests, read once."""

    def __init__(self):
        self.units = None

    def unit(self, name):
        if self.units is None:
            self.units = {}
            for path in ROOT.glob("src/**/*_test.cc"):
                text = re.sub(r'"\s*\n\s*"', "", path.read_text())
                for body in TESTS.split(text)[1:]:
                    head = re.match(r"TEST\w*\((\w+),\s*(\w+)\)", body)
                    if head:
                        self.units[f"{head[1]}.{head[2]}"] = body
        return self.units.get(name)

    def text(self, name):
        """None: there is no such test."""
        kind, _, which = name.partition(" ")
        if kind == "unit":
            return self.unit(which)
        folder = {"blackbox": "tests", "guest": "tests/vm/tests", "hostile": "tests/hostile"}[kind]
        path = ROOT / folder / which
        return path.read_text() if which and path.is_file() else None


SOURCES = Sources()


def test_is_wrong(row):
    text = SOURCES.text(row.how.name)
    if text is None:
        return f"there is no test {row.how.name}"
    pieces = PLACEHOLDER.split(row.text)
    length = min(PIECE, max(len(piece) for piece in pieces))
    if length < PIECE_MIN:
        return "has no words by which a test could know it"
    for piece in pieces:
        for begin in range(len(piece) - length + 1):
            if piece[begin:begin + length] in text:
                return ""
    return f"{row.how.name} has nothing of this text"


def check_table(messages, rows):
    wrong = differences(messages, rows)
    by_text = {(message.file, message.text): message for message in messages}
    for file in rows:
        for row in rows[file]:
            message = by_text.get((file, row.text))
            if message:
                wrong += [f"{file}: {quoted(row.text)}: {text}"
                          for text in row_is_wrong(row, message)]
    return wrong


# ---- what was printed --------------------------------------------------------------------------


def pattern_of(text):
    """The template with anything in its placeholders."""
    pieces = PLACEHOLDER.split(text.strip("\n"))
    return re.compile(".*?".join(re.escape(piece) for piece in pieces), re.DOTALL)


def output_is_wrong(row, code, stderr):
    wrong = []
    lines = stderr.splitlines()
    if code != row.how.code:
        wrong.append(f"exit code {code}, not {row.how.code}")
    if len(lines) != row.how.lines:
        wrong.append(f"{len(lines)} lines, not {row.how.lines}")
    if not stderr.startswith(row.how.begin):
        wrong.append(f"does not begin with {quoted(row.how.begin)}")
    if not pattern_of(row.text).search(stderr):
        wrong.append("is another message")
    for name, word in (("object", row.object), ("cause", row.cause), ("remedy", row.remedy)):
        if not isinstance(word, NoRemedy) and word not in stderr:
            wrong.append(f"{name}: no {quoted(word)} in it")
    return wrong


