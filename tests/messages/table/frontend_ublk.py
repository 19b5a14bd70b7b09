from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Test

ROWS = {}

ROWS["src/frontend/ublk/control.cc"] = [
    Row("{} queues: ublk takes 1 to {}",
        "{} queues", "ublk takes 1 to {}", "1 to {}",
        Cannot("options are checked before")),
    Row("depth {}: ublk takes 1 to {}",
        "depth {}", "ublk takes 1 to {}", "1 to {}",
        Cannot("options are checked before")),
    Row("requests of at most {} bytes: ublk needs a page of {} at least",
        "requests", "of at most {} bytes", "needs a page of {} at least",
        Cannot("ringloop never asks for so little")),
    Row("the ublk driver of this kernel takes orders from root alone: run as root, or boot Linux "
        "6.3 or later",
        "the ublk driver", "takes orders from root alone", "run as root, or boot Linux 6.3",
        Cannot("of kernels that have ublk and are older than 6.3")),
    Row("ublk device {} has no disk any more: detach it",
        "ublk device {}", "has no disk any more", "detach it",
        Cannot("it needs a device that lost its disk")),
    Row("{}: another process serves this device; end that first",
        "{}", "another process serves this device", "end that first",
        Cannot("it needs another program that serves ublk devices")),
    Row("{}: the node did not appear: is /dev a devtmpfs?",
        "{}", "the node did not appear", "is /dev a devtmpfs?",
        Cannot("it needs a /dev that nobody fills")),
    Row("{}",
        "{}", ERRNO, ERRNO,
        Cannot("it needs a device node that cannot be opened by root")),
]

ROWS["src/frontend/ublk/control_error.cc"] = [
    Row("a ublk device of this number exists already: choose another number or detach that "
        "device",
        "a ublk device of this number", "exists already", "choose another number",
        Test("unit UblkErrors.SayWhatToDo")),
    Row("as many ublk devices exist as the driver allows: detach one or raise "
        "/sys/module/ublk_drv/parameters/ublks_max",
        "as many ublk devices", "exist as the driver allows", "detach one or raise",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("every ublk device number is in use: detach a device",
        "every ublk device number", "is in use", "detach a device",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("the kernel has no memory for this ublk device: use fewer queues or a smaller depth",
        "this ublk device", "has no memory", "use fewer queues or a smaller depth",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("the ublk driver refused the device: 1 to 4096 queues and a depth of 1 to 4096 are "
        "possible, and a number below the driver's limit",
        "the device", "the ublk driver refused", "1 to 4096 queues",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("cannot add a ublk device: {}",
        "a ublk device", "cannot add", NoRemedy("the errno brings its own, where it has one"),
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} is started already: detach it first",
        "ublk device {}", "is started already", "detach it first",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("the kernel refused the disk of ublk device {}: see dmesg for the parameter that it "
        "does not take",
        "ublk device {}", "the kernel refused the disk", "see dmesg",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("cannot start ublk device {}: {}",
        "ublk device {}", "cannot start", NoRemedy("the errno brings its own, where it has one"),
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row('ublk device {} still has a server: end that process (its pid is in "ringloop status") '
        "and try again",
        "ublk device {}", "still has a server", "end that process",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} cannot be recovered: it was never started, or added without user "
        "recovery; detach it and attach the image again",
        "ublk device {}", "it was never started", "detach it and attach the image again",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("cannot recover ublk device {} ({}): {}",
        "ublk device {}", "cannot recover", NoRemedy("the errno brings its own, where it has one"),
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("the ublk driver did not answer {}: another ublk command hangs in the kernel (see "
        "dmesg); only a reboot may help",
        "the ublk driver", "did not answer {}", "only a reboot may help",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} did not come up in time: its image is too slow to read the partition "
        "table from, or the kernel hangs in {} (see dmesg)",
        "ublk device {}", "its image is too slow", "see dmesg",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} did not stop in time: requests wait for its image; see that the "
        "image's disk or server answers, then detach again",
        "ublk device {}", "did not stop in time", "see that the image's disk or server answers",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} was not deleted in time: somebody has {} open; close it, then detach "
        "again",
        "ublk device {}", "somebody has {} open", "close it, then detach again",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("the ublk driver did not answer",
        how=Part("what no command ends with: each has its own above")),
    Row("{} is not permitted: ublk needs CAP_SYS_ADMIN, run as root",
        "{}", "is not permitted", "run as root",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} does not exist: see ringloop list",
        "ublk device {}", "does not exist", "see ringloop list",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {} is started: its parameters are fixed; detach it first",
        "ublk device {}", "is started: its parameters are fixed", "detach it first",
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("ublk device {}: {} failed: {}",
        "ublk device {}", "{} failed: {}", NoRemedy("the errno brings its own, where it has one"),
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("{}: permission denied: run as root, or have it opened to you (ringloop(1), WITHOUT ROOT); "
        "--transport socket needs neither",
        "{}", "permission denied", "run as root, or have it opened to you",
        Test("unit UblkOpenErrors.NameTheFileTheCauseAndTheWayOut")),
    Row("{}: {}",
        how=Part("carries what open says of /dev/ublk-control, or of /dev/ublkcN")),
    Row("{}: udev did not give it to this user: the udev rules of ringloop have to be installed "
        "(ringloop(1), WITHOUT ROOT); when they are, detach it",
        "{}", "udev did not give it to this user", "have to be installed",
        Test("unit UblkOpenErrors.NameTheFileTheCauseAndTheWayOut")),
    Row("{}: the ublk driver is not loaded: load it with: modprobe ublk_drv",
        "{}", "the ublk driver is not loaded", "modprobe ublk_drv",
        Test("unit UblkOpenErrors.NameTheFileTheCauseAndTheWayOut")),
    Row("{}: Linux {} has no ublk driver: boot a kernel that was built with "
        "CONFIG_BLK_DEV_UBLK (Linux 6.0 or later; Debian 12 has one in bookworm-backports)",
        "{}", "Linux {} has no ublk driver", "boot a kernel",
        Test("unit UblkOpenErrors.NameTheFileTheCauseAndTheWayOut")),
]

ROWS["src/frontend/ublk/params.cc"] = [
    Row("sector size {}: ublk takes a power of two from 512 to {}, the size of a page",
        "sector size {}", "ublk takes a power of two", "from 512 to {}",
        Cannot("the options are checked before")),
    Row("requests of at most {} bytes cannot hold a sector of {}",
        "requests", "cannot hold a sector of {}", NoRemedy("ringloop never asks for so little"),
        Cannot("ringloop never asks for so little")),
]

ROWS["src/frontend/ublk/queue.cc"] = [
    Row("ublk device {}: requests of at most {} bytes hold no sector of {}",
        "ublk device {}", "hold no sector of {}", NoRemedy("ringloop never asks for so little"),
        Cannot("ringloop never asks for so little")),
    Row("{}: cannot map the descriptors of queue {}",
        "{}", ERRNO, ERRNO,
        OUT),
    Row("no {} bytes of buffers for queue {}; use fewer --queues, or a smaller --depth",
        "no {}", "no {} bytes of buffers for queue {}", "use fewer --queues, or a smaller --depth",
        Cannot("it needs a host without memory")),
    Row("queue {}: the ublk driver refused a command of tag {}: {}; the tag is lost",
        "queue {}",
        "the ublk driver refused a command",
        NoRemedy("a bug of ringloop or of the driver; the device goes on without this tag"),
        Cannot("a kernel that refuses what it has agreed to")),
]
