"""Starts an NBD server on a Unix socket: ringloop, or another one in its place.

NBD_SERVER chooses: `ringloop` (the default), `nbdkit` and `qemu-nbd` (a case that fails on those
too may be wrong itself), `toy` (toy.py, into which NBD_BUG plants a defect).
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
RINGLOOP = os.environ.get("RINGLOOP", str(TREE / "build/release/ringloop"))
KIND = os.environ.get("NBD_SERVER", "ringloop")

PATIENCE = int(os.environ.get("TEST_PATIENCE", "1"))
START_LIMIT_S = 20 * PATIENCE
STOP_LIMIT_S = 20 * PATIENCE
LOOK_AGAIN_S = 0.01
LOG_LINES_SHOWN = 20


class Unsupported(Exception):
    """The server in ringloop's place has no such option."""


def ringloop_command(path, image, options):
    command = [RINGLOOP, "serve", "--nbd", f"unix:{path}"]
    names = {"export": "--export", "handshake_timeout": "--handshake-timeout",
             "max_request": "--max-request", "max_inflight": "--max-inflight",
             "max_connections": "--max-connections", "tls": "--tls",
             "certificates": "--tls-certificates", "psk": "--tls-psk",
             "authorize": "--tls-authorize", "description": "--description"}
    for key, value in options.items():
        if key == "read_only":
            command += ["--read-only"] if value else []
        else:
            command += [names[key], str(value)]
    return [*command, str(image)]


def nbdkit_command(path, image, options):
    command = ["nbdkit", "--foreground", "--unix", str(path)]
    for key, value in options.items():
        if key == "read_only":
            command += ["--readonly"] if value else []
        elif key == "tls":
            command.append(f"--tls={value}")
        elif key == "certificates":
            command += [f"--tls-certificates={value}", "--tls-verify-peer"]
        elif key == "psk":
            command.append(f"--tls-psk={value}")
        elif key != "export":  # it takes every name
            raise Unsupported(key)
    return [*command, "file", str(image)]


def qemu_nbd_command(path, image, options):
    command = ["qemu-nbd", "--persistent", "--format=raw", "--shared=64", "--discard=unmap",
               f"--socket={path}", f"--export-name={options.get('export', '')}"]
    for key, value in options.items():
        if key == "read_only":
            command += ["--read-only"] if value else []
        elif key == "description":
            command.append(f"--description={value}")
        elif key == "certificates":
            command += ["--object", f"tls-creds-x509,id=tls0,endpoint=server,dir={value},"
                        "verify-peer=on", "--tls-creds=tls0"]
        elif key not in ("export", "tls"):
            raise Unsupported(key)
    return [*command, str(image)]


def toy_command(path, image, options):
    command = [sys.executable, str(HERE / "toy.py"), "--bug", os.environ.get("NBD_BUG", "")]
    for key, value in options.items():
        if key == "read_only":
            command += ["--read-only"] if value else []
        else:
            command += [f"--{key.replace('_', '-')}", str(value)]
    return [*command, str(path), str(image)]


COMMANDS = {"ringloop": ringloop_command, "nbdkit": nbdkit_command,
            "qemu-nbd": qemu_nbd_command, "toy": toy_command}


class Server:
    """A running server. `path` is its socket, `uri` what clients are given."""

    def __init__(self, folder, image, kind=KIND, **options):
        self.path = folder / f"{image.name}.sock"
        self.path.unlink(missing_ok=True)
        self.image = image
        self.export = options.get("export", "")
        self.uri = f"nbd+unix:///{self.export}?socket={self.path}"
        self.log = folder / f"{image.name}.server.log"
        command = COMMANDS[kind](self.path, image, options)
        environment = {**os.environ, "RINGLOOP_RUNTIME_DIR": str(folder / "run")}
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=environment)
        self.wait_until_it_listens(command)

    def wait_until_it_listens(self, command):
        deadline = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if self.ends_within(LOOK_AGAIN_S):
                raise AssertionError(f"'{' '.join(command)}' ended with "
                                     f"{self.process.returncode}: {self.said()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"'{' '.join(command)}' does not listen: {self.said()}")

    def answers(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(START_LIMIT_S)
            try:
                probe.connect(str(self.path))
                return bool(probe.recv(1))
            except OSError:
                return False

    def ends_within(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self):
        """The end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-LOG_LINES_SHOWN:])

    def resident_bytes(self):
        pages = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii")
        return int(pages.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def must_live(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}: {self.said()}")

    def stop(self):
        """As a service manager does; the server has to be alive, and to end with 0."""
        self.must_live()
        self.process.send_signal(signal.SIGTERM)
        if not self.ends_within(STOP_LIMIT_S):
            self.kill()
            raise AssertionError(f"the server does not end after SIGTERM: {self.said()}")
        if self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode} "
                                 f"after SIGTERM: {self.said()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
