"""The systems that are compared: each attaches the image and says under which path it is there.

attach() and detach() are what the row attach-detach times, so they hold one command each;
check() is called once per measurement and makes sure that the right thing is measured.
"""

import json
import os
import pathlib
import re
import subprocess

COMMAND_LIMIT_S = 60


class SystemFailure(Exception):
    """One line: which command failed and what it said."""


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise SystemFailure(f"'{' '.join(command)}' did not end in {COMMAND_LIMIT_S} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise SystemFailure(f"'{' '.join(command)}' failed with {done.returncode}: {said}")
    return done.stdout


class File:
    """fio on the image itself: what the machine can give."""

    def attach(self, image):
        return image

    def check(self, device):
        pass

    def detach(self, device):
        pass


class Loop:
    """The kernel's driver."""

    def __init__(self, direct_io):
        self.options = ["--direct-io=on"] if direct_io else []
        self.dio = "1" if direct_io else "0"

    def attach(self, image, read_only=False):
        return run("losetup", "--find", "--show", *self.options,
                   *(["--read-only"] if read_only else []), image).strip()

    def check(self, device):
        # losetup succeeds also when the driver falls back to buffered I/O.
        dio = block_folder(device) / "loop/dio"
        if dio.read_text(encoding="ascii").strip() != self.dio:
            raise SystemFailure(f"{dio} is not {self.dio}")

    def detach(self, device):
        run("losetup", "--detach", device)
        if (block_folder(device) / "loop").exists():
            raise SystemFailure(f"{device} is still attached after losetup --detach")


class Ringloop:
    def __init__(self, binary, direct_io=None, policy=None):
        """direct_io: None leaves it to ringloop, and whether it was used is not checked."""
        self.binary = binary
        self.options = ["--direct-io=off"] if direct_io is False else []
        if policy:
            self.options += ["--policy", policy]
        self.direct_io = direct_io
        self.policy = policy

    def attach(self, image, read_only=False):
        return run(self.binary, "attach", *self.options,
                   *(["--read-only"] if read_only else []), image).strip()

    def status(self, device, *wanted):
        """The object, which holds all the names in `wanted`."""
        said = run(self.binary, "status", "--json", device)
        try:
            status = json.loads(said)
            missing = [name for name in wanted if name not in status]
        except (ValueError, TypeError):
            raise SystemFailure(f"'status --json' is no object: {said}") from None
        if missing:
            raise SystemFailure(f"'status --json' does not tell {', '.join(missing)}: {said}")
        return status

    def check(self, device):
        status = self.status(device, "direct_io", *(["policy"] if self.policy else []))
        if self.direct_io not in (None, status["direct_io"]):
            raise SystemFailure(f"direct_io of {device} is {status['direct_io']}: "
                                f"{status.get('direct_io_reason') or 'no reason given'}")
        if self.policy and status["policy"] != self.policy:
            raise SystemFailure(f"the policy of {device} is {status['policy']}")

    def detach(self, device):
        run(self.binary, "detach", device)

    def has_policy(self, name):
        """The name is judged before the image, which does not exist."""
        done = subprocess.run([self.binary, "attach", "--policy", name, "/nonexistent"],
                              capture_output=True, text=True, check=False, timeout=COMMAND_LIMIT_S)
        return "no policy" not in done.stderr


class Ublksrv:
    """The loop target of the reference ublk server, with as many queues and slots as ringloop's
    default; direct I/O is its own default."""

    def __init__(self, binary):
        self.binary = binary

    def attach(self, image):
        said = run(self.binary, "add", "-t", "loop", "-f", image, "-q", "1", "-d", "128")
        number = re.search(r"dev id (\d+)", said)
        if not number:
            raise SystemFailure(f"'{self.binary} add' did not name a device: {said.strip()}")
        return f"/dev/ublkb{number.group(1)}"

    def check(self, device):
        if '"direct_io":1' not in run(self.binary, "list", "-n", device_number(device)):
            raise SystemFailure(f"{device} does not use direct I/O")

    def detach(self, device):
        run(self.binary, "del", "-n", device_number(device))


def make_systems(names, ringloop, ublksrv):
    makers = {
        "file": File,
        "loop-dio": lambda: Loop(direct_io=True),
        "loop-buffered": lambda: Loop(direct_io=False),
        "ringloop": lambda: Ringloop(ringloop, direct_io=True),
        "ringloop-buffered": lambda: Ringloop(ringloop, direct_io=False),
        "ublksrv": lambda: Ublksrv(ublksrv),
    }
    return {name: makers[name]() for name in names}


def device_number(device):
    return re.search(r"\d+$", device).group(0)


def block_folder(path):
    """In sysfs: of a device, or of the device that a file lies on."""
    status = os.stat(path)
    device = status.st_rdev or status.st_dev
    return pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")


def queue_settings(device):
    """How a system configured its block device: differences here explain many others."""
    queue = block_folder(device) / "queue"
    names = ("scheduler", "nr_requests", "max_sectors_kb", "max_segments", "logical_block_size",
             "write_cache", "rotational", "nomerges")
    found = {name: (queue / name).read_text(encoding="ascii").strip() for name in names}
    found["hardware_queues"] = len(list((block_folder(device) / "mq").iterdir()))
    return found
