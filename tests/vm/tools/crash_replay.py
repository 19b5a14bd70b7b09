#!/usr/bin/python3
"""Crashes of a recorded disk: every one of them must leave what was synced before it.

  crash_replay.py work FOLDER DM_NAME STEPS
  crash_replay.py check LOG BYTES FILESYSTEM POINTS [--below FILESYSTEM]

`work` writes and syncs files in FOLDER, and marks each step in the log of the dm-log-writes device
DM_NAME. `check` makes the disk of BYTES as it may have been at each of POINTS moments: at every
second one with all that was written until then, at the others with a random half of what no flush
had made safe. Each is mounted, its files are compared, and it is checked by fsck.
With --below, the recorded disk has that filesystem, with FILESYSTEM in the file `image` on it.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import witness
import write_log

FSCK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n", "-f"]}


def work(options):
    marker = write_log.Marker(options.device)
    marker.mark("0")
    witness.write_files(options.folder, options.steps, lambda step: marker.mark(str(step)))


def copy_sparse(source, target):
    os.ftruncate(target, 0)
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError:
            return  # no data behind this
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(target, source, start, end - start)


def command(*words):
    """Returns what is wrong, "" for nothing."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    return f"{' '.join(words)}: {done.stdout.strip()}" if done.returncode else ""


def check_mounted(disk, filesystems, folder, reported):
    """filesystems: from the disk inwards. Returns what is wrong, one text each."""
    point = folder / f"mounted-{len(filesystems)}"
    point.mkdir(exist_ok=True)
    # A filesystem that finds an error must say so at once, not go on as well as it can.
    options = "loop" + (",errors=remount-ro" if filesystems[0] == "ext4" else "")
    if wrong := command("mount", "-t", filesystems[0], "-o", options, str(disk), str(point)):
        return [wrong]
    if len(filesystems) > 1:
        wrong = check_mounted(point / "image", filesystems[1:], folder, reported)
    else:
        wrong = witness.check_files(point, reported)
    unmounted = command("umount", str(point))
    checked = "" if unmounted else command(*FSCK[filesystems[0]], str(disk))
    return wrong + [text for text in (unmounted, checked) if text]


class Checker:
    def __init__(self, options, folder):
        self.log = os.open(options.log, os.O_RDONLY)
        self.entries = write_log.read_log(options.log)
        self.filesystems = ([options.below] if options.below else []) + [options.filesystem]
        self.folder = folder
        self.base = self.sparse_file("base", options.bytes)  # all up to a flush
        self.based_on = 0  # entries that are in it
        self.crashed = self.sparse_file("crashed", options.bytes)

    def sparse_file(self, name, size):
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, size)
        return descriptor

    def positions(self, points):
        """Numbers of entries after which power is lost, spread over the work."""
        first = next(index for index, entry in enumerate(self.entries) if entry.mark == "0") + 1
        span = len(self.entries) - first
        count = min(points, span)
        return [first + (index + 1) * span // count for index in range(count)]

    def reported(self, position):
        # The kernel puts a mark of its own at the end.
        return max(int(entry.mark) for entry in self.entries[:position] if entry.mark.isdigit())

    def make(self, position, lucky):
        kept = write_log.crash_at(self.entries, position, lucky)
        flush = max((index for index in range(position)
                     if self.entries[index].flags & write_log.FLUSH), default=-1)
        base = write_log.Replay(self.log, self.base)
        for entry in self.entries[self.based_on:flush + 1]:
            base.apply(entry)
        self.based_on = max(self.based_on, flush + 1)
        copy_sparse(self.base, self.crashed)
        replay = write_log.Replay(self.log, self.crashed)
        for entry in kept[flush + 1:]:
            replay.apply(entry)

    def check(self, position, lucky):
        self.make(position, lucky)
        return check_mounted(self.folder / "crashed", self.filesystems, self.folder,
                             self.reported(position))


def check(options):
    bad = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="crash-") as folder:
        checker = Checker(options, pathlib.Path(folder))
        positions = checker.positions(options.points)
        for number, position in enumerate(positions):
            halves = number % 2 == 1
            wrong = checker.check(position, write_log.coin(position) if halves else lambda: True)
            bad += bool(wrong)
            for text in wrong:
                print(f"crash after entry {position}{', by halves' if halves else ''}, step "
                      f"{checker.reported(position)}: {text}")
        flushes = sum(1 for entry in checker.entries if entry.flags & write_log.FLUSH)
        fua = sum(1 for entry in checker.entries if entry.flags & write_log.FUA)
        steps = checker.reported(len(checker.entries))
        print(f"{' on '.join(reversed(checker.filesystems))}: {len(positions)} crashes of "
              f"{len(checker.entries)} entries, {flushes} with flush, {fua} with FUA, "
              f"{steps} steps: {bad} crashes are wrong")
    # Without flushes the test would prove nothing.
    return 1 if bad or flushes < steps or not positions else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    worker = verbs.add_parser("work")
    worker.add_argument("folder")
    worker.add_argument("device")
    worker.add_argument("steps", type=int)
    checker = verbs.add_parser("check")
    checker.add_argument("log")
    checker.add_argument("bytes", type=int)
    checker.add_argument("filesystem", choices=FSCK)
    checker.add_argument("points", type=int)
    checker.add_argument("--below", choices=FSCK)
    options = parser.parse_args()
    sys.exit(work(options) if options.verb == "work" else check(options))


if __name__ == "__main__":
    main()
