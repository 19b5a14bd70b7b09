"""One guest: a QEMU process, what it boots from, and the lines by which it tells what it does."""

import os
import pathlib
import select
import shlex
import shutil
import subprocess
import time

import image

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]

SCRATCH_BYTES = 4 << 30
RAW_BYTES = 2 << 30

# From the best to what every host has: a host may refuse io_uring, a filesystem O_DIRECT.
DISK_MODES = ["cache=none,aio=io_uring", "cache=none,aio=threads", "cache=writeback,aio=threads"]

# la57 off: five-level page tables only make emulation slower. A panic ends QEMU (-no-reboot).
KERNEL_COMMAND_LINE = ("console=ttyS0 loglevel=5 panic=-1 log_buf_len=4M nokaslr mitigations=off "
                       "tsc=reliable no_timer_check random.trust_cpu=on "
                       "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=60 "
                       "init_on_alloc=0 audit=0 lsm=landlock,capability cryptomgr.notests")


class GuestError(Exception):
    """One line for the person at the terminal."""


class Ended(Exception):
    """QEMU is gone: the guest powered off, panicked, or QEMU itself refused to start."""


class Silent(Exception):
    """The guest did not say anything in time."""


class Guest:
    """Owns the QEMU process from start() to stop(). `results` is a folder that the guest sees,
    writable, as /results; its part .guest holds what the guest is to run."""
    kernel_command_line = KERNEL_COMMAND_LINE

    def __init__(self, kernel_image, results, smp, memory):
        self.kernel_image = kernel_image
        self.results = results
        self.smp = smp
        self.memory = memory
        self.share = results / ".guest"
        self.disks = {"scratch": results / "scratch.raw", "raw": results / "disk.raw"}
        self.qemu = None
        self.pending = b""

    def load(self, scripts, plan, binary=None, environment=None):
        """scripts: name -> bash text; plan: list of (name, limit in seconds)."""
        shutil.rmtree(self.share, ignore_errors=True)
        (self.share / "tests").mkdir(parents=True)
        for name in ("agent.sh", "lib.sh"):
            shutil.copy(HERE / name, self.share)
        for name, text in scripts.items():
            (self.share / f"tests/{name}.sh").write_text(text, encoding="utf-8")
        if binary:
            shutil.copy(binary, self.share / "ringloop")
        variables = {"VM_KERNEL": self.kernel_image.kernel, **(environment or {})}
        (self.share / "environment").write_text(
            "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items()),
            encoding="utf-8")
        (self.share / "plan").write_text("".join(f"{name} {limit}\n" for name, limit in plan),
                                         encoding="utf-8")

    def start(self):
        """Events are then read with next_event()."""
        command = self.command(["-chardev", f"file,id=console,append=on,path={self.console}",
                                "-serial", "chardev:console", "-serial", "stdio"])
        with open(self.results / "qemu.log", "wb") as errors:
            self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=errors)
        self.pending = b""

    def run_on_terminal(self):
        """The console is the terminal of this process; Ctrl-A X ends QEMU."""
        command = self.command(["-chardev", "stdio,id=console,mux=on,signal=off",
                                "-serial", "chardev:console", "-mon", "chardev=console",
                                "-serial", "null"])
        return subprocess.run(command, check=False).returncode

    def next_event(self, deadline, while_waiting=None):
        """The words of the guest's next line. Raises Ended, or Silent after the deadline (of
        time.monotonic()); calls while_waiting ten times a second."""
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silent
            pause = min(left, 0.1) if while_waiting else left
            if select.select([self.qemu.stdout], [], [], pause)[0]:
                data = os.read(self.qemu.stdout.fileno(), 4096)
                if not data:
                    raise Ended
                self.pending += data
            elif while_waiting:
                while_waiting()
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode(errors="replace").split()

    def stop(self):
        if self.qemu and self.qemu.poll() is None:
            self.qemu.kill()
        if self.qemu:
            self.qemu.wait()
            self.qemu.stdout.close()

    def remove_disks(self):
        for path in self.disks.values():
            path.unlink(missing_ok=True)

    @property
    def console(self):
        return self.results / "console.log"

    def console_tail(self, lines=60):
        """The last words of the guest, or of a QEMU that refused."""
        text = ""
        for path in (self.results / "qemu.log", self.console):
            if path.exists():
                text += path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def command(self, serial):
        mode = self.make_disks()
        disks = []
        for name, path in self.disks.items():
            disks += ["-drive", f"if=none,id={name},format=raw,discard=unmap,file={path},{mode}",
                      "-device", f"virtio-blk-pci,disable-legacy=on,drive={name},serial={name},"
                                 f"num-queues={self.smp}"]
        # pdeathsig: whatever happens to this process, no guest stays behind.
        return ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults",
                "-no-user-config", "-no-reboot", "-display", "none", "-M", "pc", "-cpu",
                "max,la57=off", "-accel", "tcg,thread=multi,tb-size=256", "-smp", str(self.smp),
                "-m", self.memory, "-kernel", str(self.kernel_image.vmlinux),
                "-initrd", str(self.kernel_image.initramfs), "-append",
                self.kernel_command_line,
                *shared_folder("host", "/", readonly=True),
                *shared_folder("tree", TREE, readonly=True),
                *shared_folder("modules", self.kernel_image.modules, readonly=True),
                *shared_folder("results", self.results, readonly=False), *disks, *serial]

    def make_disks(self):
        """Made here, where it is quick; returns the options that this host can open them with."""
        for name, size in (("scratch", SCRATCH_BYTES), ("raw", RAW_BYTES)):
            self.disks[name].unlink(missing_ok=True)
            with open(self.disks[name], "wb") as disk:
                disk.truncate(size)
        # The guest must find the disk at rest: no inode tables left to write in the background.
        image.run([image.tool("mke2fs"), "-q", "-F", "-t", "ext4", "-N", "65536", "-E",
                   "lazy_itable_init=0,lazy_journal_init=0", self.disks["scratch"]],
                  "cannot make the scratch disk")
        for mode in DISK_MODES:
            drive = f"if=none,format=raw,file={self.disks['raw']},{mode}"
            tried = subprocess.run(["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display",
                                    "none", "-drive", drive, "-monitor", "stdio"], input=b"quit\n",
                                   capture_output=True, check=False)
            if tried.returncode == 0:
                return mode
        raise GuestError(f"QEMU cannot open {self.disks['raw']}: {tried.stderr.decode().strip()}")


def shared_folder(tag, path, readonly):
    # Device numbers are remapped: the host's root may span filesystems with equal inode numbers.
    option = f"local,id={tag},path={path},security_model=none,multidevs=remap"
    return ["-fsdev", option + (",readonly=on" if readonly else ""),
            "-device", f"virtio-9p-pci,disable-legacy=on,fsdev={tag},mount_tag={tag}"]
