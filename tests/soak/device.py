"""The device under the soak: a `ringloop attach` that is killed and recovered, the small filesystem
that its image lies in, and what its server takes of the memory.
"""

import errno
import json
import os
import pathlib
import select
import signal
import struct
import subprocess
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / "nbd"))

import wire

TREE = pathlib.Path(__file__).resolve().parent.parent.parent
RINGLOOP = os.environ.get("RINGLOOP", str(TREE / "build/release/ringloop"))
COMMAND_LIMIT_S = 120
END_LIMIT_MS = 30_000
BALLAST_STEPS = (1 << 20, 4096)
HALF_DEAD_READS = 64


class Device:
    def __init__(self, folder, image, clients):
        self.socket = folder / "s.sock"
        self.image = image
        self.environment = {**os.environ, "RINGLOOP_RUNTIME_DIR": str(folder / "run")}
        self.ringloop("attach", "--nbd", f"unix:{self.socket}", "--max-connections",
                      str(clients + 8), "--name", "soak", str(image))
        self.learn_pid()

    def ringloop(self, *arguments):
        done = subprocess.run([RINGLOOP, *arguments], env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=COMMAND_LIMIT_S)
        if done.returncode != 0:
            raise RuntimeError(f"ringloop {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def learn_pid(self):
        self.pid = json.loads(self.ringloop("status", "--json", "soak"))["pid"]

    def kill(self):
        """Returns when it is dead."""
        process = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
            poll = select.poll()
            poll.register(process, select.POLLIN)
            if not poll.poll(END_LIMIT_MS):
                raise RuntimeError("the server did not die of SIGKILL")
        finally:
            os.close(process)

    def recover(self):
        self.ringloop("recover", "soak")
        self.learn_pid()

    def detach(self):
        self.ringloop("detach", "soak")

    def end(self):
        """After something went wrong: no process is left behind, whatever it was."""
        subprocess.run([RINGLOOP, "detach", "--force", "soak"], env=self.environment, check=False,
                       stdin=subprocess.DEVNULL, timeout=COMMAND_LIMIT_S)

    def memory_kib(self):
        """(RSS, PSS) of its server."""
        fields = {}
        rollup = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        for line in rollup.splitlines()[1:]:
            name, value = line.split()[:2]
            fields[name] = int(value)
        return fields["Rss:"], fields["Pss:"]


class HalfDead:
    """A client that asks for much, breaks off within a request, and never reads."""

    def __init__(self, path):
        self.socket = wire.connect(path).socket
        self.socket.setblocking(False)
        reads = b"".join(struct.pack(">IHHQQI", wire.REQUEST_MAGIC, 0, wire.READ, number, 0, 65536)
                         for number in range(HALF_DEAD_READS))
        half = struct.pack(">IHHQ", wire.REQUEST_MAGIC, 0, wire.WRITE, 1)
        try:
            self.socket.send(reads + half)
        except BlockingIOError:
            pass  # it has been deaf from the start, then

    def close(self):
        self.socket.close()


class Ballast:
    """A file beside the image that takes all the space that is left."""

    def __init__(self, folder):
        self.path = folder / "ballast"

    def load(self):
        with open(self.path, "wb", buffering=0) as file:
            for step in BALLAST_STEPS:
                self.fill(file, bytes(step))

    @staticmethod
    def fill(file, piece):
        try:
            while file.write(piece) == len(piece):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def drop(self):
        self.path.unlink(missing_ok=True)


def mount_small(folder, size):
    """A filesystem of its own in `folder`, as long as this process and its mounts live."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "soak", folder],
                          capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def unmount(folder):
    subprocess.run(["umount", "--quiet", "--lazy", folder], capture_output=True, check=False)
