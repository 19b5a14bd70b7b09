"""What a file of cases uses. Each case is one behaviour, a function whose name is the sentence:

    from cases import case

    @case
    def nbdinfo_tells_the_size(test):
        server = test.serve(test.image(1 << 20))
        assert test.run("nbdinfo", "--size", server.uri) == "1048576\n"

A case passes when it returns, is skipped by test.skip(reason) and fails by any other exception.
Its servers are stopped afterwards, and must then be alive and end well. tests/nbd/run.py runs it.
"""

import os
import pathlib
import random
import shutil
import subprocess

import server

RUN_LIMIT_S = 120 * server.PATIENCE
CASES = []


class Skipped(Exception):
    """The reason, one line."""


def case(function):
    CASES.append(function)
    return function


class Test:
    """One case at work: a folder, its servers, and what it wants done at its end."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.servers = []
        self.at_end = []

    def serve(self, image, **options):
        """The options are those of server.ringloop_command."""
        try:
            started = server.Server(self.folder, image, **options)
        except server.Unsupported as option:
            raise Skipped(f"{server.KIND} has nothing like {option}") from None
        self.servers.append(started)
        return started

    def image(self, size, name="disk.img"):
        """A sparse one."""
        path = self.folder / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def filled_image(self, size, name="disk.img"):
        """Every byte random, the same in each run."""
        path = self.folder / name
        path.write_bytes(random.Random(0x72696E67).randbytes(size))
        return path

    def run(self, *command, status=0, **keywords):
        """What it printed on stdout; another exit status than `status` is a failure."""
        need(command[0])
        # The modules of Debian's packages are with Debian's python3, whichever comes first here.
        environment = {**os.environ, "PATH": f"/usr/bin:{os.environ['PATH']}"}
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", check=False,
                              timeout=RUN_LIMIT_S,
                              **{"cwd": self.folder, "env": environment, **keywords})
        if status is not None and done.returncode != status:
            raise AssertionError(f"'{' '.join(map(str, command))}' ended with {done.returncode}, "
                                 f"expected {status}\n{done.stdout}{done.stderr}")
        return done.stdout

    def skip(self, reason):
        raise Skipped(reason)

    def only_ringloop(self, why):
        """For what a stand-in does differently without being wrong. The toy does as ringloop."""
        if server.KIND not in ("ringloop", "toy"):
            raise Skipped(f"{server.KIND}: {why}")

    def finish(self):
        """Ends everything; raises the first failure that this brings."""
        failures = []
        for step in [*reversed(self.at_end), *(one.stop for one in self.servers)]:
            try:
                step()
            except Exception as error:  # the other servers have to be stopped as well
                failures.append(error)
        if failures:
            raise failures[0]


def need(program):
    """Skips without it, except in continuous integration, where everything is there."""
    if not shutil.which(str(program)):
        if os.environ.get("CI"):
            raise AssertionError(f"no {program} here: make deps installs it")
        raise Skipped(f"no {program} here; make deps installs it")


def allocated(path):
    """Bytes of disk that a file takes."""
    return os.stat(path).st_blocks * 512


def refusal(call, *arguments):
    """The error that a function of wire.Client raises, which it has to."""
    try:
        call(*arguments)
    except Exception as error:  # which one is for the case to judge
        return error
    raise AssertionError(f"{call.__name__}{arguments} was not refused")
