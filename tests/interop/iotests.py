"""QEMU's own tests of raw images over NBD, from its source package, with our server in the place of
qemu-nbd (shims/qemu-nbd). Each of them is a case.
"""

import shutil

import sources
from cases import need
from suite import SHIMS, environment, named

# Those that start a server and that qemu-nbd itself passes with Debian's QEMU, which lacks the
# accelerator `qtest`. But for 241: it wants 1000 bytes rounded up to 1024 and a warning about a
# format that was guessed, where we serve 1000 bytes and guess nothing.
IOTESTS = ("001", "002", "003", "004", "008", "009", "010", "011", "021", "032", "033", "077",
           "104", "123", "197", "215", "259")
# With the fault injector, or inside QEMU: they tell whether the suite itself works here.
IOTESTS_WITHOUT_SERVER = ("083", "277")


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
