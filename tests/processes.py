"""Which processes a test left behind, and their end. Used by run.py and nbd/run.py."""

import ctypes
import os
import pathlib
import select
import signal

STRAGGLER_GRACE_MS = 1000


def become_subreaper():
    """Orphans of a test become children of this process, where they are found and ended."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def end_stragglers():
    """Ends what a test left running; returns a line for each that did not end by itself."""
    found = []
    while True:
        children = pathlib.Path("/proc/self/task").glob("*/children")
        pids = [int(pid) for path in children for pid in path.read_text().split()]
        if not pids:
            return found
        for pid in pids:
            # A server may still be on its way out when the command that stopped it returns.
            if not ends_within(pid, STRAGGLER_GRACE_MS):
                command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found.append(f"left running: {pid} {os.fsdecode(command)}")
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def ends_within(pid, timeout_ms):
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_ms))
    finally:
        os.close(descriptor)
