#!/usr/bin/python3
"""Prepares what the test guest boots from: a Debian kernel, its modules and an initramfs.

Nothing is installed on the host: the kernel's package is downloaded and unpacked into a cache
folder. A prepared image is kept until this recipe changes or --refresh asks for a newer kernel.
"""

import argparse
import dataclasses
import fcntl
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

META_PACKAGES = {"6.12": "linux-image-6.12-amd64", "6.1": "linux-image-amd64"}

# Loaded by the initramfs, in this order, unless built in. Of these 6.1 lacks ublk_drv.
# crc32c_generic is for ext4, which otherwise would start modprobe for it.
BOOT_MODULES = ["virtio_pci", "virtio_blk", "9pnet_virtio", "9p", "overlay", "crc32c_generic",
                "ext4", "loop", "nbd", "ublk_drv"]
# Each of nbd's sixteen devices costs the boot 30 ms. More come by netlink, or by loading it anew.
MODULE_OPTIONS = {"nbd": " nbds_max=4"}
OPTIONAL_BOOT_MODULES = {"6.1": {"ublk_drv"}, "6.12": set()}

# Left to `modprobe` in the guest, but unpacked here, where that is quick.
GUEST_MODULES = ["null_blk", "brd", "zram", "scsi_debug", "dm-mod", "dm-flakey", "dm-log-writes",
                 "dm-delay", "dm-dust", "squashfs", "isofs", "vfat", "xfs", "btrfs", "fuse"]

INITRAMFS_APPLETS = ["sh", "cat", "hostname", "ifconfig", "insmod", "ln", "mkdir", "mount",
                     "stty", "switch_root", "uname"]


class ImageError(Exception):
    """One line for the person at the terminal: what failed and what to do."""


@dataclasses.dataclass
class Image:
    kernel: str  # as asked for: "6.12"
    release: str  # as `uname -r` says it
    vmlinux: pathlib.Path
    initramfs: pathlib.Path
    modules: pathlib.Path  # what the guest sees as /lib/modules/RELEASE


def prepare(kernel, cache, refresh=False):
    """Returns the Image for a kernel of META_PACKAGES, made now unless the cache has it."""
    folder = pathlib.Path(cache).resolve() / kernel
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs may want the same kernel at once
        ready = folder / "ready.json"
        if not refresh and ready.exists():
            state = json.loads(ready.read_text(encoding="utf-8"))
            if state["recipe"] == recipe():
                return image_in(folder, kernel, state["release"])
        package = resolve(kernel)
        ready.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            release = build(kernel, package, pathlib.Path(scratch), folder)
        ready.write_text(json.dumps({"recipe": recipe(), "release": release, "package": package}),
                         encoding="utf-8")
        return image_in(folder, kernel, release)


def recipe():
    digest = hashlib.sha256()
    for name in ("image.py", "init.sh"):
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def image_in(folder, kernel, release):
    return Image(kernel, release, folder / "vmlinux", folder / "initramfs.cpio",
                 folder / "modules")


def resolve(kernel):
    """The versioned package that the meta package depends on today."""
    meta = META_PACKAGES[kernel]
    found = run(["apt-cache", "depends", meta], f"cannot ask apt about {meta}")
    match = re.search(r"Depends: (linux-image-\S+-amd64)", found)
    if not match:
        raise ImageError(f"apt knows no package {meta}: run 'apt-get update'; "
                         "6.12 comes from Debian 12's security updates")
    return match.group(1)


def build(kernel, package, scratch, folder):
    """Fills `folder` from the package and returns the kernel's release."""
    run(["apt-get", "download", package],
        f"cannot download {package}: check the network, or run 'apt-get update'", cwd=scratch)
    deb = next(scratch.glob("*.deb"))
    run(["dpkg", "-x", deb, scratch / "root"], f"cannot unpack {deb.name}")
    vmlinuz = next((scratch / "root/boot").glob("vmlinuz-*"))
    release = vmlinuz.name.removeprefix("vmlinuz-")
    (folder / "vmlinux").write_bytes(decompressed_kernel(vmlinuz))

    base = scratch / "root"
    modules = base / "lib/modules" / release
    run([tool("depmod"), "-b", base, release], "depmod failed")
    boot_files = unpack_modules(modules, kernel)
    run([tool("depmod"), "-b", base, release], "depmod failed")  # the names lost their .xz
    make_initramfs(scratch / "initramfs", boot_files, folder / "initramfs.cpio")
    shutil.rmtree(folder / "modules", ignore_errors=True)
    modules.rename(folder / "modules")
    return release


def decompressed_kernel(vmlinuz):
    """The ELF kernel inside a bzImage: QEMU starts it directly (PVH), and the guest is spared
    decompressing it under emulation, which would take longer than the rest of the boot."""
    data = vmlinuz.read_bytes()
    # Linux x86 boot protocol: setup_sects at 0x1f1, payload_offset and payload_length at 0x248,
    # counted from the protected-mode code. The payload ends in four bytes of its unpacked size.
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = data[start:start + length]
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        elf = subprocess.run([tool("zstd"), "-dc"], input=payload[:-4], stdout=subprocess.PIPE,
                             check=True).stdout
    elif payload.startswith(b"\xfd7zXZ"):
        elf = lzma.LZMADecompressor().decompress(payload)
    else:
        elf = b""
    return elf if elf.startswith(b"\x7fELF") else data


def unpack_modules(modules, kernel):
    """Decompresses the wanted modules and what they need, where they lie, and returns the files
    of BOOT_MODULES in the order in which they must be loaded."""
    needs = dependencies(modules)
    builtin = {module_name(line) for line in
               (modules / "modules.builtin").read_text(encoding="utf-8").splitlines()}
    wanted = []
    for name in BOOT_MODULES + GUEST_MODULES:
        key = name.replace("-", "_")
        if key in needs:
            wanted += [path for path in needs[key] if path not in wanted]
        elif (key not in builtin and name in BOOT_MODULES
              and name not in OPTIONAL_BOOT_MODULES[kernel]):
            raise ImageError(f"the {kernel} kernel has no module {name}: it cannot run the guest")
        if name == BOOT_MODULES[-1]:
            boot_count = len(wanted)
    unpacked = [unpack_module(modules / path) for path in wanted]
    return unpacked[:boot_count]


def dependencies(modules):
    """Module name -> its files in load order, itself last, from depmod's modules.dep (which
    lists what a module needs in the opposite order)."""
    table = {}
    for line in (modules / "modules.dep").read_text(encoding="utf-8").splitlines():
        path, _, needed = line.partition(":")
        table[module_name(path)] = list(reversed(needed.split())) + [path]
    return table


def module_name(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


def unpack_module(path):
    if path.suffix != ".xz":
        return path
    plain = path.with_suffix("")
    plain.write_bytes(lzma.decompress(path.read_bytes()))
    path.unlink()
    return plain


def make_initramfs(root, boot_files, target):
    for name in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "guest"):
        (root / name).mkdir(parents=True)
    shutil.copy(tool("busybox"), root / "bin/busybox")
    for applet in INITRAMFS_APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    for path in boot_files:
        shutil.copy(path, root / "modules")
    order = "".join(f"{path.name}{MODULE_OPTIONS.get(module_name(path), '')}\n"
                    for path in boot_files)
    (root / "modules/order").write_text(order, encoding="utf-8")
    shutil.copy(HERE / "init.sh", root / "init")
    (root / "init").chmod(0o755)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    with open(target, "wb") as archive:  # not compressed: the guest would pay for it
        subprocess.run([tool("cpio"), "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root,
                       input=names.encode(), stdout=archive, check=True)


def tool(name):
    """Some live in sbin, which is not in the PATH of ordinary users."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise ImageError(f"{name} is not installed: see tests/vm/packages.txt")
    return found


def run(command, complaint, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ImageError(f"{complaint}: no program {command[0]} here") from None
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise ImageError(f"{complaint} ({reason})")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", choices=META_PACKAGES, required=True)
    parser.add_argument("--out", required=True, metavar="DIR", help="the cache folder")
    parser.add_argument("--refresh", action="store_true", help="look for a newer kernel package")
    options = parser.parse_args()
    try:
        image = prepare(options.kernel, options.out, options.refresh)
    except ImageError as error:
        sys.exit(f"image.py: {error}")
    print(f"{image.release} {image.vmlinux} {image.initramfs} {image.modules}")


if __name__ == "__main__":
    main()
