"""Test suites that others wrote for their own servers: nbd's tester and the tests of libnbd, from
their source packages. Each of their tests is a case of its own here.
"""

import sources
from server import KIND
from suite import environment, named

MIB = 1 << 20

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
