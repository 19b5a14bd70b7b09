"""Source packages of Debian, for the test suites that are in them and in no binary package.

They are fetched with apt, once, into ~/.cache/ringloop/sources: from lists of their own, so that
the system's are not touched, nobody has to be root, and no deb-src line is needed anywhere.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess

from cases import Skipped

MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
FETCH_LIMIT_S = 150


def tree(package, suite, *patterns):
    """The unpacked source, or those parts of it that the patterns of tar name."""
    folder = CACHE / "ringloop/sources" / f"{package}-{suite}"
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "tree"
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            archive = download(package, suite, folder)
            unpack(archive, patterns, folder / "unpacked")
            (folder / "unpacked").rename(ready)
            archive.unlink()
    return ready


def download(package, suite, folder):
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYRING}] {MIRROR} {suite} main\n", encoding="ascii")
    apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={sources}",
           "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::lists={folder}/lists",
           "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
           "-o", "APT::Sandbox::User="]
    for words in (["update"], ["source", "--download-only", package]):
        said = run([*apt, *words], folder)
        if said is not None:
            missing(f"apt cannot fetch the source of {package} from {suite}: {said}")
    return next(folder.glob("*.orig.tar.*[zb2]"))


def run(command, folder):
    """None, or the last line of what it said."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=FETCH_LIMIT_S)
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip() or "nothing").splitlines()[-1]


def missing(reason):
    """A mirror that does not answer is no defect of ours: the suite is skipped, says so, and is
    counted as skipped."""
    raise Skipped(reason)


def unpack(archive, patterns, target):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    said = run(["tar", "-xf", archive, "--strip-components=1", "-C", target, "--wildcards",
                *(patterns or ["*"])], target)
    if said is not None:
        raise AssertionError(f"{archive.name}: {said}")
