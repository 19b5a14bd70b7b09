"""Whether the test of the messages finds what it is for: each fault is planted in turn."""

from check import check_table, output_is_wrong
from extract import messages_of
from row import ERRNO, Cannot, NoRemedy, Part, Row, Run, Test

SOURCE = r'''
// fail(EINVAL, "a comment says nothing")
Status open_it() {
    TRY(other('"', "x"));
    if (!fd) return fail_errno(errno, "{}: cannot be opened", name);
    return fail(EINVAL, "{}: has no bytes; "
                        "give it \"some\"", name);
}
'''
OPENED = "{}: cannot be opened"
EMPTY = '{}: has no bytes; give it "some"'
GOOD = [
    Row(OPENED, "{}", ERRNO, ERRNO, Cannot("of this test")),
    Row(EMPTY, "{}", "has no bytes", "give it", Cannot("of this test")),
]
SAID = Row(EMPTY, "image", "has no bytes", "give it", Run("attach image"))
UNIT = Test("unit FailErrno.names_the_cause_and_the_way_out_that_this_errno_has")

# What is planted, the rows, and what has to be said of them.
TABLES = (
    ("nothing", GOOD, ""),
    ("a message without a row", GOOD[:1], "not in tests/messages/table"),
    ("a row without a message", GOOD + [Row("gone", how=Part("this"))], "does not say"),
    ("a row twice", GOOD + GOOD[:1], "two rows of"),
    ("no object", [GOOD[0], Row(EMPTY, "", "has no bytes", "give it", Cannot("x"))], "no object"),
    ("no cause", [GOOD[0], Row(EMPTY, "{}", "", "give it", Cannot("x"))], "names no cause"),
    ("no remedy", [GOOD[0], Row(EMPTY, "{}", "has no bytes", "", Cannot("x"))], "names no remedy"),
    ("a remedy of other words", [GOOD[0], Row(EMPTY, "{}", "has no bytes", "pray", Cannot("x"))],
     "is not in it"),
    ("an errno that is none", [GOOD[0], Row(EMPTY, "{}", ERRNO, "give it", Cannot("x"))],
     "which this message has not"),
    ("no remedy for no reason",
     [GOOD[0], Row(EMPTY, "{}", "has no bytes", NoRemedy(""), Cannot("x"))], "no reason why there"),
    ("no way to bring it about", [GOOD[0], Row(EMPTY, "{}", "has no bytes", "give it")],
     "neither how"),
    ("no reason why it cannot be",
     [GOOD[0], Row(EMPTY, "{}", "has no bytes", "give it", Cannot(""))], "why it cannot be"),
    ("a test that is none",
     [GOOD[0], Row(EMPTY, "{}", "has no bytes", "give it", Test("unit No.such"))], "no test unit"),
    ("a test of something else",
     [GOOD[0], Row(EMPTY, "{}", "has no bytes", "give it", UNIT)], "has nothing of this text"),
)  # fmt: skip

SAYS = 'ringloop: image: has no bytes; give it "some"\n'
# What is planted, the exit code, what is on standard error, and what has to be said of it.
OUTPUTS = (
    ("nothing", 1, SAYS, ""),
    ("another exit code", 2, SAYS, "exit code 2"),
    ("a second line", 1, SAYS + "ringloop: more\n", "2 lines"),
    ("no name in front", 1, SAYS.removeprefix("ringloop: "), "does not begin with"),
    ("another message", 1, SAYS.replace("some", "one"), "is another message"),
    ("another object", 1, SAYS.replace("image", "file"), "object: no"),
    ("no line at all", 1, "", "0 lines"),
)


def fault_of(what, wrong, expected):
    text = "\n".join(wrong)
    if bool(wrong) == bool(expected) and expected in text:
        return []
    return [f"{what} was planted: said {text or 'nothing'!r}, and not {expected!r}"]


def main():
    faults = []
    messages = messages_of("x.cc", SOURCE)
    for what, rows, expected in TABLES:
        faults += fault_of(what, check_table(messages, {"x.cc": rows}), expected)
    for what, code, stderr, expected in OUTPUTS:
        faults += fault_of(what, output_is_wrong(SAID, code, stderr), expected)
    for fault in faults:
        print(fault)
    print(f"{len(TABLES) + len(OUTPUTS)} planted, {len(faults)} of them not as they should be")
    return 1 if faults else 0
