"""On the host: the image of a live CD, an iso with a squashfs in it, in that an ext4 of files."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from host import BUILD, BenchError

FOLDERS = ("/usr/bin", "/usr/lib/x86_64-linux-gnu")
FILE_BYTES_MAX = 256 << 10  # what a boot reads many of
BYTES = 160 << 20
SMOKE_BYTES = 16 << 20
# Of the ext4, beside the files: its tables, and the rest of each file's last block.
SPARE_BYTES = 32 << 20

# No journal: an image that is read only has none to play back. gzip is mksquashfs's own default.
MKFS = ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-m", "0")
MKSQUASHFS = ("mksquashfs", "-comp", "gzip", "-no-progress", "-no-xattrs", "-all-root")
MKISO = ("genisoimage", "-quiet", "-R", "-iso-level", "3")


def make(smoke):
    """The path of the iso. Beside it, under the same name with .json, which files are in it. Both
    are kept from one run to the next, as long as the files and the options are the same."""
    iso = BUILD / ("nested-smoke.iso" if smoke else "nested.iso")
    files = choose(SMOKE_BYTES if smoke else BYTES)
    listing = iso.with_suffix(".json")
    key = key_of(files)
    if iso.is_file() and listing.is_file():
        if json.loads(listing.read_text(encoding="utf-8"))["key"] == key:
            return iso
    print(f"making {iso}", flush=True)
    work = BUILD / "nested"
    shutil.rmtree(work, ignore_errors=True)
    try:
        build(files, work, iso)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    listing.write_text(json.dumps({
        "key": key, "files": [(path.lstrip("/"), size) for path, size, _ in files]}),
        encoding="utf-8")
    return iso


def choose(limit):
    """(path, size, time) of real files, always the same ones as long as none changes."""
    chosen, total = [], 0
    for path in sorted(path for folder in FOLDERS for path in pathlib.Path(folder).rglob("*")):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
            continue
        status = path.stat()
        if 0 < status.st_size <= FILE_BYTES_MAX and total + status.st_size <= limit:
            chosen.append((str(path), status.st_size, status.st_mtime_ns))
            total += status.st_size
    if total < limit // 2:
        raise BenchError(f"{' and '.join(FOLDERS)} have {total >> 20} MiB in small files, "
                         f"{limit >> 21} are needed")
    return chosen


def key_of(files):
    everything = [MKFS, MKSQUASHFS, MKISO, SPARE_BYTES, files]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def build(files, work, iso):
    root = work / "root"
    for path, _, _ in files:
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    ext4 = work / "squash/ext4.img"
    ext4.parent.mkdir()
    with open(ext4, "xb") as image:
        blocks = sum(-(-size // 4096) for _, size, _ in files)
        image.truncate(blocks * 4096 + SPARE_BYTES)
    run(*MKFS, "-d", root, ext4)
    squashfs = work / "iso/live/squashfs.img"
    squashfs.parent.mkdir(parents=True)
    run(MKSQUASHFS[0], ext4.parent, squashfs, *MKSQUASHFS[1:])
    # Under another name until it is whole.
    run(*MKISO, "-o", work / "made.iso", work / "iso")
    (work / "made.iso").replace(iso)


def run(*command):
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, "PATH": path})
    except FileNotFoundError:
        raise BenchError(f"no {command[0]}: 'make deps' installs what the guest needs") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise BenchError(f"{command[0]} failed with {done.returncode}: {said}")
