"""Test suites that others wrote for their own servers: QEMU's iotests for raw images over NBD,
nbd's tester, and the tests of libnbd. Each of their tests is a case of its own here.
"""

import os
import pathlib
import shutil

import sources
from cases import case, need
from server import KIND

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
SHIMS = HERE / "shims"
MIB = 1 << 20

# Those that start a server and that qemu-nbd itself passes with Debian's QEMU, which lacks the
# accelerator `qtest`. 241 has qemu-nbd say how it guessed an image's format: no server of raw
# images can.
IOTESTS = ("001", "002", "003", "004", "008", "009", "010", "011", "021", "032", "033", "077",
           "104", "123", "197", "215", "259")
# With the fault injector, or inside QEMU: they tell whether the suite itself works here.
IOTESTS_WITHOUT_SERVER = ("083", "277")

TESTER_MODES = {"reads": (), "writes": ("-w",), "writes_and_flushes": ("-w", "-f"),
                "oversized_requests": ("-o",), "handshakes": ("-h",),
                "an_integrity_trace": ("-i", "-t")}

LIBNBD_TESTS = ("errors-bad-cookie", "errors-client-oversize", "errors-client-unknown-flags",
                "errors-client-zerosize", "errors-connect-twice", "errors-name-too-long",
                "errors-not-negotiating", "errors-notify-not-blocked", "errors-poll-no-fd",
                "errors-pread-structured", "errors-server-invalid-offset",
                "errors-server-unknown-flags", "errors-server-zerosize", "opt-abort", "get-size",
                "shutdown-flags", "read-only-flag", "read-write-flag",
                "connect-unix", "connect-systemd-socket-activation", "pread-initialize")


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
            "RINGLOOP": os.path.abspath(os.environ.get("RINGLOOP",
                                                       TREE / "build/release/ringloop")),
            "RINGLOOP_RUNTIME_DIR": str(test.folder / "run"), **more}


# ---- qemu-iotests ------------------------------------------------------------------------------


def run_iotest(test, number):
    for program in ("qemu-system-x86_64", "qemu-img", "qemu-io", "qemu-storage-daemon"):
        need(program)
    tree = sources.tree("qemu", "bookworm", "*/tests/qemu-iotests", "*/python", "*/scripts/qapi*")
    # The suite writes where its tests are: its folder is copied, a few MiB.
    suite = test.folder / "tests/qemu-iotests"
    shutil.copytree(tree / "tests/qemu-iotests", suite, symlinks=True)
    (test.folder / "python").symlink_to(tree / "python")
    scratch = test.folder / "scratch"
    scratch.mkdir()
    said = test.run("/usr/bin/python3", "./check", "-raw", "-nbd", number, status=None, env={
        **environment(test), "QEMU_PROG": "/usr/bin/qemu-system-x86_64",
        "QEMU_IMG_PROG": "/usr/bin/qemu-img", "QEMU_IO_PROG": "/usr/bin/qemu-io",
        "QSD_PROG": "/usr/bin/qemu-storage-daemon", "QEMU_NBD_PROG": str(SHIMS / "qemu-nbd"),
        "TEST_DIR": str(scratch)}, cwd=suite)
    assert "Passed all 1 iotests" in said, said


for iotest in (*IOTESTS, *IOTESTS_WITHOUT_SERVER):
    @named(f"qemu_iotest_{iotest}_passes")
    def _(test, number=iotest):
        run_iotest(test, number)


# ---- nbd-tester-client -------------------------------------------------------------------------

# What its sources ask of a configured tree.
TESTER_CONFIG = """
#define HAVE_GNUTLS 0
#define HAVE_FDATASYNC 1
#define HAVE_MKSTEMP 1
#define SIZEOF_UNSIGNED_SHORT_INT 2
#define SIZEOF_UNSIGNED_INT 4
#define SIZEOF_UNSIGNED_LONG_INT 8
#define SIZEOF_UNSIGNED_LONG_LONG_INT 8
#define PACKAGE_VERSION "tests"
"""


def tester(test):
    """(program, folder of its traces)"""
    tree = sources.tree("nbd", "trixie")
    (test.folder / "config.h").write_text(TESTER_CONFIG, encoding="ascii")
    glib = test.run("pkg-config", "--cflags", "--libs", "glib-2.0").split()
    program = test.folder / "nbd-tester-client"
    test.run("gcc", "-O1", "-w", f"-I{test.folder}", f"-I{tree}", "-o", program,
             tree / "tests/run/nbd-tester-client.c", tree / "cliserv.c", *glib)
    return program, tree / "tests/run"


for mode_name, mode_options in TESTER_MODES.items():
    @named(f"nbd_tester_passes_with_{mode_name}")
    def _(test, options=mode_options):
        program, traces = tester(test)
        server = test.serve(test.image(60 * MIB), export="export")
        if "-t" in options:
            options = (*options, traces / "integrity-test.tr")
        test.run(program, "-u", server.path, "-N", "export", *options)


# ---- libnbd ------------------------------------------------------------------------------------

for libnbd_test in LIBNBD_TESTS:
    @named(f"libnbd_test_{libnbd_test.replace('-', '_')}_passes")
    def _(test, name=libnbd_test):
        if KIND not in ("ringloop", "nbdkit"):
            test.skip(f"{KIND} does not serve its standard input")
        tree = sources.tree("libnbd", "bookworm")
        (test.folder / "config.h").touch()
        program = test.folder / name
        test.run("gcc", "-w", f"-I{test.folder}", f"-I{tree}/tests", "-o", program,
                 tree / f"tests/{name}.c", tree / "tests/requires.c", "-lnbd")
        test.run(program, env=environment(test))
