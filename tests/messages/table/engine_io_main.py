from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

ROWS["src/engine/device.cc"] = [
    Row("{}: a sync failed ({}); writes since the last flush may be lost, and every flush from "
        "now on fails: detach, check the storage below, attach again",
        "{}", "a sync failed", "check the storage below",
        Cannot("the guest brings it about on failing disks and looks at what is served from "
               "then on")),
    Row("{}: degraded: a {} failed: {}; see ringloop status",
        "{}", "a {} failed: {}", "see ringloop status",
        Cannot("the guest fails requests and reads the status")),
    Row("{}: degraded: the image was cut short and ends {} bytes before the device; reads and "
        "writes behind that fail: make it as long as it was, then ringloop resize",
        "{}", "the image was cut short", "make it as long as it was",
        Test("unit Degraded.names_everything_that_is_wrong")),
    Row("{}: a sync failed before this server took over; every flush fails: detach, check the "
        "storage below, attach again",
        "{}", "a sync failed", "check the storage below",
        Cannot("a_recovered_device_stays_poisoned.sh brings it about and looks at the status")),
    Row("{}: what was written last may not be on stable storage: a sync failed while the "
        "device was in use; check the file system under it",
        "{}", "a sync failed", "check the file system under it",
        Test("guest an-image-whose-server-dies-is-let-go.sh")),
    Row("{}: stopped: a {} failed: {}; reads go on, everything else fails: see to the image, then "
        "ringloop set TARGET --resume",
        "{}", "a {} failed: {}", "ringloop set TARGET --resume",
        Cannot("a_device_stops_at_the_first_failure.sh brings it about and looks at the status")),
    Row("{}: had stopped before this server took over: see to the image, then ringloop set TARGET "
        "--resume",
        "image: had stopped", "before this server took over", "ringloop set TARGET --resume",
        Run("",
            before="dead; sed -i 's/\"name\":/\"stopped_reason\": \"a write failed\", &/' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"; "$RINGLOOP" recover disk',
            shell='grep " had stopped " "$RINGLOOP_RUNTIME_DIR/disk.log" >&2; exit 1',
            begin="20")),
    Row("{}: paused: a {} found no room: {}; it waits, and so does every other that finds none: "
        "free some, or end the wait with ringloop set TARGET --on-error report",
        "{}", "found no room", "ringloop set TARGET --on-error report",
        Cannot("a_write_without_room_waits_for_it.sh brings it about and looks at how it begins")),
]

ROWS["src/engine/dispatch.cc"] = [
    Row("{}",
        how=Part("carries a warning of the image")),
]

ROWS["src/engine/policy.cc"] = [
    Row("no policy '{}'; there are {}",
        "'best'", "no policy", "there are auto",
        Run("attach --policy best image")),
]

ROWS["src/engine/shard.cc"] = [
    Row("cannot create an eventfd",
        "an eventfd", ERRNO, ERRNO,
        OUT),
    Row("{}: {} of {} bytes at {} failed: {}; further ones are only counted",
        "{}",
        "{} of {} bytes at {} failed: {}",
        NoRemedy("the cause is of the disk below, and status counts on"),
        Cannot("the guest fails requests and reads the status")),
    Row("{}",
        how=Part("carries why a request was refused")),
]

ROWS["src/io/command_ring.cc"] = [
    Row("the kernel did not answer command {:#x} within {} ms",
        "command {:#x}",
        "the kernel did not answer",
        NoRemedy("replaced by a message that names the device"),
        Cannot("it needs a driver that hangs")),
    Row("io_uring took no command",
        "io_uring", ERRNO, ERRNO,
        OUT),
    Row("cannot wait for a driver's answer",
        "a driver's answer", ERRNO, ERRNO,
        OUT),
    Row("io_uring took no cancellation",
        "io_uring", ERRNO, ERRNO,
        OUT),
]

ROWS["src/io/refusal.cc"] = [
    Row("the io_uring of this kernel ({}) is missing or too old; ringloop needs Linux 5.19 or "
        "later with CONFIG_IO_URING",
        "io_uring", "missing or too old", "needs Linux 5.19",
        Run("attach --transport socket image", denied="io_uring_setup:ENOSYS")),
    Row("io_uring is switched off (kernel.io_uring_disabled = {}); allow it with 'sysctl -w "
        "kernel.io_uring_disabled=0'",
        "io_uring is",
        "io_uring is switched off (kernel.io_uring_disabled = {})",
        "allow it with 'sysctl -w kernel.io_uring_disabled=0'",
        Cannot("of hosts that switch it off")),
    Row("io_uring is forbidden to this process, most likely by a container's seccomp profile; "
        "allow io_uring_setup, io_uring_enter and io_uring_register in it",
        "io_uring", "is forbidden to this process", "allow io_uring_setup",
        Run("attach --transport socket image", denied="io_uring_setup:EPERM")),
    Row("no memory for an io_uring; raise the limit of locked memory (ulimit -l)",
        "io_uring", "no memory", "raise the limit of locked memory",
        Run("attach --transport socket image", denied="io_uring_setup:ENOMEM")),
    Row("cannot create an io_uring: {}",
        "io_uring", "Too many open files", "raise ulimit -n",
        Run("attach --transport socket image", denied="io_uring_setup:EMFILE")),
]

ROWS["src/io/uring.cc"] = [
    Row("cannot register a file with io_uring",
        "a file with io_uring", ERRNO, ERRNO,
        OUT),
    Row("cannot register buffers with io_uring",
        "io_uring", "cannot register buffers", ERRNO,
        Cannot("of ublk devices")),
]

ROWS["src/main.cc"] = [
    Row("ringloop: out of memory; free some\n",
        "ringloop", "out of memory", "free some",
        Cannot("a_start_without_memory_leaves_nothing_behind.sh brings it about and looks for "
               '"memory"')),
]
