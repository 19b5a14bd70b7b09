"""The row of a message, and the ways in which it is brought about."""

import dataclasses

# The cause of what fail_errno says is its errno; so is the way out where that has one of its own
# (src/base/result.cc).
ERRNO = "errno"


@dataclasses.dataclass(frozen=True)
class NoRemedy:
    """A message that names no way out, and why that is right."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Run:
    """ringloop brought to say it, in a folder with an image of 1 MiB called `image`."""

    command: str  # words of a shell behind "ringloop"
    before: str = ""  # shell, with the words of words.sh
    denied: str = ""  # CALL[,CALL...]:ERRNO: system calls that fail for ringloop
    code: int = 1
    lines: int = 1
    begin: str = "ringloop: "
    shell: str = ""  # in place of "$RINGLOOP" and the command
    root: bool = False  # says something else to others, so it is skipped for them


@dataclasses.dataclass(frozen=True)
class Test:
    """Another test that reads this text: "unit SUITE.NAME", "blackbox FILE", "guest FILE" or
    "hostile FILE"."""

    name: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """A line of `ringloop doctor`, which says it only on some hosts; where it does, the whole
    finding is looked at."""

    what: str


@dataclasses.dataclass(frozen=True)
class Cannot:
    """Nothing that a test does brings it about."""

    reason: str


OUT = Cannot("it needs a kernel that runs out of memory or descriptors at this very call")


# What a client of the NBD server did wrong.
PEER = Cannot("tests/hostile has such clients, and looks at what they are answered")
PEER_TOLD = NoRemedy("the peer is told by the reply, and the log counts it")


@dataclasses.dataclass(frozen=True)
class Part:
    """No message by itself: a part of others, or not about anything wrong."""

    of: str


@dataclasses.dataclass(frozen=True)
class Row:
    """text is the message's template as the source has it, adjacent literals joined.

    The other three are words of it that name what the message is about, what is wrong with it, and
    what to do; of a row that runs the program, words of what it prints."""

    text: str
    object: str = ""
    cause: str = ""
    remedy: object = ""
    how: object = None
