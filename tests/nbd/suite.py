"""What the cases share that run a test suite of others, each of its tests a case."""

import os
import pathlib

from cases import case
from server import KIND, RINGLOOP

SHIMS = pathlib.Path(__file__).resolve().parent.parent / "interop/shims"


def named(name):
    """The function becomes a case of this name."""
    def add(function):
        function.__name__ = name
        return case(function)
    return add


def environment(test, **more):
    """The shims come first in the PATH; relative paths would not survive a change of folder."""
    return {**os.environ, "PATH": f"{SHIMS}:/usr/bin:{os.environ['PATH']}",
            "TEST_DIR": str(test.folder), "NBD_SERVER": KIND,
            "RINGLOOP": os.path.abspath(RINGLOOP),
            "RINGLOOP_RUNTIME_DIR": str(test.folder / "run"), **more}
