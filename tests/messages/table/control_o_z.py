from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

# A client of "disk" that asks for more than a socket holds, and takes 16 bytes of it.
TAKES_NO_REPLIES = r"""served; python3 - <<'CLIENT' & wait_until 10 test -e ready
import os, signal, socket, struct
client = socket.socket(socket.AF_UNIX)
client.connect("s.sock")
client.recv(18, socket.MSG_WAITALL)
client.sendall(struct.pack(">I8sII", 1, b"IHAVEOPT", 1, 0))  # EXPORT_NAME
client.recv(134, socket.MSG_WAITALL)
client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 0, 0, 1 << 20) * 64)
client.recv(16, socket.MSG_WAITALL)
with open("draft", "w", encoding="ascii") as ready:
    ready.write(str(os.getpid()))
os.rename("draft", "ready")
signal.pause()
CLIENT
:"""


def recovered(field):
    """A device that is recovered from a state that has this field, too."""
    return (f"dead; sed -i 's/\"name\":/{field}, &/' \"$RINGLOOP_RUNTIME_DIR/disk.json\"; "
            '"$RINGLOOP" recover disk')


ROWS["src/control/on_error.cc"] = [
    Row("a {} ({}), at {}",
        how=Part("the failure in what status shows of a device that has stopped or waits")),
    Row("{} for room on the image's file system: the first was {}",
        "the image's file system",
        "for room",
        NoRemedy("what status shows; the log has the way out"),
        Test("unit StopAndPause.are_taken_over_and_kept_from_the_server_before")),
    Row("resume: not true or false",
        "resume",
        "not true or false",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"resume\": 1}'")),
    Row("{}: {}",
        how=Part("carries why --on-error pause does not fit this device")),
    Row("{}: cannot go on: a sync failed, and what was written may be lost; detach it, check the "
        "storage below, and attach the image again",
        "s.sock", "a sync failed", "attach the image again",
        Run("set disk --resume", before=recovered('\\"poisoned\\": true'))),
    Row("{}: on errors: {}{}\n",
        how=Part("nothing is wrong: what set says it has changed")),
    Row("goes on; nothing was wrong",
        how=Part("nothing is wrong: what set says it has changed")),
    Row("what waited for room is tried again",
        how=Part("nothing is wrong: what set says it has changed")),
    Row("goes on; was {}",
        how=Part("nothing is wrong: what set says it has changed")),
    Row("the first change that failed was {}",
        "the first change",
        "that failed was {}",
        NoRemedy("what status shows; the log has the way out"),
        Test("unit StopAndPause.are_taken_over_and_kept_from_the_server_before")),
]

ROWS["src/control/options.cc"] = [
    Row("--sandbox={}: use on, off or require",
        "--sandbox=maybe", "maybe", "use on, off or require",
        Run("attach --sandbox=maybe image")),
    Row("--workers {} and --queues {}: each queue needs a worker of its own; use at least "
        "--workers {}, or --queues {}",
        "--workers 1", "each queue needs a worker of its own", "or --queues",
        Run("attach --workers 1 --queues 2 image")),
    Row("--device {} and --transport {}: choose one",
        "--device /dev/ublkb1", "and --transport nbd", "choose one",
        Run("attach --device /dev/ublkb1 --transport nbd image")),
    Row("--device {}: use /dev/ublkbN or /dev/nbdN",
        "--device /dev/sda", "/dev/sda", "use /dev/ublkbN",
        Run("attach --device /dev/sda image")),
    Row("name '{}': use 1 to {} of A-Z a-z 0-9 . _ - and no leading dot or dash",
        "name '.hidden'", "no leading dot", "A-Z",
        Run("attach --name .hidden image")),
    Row("name '{}': reserved for the device of that name; choose another",
        "name 'ublkb7'", "reserved", "choose another",
        Run("attach --name ublkb7 image")),
    Row("--workers {}: use 1 to {}",
        "--workers 0", "use 1 to", "use 1 to",
        Run("attach --workers 0 image")),
    Row("--charge '{}': use off, issuer, or the path of a cgroup, which begins with '/': "
        "/tenants/a",
        "--charge 'tenants/a'", "use off, issuer", "use off, issuer",
        Run("attach --charge tenants/a image")),
    Row("--lane-idle {}: use 1 to {} seconds",
        "--lane-idle 0", "use 1 to", "use 1 to",
        Run("attach --lane-idle 0 image")),
    Row("--on-error pause needs --queues 1 with the kernel's nbd driver, which sends slow requests "
        "again on another of its connections",
        "--on-error pause", "sends slow requests again", "needs --queues 1",
        Run("attach --on-error pause --transport nbd --queues 2 image")),
    Row("--on-error pause: the kernel kills the server of an ordinary user's ublk device when a "
        "request waits for 30 seconds; use --transport socket",
        "--on-error pause", "kills the server", "use --transport socket",
        Test("unit OnErrorChange.is_refused_where_a_driver_would_not_wait")),
    Row("no image given; name one",
        "no image given", "no image given", "name one",
        Cannot("the parser of arguments asks for it first; a program that calls check_options "
               "may not")),
    Row("--queues {}: use 1 to {}",
        "--queues 0", "use 1 to", "use 1 to",
        Run("attach --queues 0 image")),
    Row("--depth {}: use 1 to {}",
        "--depth 0", "use 1 to", "use 1 to",
        Run("attach --depth 0 image")),
    Row("--loop-ref '{}': use at most {} bytes",
        "--loop-ref", "at most", "use at most",
        Run("attach --loop-ref $(many 5000) image")),
    Row("--sector-size {}: use 512, 1024, 2048 or 4096",
        "--sector-size 1000", "1000", "use 512",
        Run("attach --sector-size 1000 image")),
    Row("--direct-io={}: use on, off or auto",
        "--direct-io=perhaps", "perhaps", "use on, off or auto",
        Run("attach --direct-io=perhaps image")),
    Row("--transport={}: use auto, ublk, nbd or socket",
        "--transport=pigeon", "pigeon", "use auto",
        Run("attach --transport pigeon image")),
    Row("--on-error {}: use report, stop or pause",
        "--on-error maybe", "maybe", "use report, stop or pause",
        Run("attach --on-error maybe image")),
]

ROWS["src/control/overlap.cc"] = [
    Row("{}: lies in {}, which would lie in itself",
        "{}",
        "lies in {}, which would lie in itself",
        NoRemedy("there is none: the image is on the device"),
        Cannot("it needs a device that is the image of itself")),
    Row("{}: {} devices lie under it already; attach one of their images",
        "{}", "{} devices lie under it already", "attach one of their images",
        Cannot("it needs a chain of nine devices")),
    Row("a process that this user may not see",
        how=Part("who has it, in the message below")),
    Row("{}: in use by {}; detach or end it{}, or give --allow-overlap if both may have it",
        "image", "in use by", "--allow-overlap",
        Run("attach --transport socket --nbd unix:t.sock image", before="served")),
    Row(", attach --read-only beside readers",
        how=Part("the way out for readers")),
]

ROWS["src/control/ready.cc"] = [
    Row("--ready-fd {}: not an inherited pipe",
        "--ready-fd 77", "not an inherited pipe", NoRemedy("an option that ringloop gives itself"),
        Run("serve --ready-fd 77 image", code=2)),
    Row("--ready-fd {}",
        "--ready-fd {}", ERRNO, ERRNO,
        OUT),
    Row("nobody waits for this device any more",
        "this device", "nobody waits for", NoRemedy("there is nobody to tell it"),
        Cannot("the end of whoever waits is the end of what he reads")),
]

ROWS["src/control/runtime_dir.cc"] = [
    Row("{}",
        "{}", ERRNO, ERRNO,
        Cannot("the folder was opened just before, and a file that cannot be read is one that "
               "root may read")),
    Row("{}: too large to be a state file",
        "disk.json", "too large to be a state file", "remove this file",
        Run("down disk",
            before='mkdir -p "$RINGLOOP_RUNTIME_DIR"; chmod 700 "$RINGLOOP_RUNTIME_DIR"; '
                   'truncate -s 8M "$RINGLOOP_RUNTIME_DIR/disk.json"')),
    Row("write",
        how=Part('replaced by "cannot write {}/{}" below')),
    Row("cannot create the runtime directory {}",
        "image/run", "Not a directory", "check the path",
        Run("list", before="export RINGLOOP_RUNTIME_DIR=$PWD/image/run")),
    Row("RINGLOOP_RUNTIME_DIR '{}': must be an absolute path",
        "'relative/run'", "must be an absolute path", "must be an absolute path",
        Run("list", before="export RINGLOOP_RUNTIME_DIR=relative/run")),
    Row("no runtime directory: run as root, or set XDG_RUNTIME_DIR (a login session does) or "
        "RINGLOOP_RUNTIME_DIR",
        "no runtime directory",
        "no runtime directory",
        "run as root, or set XDG_RUNTIME_DIR (a login session does) or RINGLOOP_RUNTIME_DIR",
        Test("unit RuntimePath.that_cannot_be_chosen_names_the_way_out")),
    Row("cannot open the runtime directory {}",
        "/image", "Not a directory", "check the path",
        Run("list", before="export RINGLOOP_RUNTIME_DIR=$PWD/image")),
    Row("the runtime directory {} belongs to another user; set RINGLOOP_RUNTIME_DIR",
        "{}", "belongs to another user", "set RINGLOOP_RUNTIME_DIR",
        Test("blackbox a_user_without_root_serves_an_image.sh")),
    Row("cannot open {}/{}",
        "disk.lock", "Is a directory", "move that directory away",
        Run("attach --transport socket --name disk image",
            before='mkdir -p "$RINGLOOP_RUNTIME_DIR/disk.lock"')),
    Row("cannot lock {}/{}",
        "disk.lock", "No locks", "use a file system that has locks",
        Run("serve --transport socket --name disk image", denied="fcntl:ENOLCK")),
    Row("a device named '{}' exists already; see ringloop list",
        "'disk'", "exists already", "see ringloop list",
        Run("attach --transport socket --name disk other", before="served; truncate -s 1M other")),
    Row("{}/{} is replaced again and again; is something else using it?",
        "{}", "{}/{} is replaced again and again", "is something else using it?",
        Cannot("it needs somebody who replaces the file again and again")),
    Row("'{}': what its server gave is not the lock of that name; detach and attach",
        "'{}'", "is not the lock of that name", "detach and attach",
        Cannot("it needs somebody who replaces the file of the lock during an upgrade")),
    Row("{}0 to {}{} are all in use: detach one",
        "{}", "{}0 to {}{} are all in use", "detach one",
        Cannot("it needs thousands of devices")),
    Row("{}/{}: requests of a dead server are still with its image; see that its disk or "
        "server answers",
        "{}/{}",
        "requests of a dead server are still with its image",
        "see that its disk or server answers",
        Cannot("it needs a disk that does not answer")),
    Row("{}: bad field 'name'",
        "disk.json", "bad field 'name'", "remove this file",
        Run("down disk",
            before="dead; sed -i 's/\"name\": \"disk\"/\"name\": \"else\"/' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"')),
    Row("cannot write {}/{}",
        "disk.json", "No space left", "make space",
        Run("attach --transport socket --name disk image",
            denied="rename,renameat,renameat2:ENOSPC")),
]

ROWS["src/control/serve_stdio.cc"] = [
    Row("--stdio: standard input is no connected stream socket (a pipe goes one way only); let "
        "the client start the server (nbd_connect_command of libnbd, inetd), or listen with "
        "--nbd",
        "--stdio", "is no connected stream socket", "let the client start the server",
        Run("serve --stdio image")),
    Row("--stdio",
        "--stdio", ERRNO, ERRNO,
        OUT),
    Row("ringloop: {}: the image does not answer; see that its disk or server does\n",
        "ringloop", "ringloop: {}: the image does not answer", "see that its disk or server does\n",
        Cannot("it needs a disk that does not answer")),
]

ROWS["src/control/server.cc"] = [
    Row("{}",
        how=Part("carries what a fault is, to the log")),
    Row("{} is still in use: {}",
        "{}",
        "is still in use: {}",
        NoRemedy("it goes on waiting; whoever asked for the end is told the way out"),
        Cannot("it needs somebody who holds a device while its server is ended by a signal")),
    Row("{}: what its users wrote last may be lost; check it",
        "{}", "what its users wrote last may be lost", "check it",
        Cannot("it needs a disk that fails at the end")),
    Row("{}: the image does not answer; see that its disk or server does",
        "{}", "the image does not answer", "see that its disk or server does",
        Cannot("it needs a disk that does not answer")),
    Row("{}; the server ends without waiting",
        how=Part("carries why it cannot wait")),
]

ROWS["src/control/server_start.cc"] = [
    Row("using --transport {}: {}",
        how=Part("a note of what auto took; auto_says_what_it_takes_instead_of_ublk.sh reads it")),
    Row("{}; remove this file",
        "disk.json", "not a state file", "remove this file",
        Run("attach --transport socket --name disk image", before="rubbish disk")),
    Row("name '{}' belongs to {}, whose server died: ringloop recover {} brings it back, "
        "ringloop detach {} removes it",
        "name 'disk'", "whose server died", "ringloop recover disk",
        Run("attach --transport socket --name disk image", before="dead")),
    Row("'{}' has a server already; nothing to recover",
        "'disk'", "has a server already", "nothing to recover",
        Run("serve --recover disk", before="served")),
    Row("'{}': requests of the dead server are still with the image; see that its disk or "
        "server answers, then recover again",
        "'{}'",
        "requests of the dead server are still with the image",
        "see that its disk or server answers, then recover again",
        Cannot("it needs a disk that does not answer")),
    Row("no device named '{}'; see ringloop list",
        "'disk'", "no device named", "see ringloop list",
        Run("serve --recover disk")),
    Row("{} cannot be recovered: {}; ringloop detach {} cleans up",
        "/dev/ublkb77", "cannot be recovered", "ringloop detach disk cleans up",
        Run("recover disk",
            before="dead; sed -i 's/\"transport\": \"socket\"/\"transport\": \"ublk\"/; "
                   "s#\"device\": \"[^\"]*\"#\"device\": \"/dev/ublkb77\"#' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"')),
    Row("the kernel does not have it any more",
        "/dev/ublkb77", "the kernel does not have it any more", "ringloop detach disk cleans up",
        Run("recover disk",
            before="dead; sed -i 's/\"transport\": \"socket\"/\"transport\": \"ublk\"/; "
                   "s#\"device\": \"[^\"]*\"#\"device\": \"/dev/ublkb77\"#' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"')),
    Row("{}: the kernel ends a ublk device of an ordinary user with its server, so nothing is left "
        "to recover; ringloop detach {} cleans up",
        "{}", "nothing is left to recover", "ringloop detach {} cleans up",
        Test("guest an-ordinary-user-has-a-device.sh")),
    Row("it never became usable",
        how=Part("why, in the message above")),
    Row("{}.log",
        "{}", ERRNO, ERRNO,
        OUT),
    Row("{}",
        how=Part("carries the warnings that attach prints")),
    Row("{} has no nodes for partitions: the kernel looks for none on a device of an ordinary "
        "user",
        "{}", "has no nodes for partitions", NoRemedy("the kernel allows none"),
        Test("guest an-ordinary-user-has-a-device.sh")),
    Row("no metrics over HTTP: ",
        "metrics", "no metrics over HTTP", NoRemedy("the second half has it"),
        Cannot("a recovery while somebody else took the port")),
    Row("requests of {} are charged to the server: {}",
        "requests of {}", "are charged to the server: {}", NoRemedy("the second half has it"),
        Cannot("it needs ublk and a kernel that takes no BPF program")),
    Row("interrupted",
        "interrupted", "interrupted", NoRemedy("whoever interrupted it knows"),
        Cannot("it is said to whoever has just been interrupted")),
    Row("nobody waits for this device any more",
        "this device", "nobody waits for", NoRemedy("there is nobody to tell it"),
        Cannot("the end of whoever waits is the end of what he reads")),
]

ROWS["src/control/server_upgrade.cc"] = [
    Row("{}: clients with TLS would be cut off ({}), their keys cannot leave this server; "
        "disconnect them, or give --force if they connect again by themselves",
        "{}", "their keys cannot leave this server", "disconnect them, or give --force",
        Test("blackbox clients_are_known_by_their_keys.sh")),
    Row("{}: requests of clients wait for room on the image's filesystem ({}); make room and "
        "upgrade again, or give --force if they connect again by themselves",
        "{}", "wait for room on the image's filesystem", "make room and upgrade again",
        Cannot("it needs a filesystem that is full, and a client that writes to it")),
    Row("{}: clients that take no replies, or send a request in half, would be cut off ({}); "
        "upgrade again, or give --force if they connect again by themselves",
        "s.sock", "take no replies", "upgrade again, or give --force",
        Run("upgrade disk", before=TAKES_NO_REPLIES)),
    Row("{}: the kernel ends a ublk device of an ordinary user with its server, so no other server "
        "can take it over; detach it and attach the image again",
        "{}", "no other server can take it over", "detach it and attach the image again",
        Test("guest an-ordinary-user-has-a-device.sh")),
    Row("{}: runs in the foreground, so whoever started it has to start the next one: of "
        "ringloop@NAME.service, systemctl reload does",
        "{}", "runs in the foreground", "systemctl reload",
        Test("blackbox a_server_is_replaced_while_it_serves.sh")),
    Row("{}: its server (pid {}) does not know in which form that ringloop wants it; detach and "
        "attach, or upgrade to a version in between",
        "s.sock", "does not know in which form", "detach and attach",
        Run("", before="served", shell="ask '{\"verb\": \"upgrade\", \"format\": 99}'")),
    Row("{}: connected clients would be cut off ({}); disconnect them, or give --force if they "
        "connect again by themselves",
        "s.sock", "connected clients would be cut off (1)", "or give --force",
        Run("", before=TAKES_NO_REPLIES, shell="ask '{\"verb\": \"upgrade\"}'")),
    Row("{} stays with this server: {}",
        how=Part("what the log has of an upgrade that failed, with what is wrong behind it")),
    Row("no device named '{}'; see ringloop list",
        "'disk'", "no device named", "see ringloop list",
        Run("serve --recover disk --take-over")),
    Row("{}: {}; see ringloop list, and ringloop recover {} if its server died",
        "s.sock", "cannot reach the server", "ringloop recover disk",
        Run("serve --recover disk --take-over", before="dead")),
    Row("{}",
        how=Part("carries what is wrong between the two servers, with the name of the device")),
    Row("{}: its server ended and gave nothing; ringloop recover {}",
        "{}", "its server ended and gave nothing", "ringloop recover {}",
        Cannot("it needs a server of an older ringloop, which only ends")),
    Row("{}: was changed meanwhile; upgrade again",
        "{}", "was changed meanwhile", "upgrade again",
        Cannot("it needs a change of the device at the right moment")),
]

ROWS["src/control/set.cc"] = [
    Row("lane_idle_s: not a number of 1 to {}",
        "lane_idle_s",
        "not a number of 1 to",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"lane_idle_s\": -1}'")),
    Row("reap_lanes: not true or false",
        "reap_lanes",
        "not true or false",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"reap_lanes\": 1}'")),
    Row("nothing to set: give --policy, --workers, --lane-idle, --reap-lanes, --backing-file, "
        "--direct-io, --read-only, --size, --on-error, --resume, --autoclear or --watch-size",
        "set", "nothing to set", "give --policy",
        Run("set disk", code=2)),
    Row("--size and a change of the image are two steps: one at a time",
        "--size", "are two steps", "one at a time",
        Run("set disk --size auto --read-only on", code=2)),
    Row("--force is of --backing-file and --read-only",
        "--force", "is of --backing-file and --read-only", "is of --backing-file and --read-only",
        Run("set disk --size auto --force", code=2)),
    Row("policy: not a string",
        "policy",
        "not a string",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"policy\": 1}'")),
    Row("workers: not a number of 1 to {}",
        "workers",
        "not a number of 1 to",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"workers\": -1}'")),
    Row("size: neither a number of bytes nor auto",
        "size",
        "neither a number of bytes nor auto",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"size\": \"small\"}'")),
    Row("{}: has no lanes, its I/O is charged to nobody but the server; attach it with "
        "--charge issuer, or --charge and a cgroup's path",
        "s.sock", "has no lanes", "attach it with --charge issuer",
        Run("set disk --lane-idle 5", before="served")),
]

ROWS["src/control/shard_threads.cc"] = [
    Row("{}: requests are still with the image after {} s; see that its disk or server "
        "answers, then {} again",
        "{}",
        "requests are still with the image after {} s",
        "see that its disk or server answers, then {} again",
        Test("guest a-resize-does-not-wait-for-a-stuck-disk.sh")),
    Row("{}: its image is still being searched for data and holes after {} s; see that its "
        "disk or server answers, then set again",
        "{}",
        "its image is still being searched for data and holes after {} s",
        "see that its disk or server answers, then set again",
        Cannot("it needs a file system that searches for holes for seconds")),
]

ROWS["src/control/signals.cc"] = [
    Row("cannot block signals",
        "signals", ERRNO, ERRNO,
        Cannot("the mask of signals can always be changed")),
    Row("cannot wait for signals",
        "signals", "Too many open files", "raise ulimit -n",
        Run("attach --transport socket image", denied="signalfd4:EMFILE")),
]

ROWS["src/control/spawn.cc"] = [
    Row("no pipe to the server",
        "the server", "Too many open files", "raise ulimit -n",
        Run("attach --transport socket image", denied="pipe2:EMFILE")),
    Row("cannot start the server",
        "the server", "Cannot allocate memory", "free memory",
        Run("attach --transport socket image", denied="clone,clone3,vfork,fork:ENOMEM")),
    Row("the server was ended by signal {} before its device was ready; see dmesg",
        "the server", "ended by signal", "see dmesg",
        Cannot("it needs somebody who kills it at the right moment")),
    Row("the server ran out of memory before its device was ready; free some, or use fewer "
        "--queues",
        "the server", "ran out of memory", "free some",
        Cannot("a_start_without_memory_leaves_nothing_behind.sh brings it about and looks for "
               '"memory"')),
    Row("the server ended with code {} before its device was ready; ringloop serve tells more",
        "the server ended",
        "the server ended with code {} before its device was ready",
        "ringloop serve tells more",
        Cannot("a server that ends by itself says why")),
    Row("interrupted; see ringloop list for what became of the device",
        "interrupted", "interrupted", "see ringloop list",
        Cannot("it is said to whoever has just been interrupted")),
    Row("interrupted",
        "interrupted", "interrupted", NoRemedy("whoever interrupted it knows"),
        Cannot("it is said to whoever has just been interrupted")),
    Row("the device was not ready after {} s; see that its image answers",
        "the device was", "the device was not ready after {} s", "see that its image answers",
        Cannot("it needs a disk that does not answer")),
]

ROWS["src/control/state.cc"] = [
    Row("{}: not a state file",
        "disk.json", "not a state file", "remove this file",
        Run("down disk", before="rubbish disk")),
    Row("{}: written by another version of ringloop (format {})",
        "disk.json", "another version of ringloop", "remove this file",
        Run("down disk",
            before="dead; sed -i 's/\"version\": 1/\"version\": 99/' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"')),
    Row("{}: bad field '{}'",
        "disk.json", "bad field 'queues'", "remove this file",
        Run("down disk",
            before="dead; sed -i 's/\"queues\": [0-9]*/\"queues\": \"x\"/' "
                   '"$RINGLOOP_RUNTIME_DIR/disk.json"')),
]

ROWS["src/control/transport.cc"] = [
    Row("no block device: {}; {}",
        how=Part('what "using --transport socket" tells')),
    Row("{}",
        how=Part("carries why there is no block device")),
    Row("all devices are in use: detach one",
        "all devices", "all devices are in use", "detach one",
        Cannot("it needs more devices than the driver makes")),
]

ROWS["src/control/transports.cc"] = [
    Row("the image does not answer the requests of NBD clients; see that its disk or server "
        "does",
        "the image does",
        "the image does not answer the requests of NBD clients",
        "see that its disk or server does",
        Cannot("it needs a disk that does not answer")),
]

ROWS["src/control/ublk_transport.cc"] = [
    Row("this kernel ({}) was built without the ublk driver: boot one that has it "
        "(CONFIG_BLK_DEV_UBLK, Linux 6.0 or later; Debian 12: apt install "
        "linux-image-6.12-amd64)",
        "this kernel",
        "this kernel ({}) was built without the ublk driver: boot one that has it "
        "(CONFIG_BLK_DEV_UBLK, Linux 6.0 or later",
        "Debian 12: apt install linux-image-6.12-amd64)",
        Cannot("of kernels without ublk; attach_without_ublk_names_the_way_out.sh runs there")),
    Row("{} is in use; detach it, or attach without --device",
        "{}", "{} is in use", "detach it, or attach without --device",
        Cannot("it needs somebody else who has taken that device")),
    Row("the first {} ublk devices are all in use: detach one",
        "ublk devices", "are all in use", "detach one",
        Cannot("it needs more devices than the driver makes")),
    Row("{}",
        how=Part("carries what the driver says")),
    Row("{} has {} bytes, but {} makes {} now; give the image its size back",
        "{}", "{} has {} bytes, but {} makes {} now", "give the image its size back",
        Cannot("it needs an image that changes while its server is dead")),
    Row("{} has sectors of {} bytes, but {} makes {} now; detach it and attach the image again",
        "{}",
        "{} has sectors of {} bytes, but {} makes {} now",
        "detach it and attach the image again",
        Cannot("it needs an image that changes while its server is dead")),
    Row("{} is writable, but {} is not any more; make it so again",
        "{}", "{} is writable, but {} is not any more", "make it so again",
        Cannot("it needs an image that changes while its server is dead")),
    Row("{}: not a ublk device",
        "{}", "not a ublk device", NoRemedy("nobody but ringloop writes this file"),
        Cannot("of a state file that somebody has changed by hand")),
    Row("{}: this kernel ({}) cannot change the size of a ublk device in use (Linux 6.16 can): "
        "detach it and attach the image again",
        "{}",
        "this kernel ({}) cannot change the size of a ublk device in use (Linux 6.16 can)",
        "detach it and attach the image again",
        Test("guest a-ublk-device-is-not-resized-before-linux-6-16.sh")),
    Row("{} still waits for a server: ringloop recover gives it one",
        "{}", "still waits for a server", "ringloop recover gives it one",
        Cannot("it needs a recovery that is interrupted at the right moment")),
    Row("{}: the kernel did not give back every request; see dmesg",
        "{}", "the kernel did not give back every request", "see dmesg",
        Cannot("it needs a driver that loses a request")),
]

ROWS["src/control/upkeep.cc"] = [
    Row("(systemd-udevd) has it open",
        how=Part("of udev, who holds every new disk for a moment")),
    Row("((udev-worker)) has it open",
        how=Part("of udev, who holds every new disk for a moment")),
    Row("cannot watch {}",
        "socket0.nbd", "Too many open files", "raise ulimit -n",
        Run("serve --transport socket image", denied="timerfd_create:EMFILE")),
]

ROWS["src/control/watching.cc"] = [
    Row("cannot wait for the device",
        "the device", ERRNO, ERRNO,
        OUT),
    Row("{} was detached meanwhile",
        "{}", "was detached meanwhile", NoRemedy("whoever detached it knows"),
        Test("blackbox a_device_can_be_watched.sh")),
    Row("{}: its server died meanwhile: ringloop recover {}",
        "{}", "its server died meanwhile", "ringloop recover {}",
        Test("blackbox a_device_can_be_watched.sh")),
]

ROWS["src/control/upkeep_change.cc"] = [
    Row("{}: not true or false",
        "watch_size",
        "not true or false",
        NoRemedy("told to a program that asks it, which ringloop does not"),
        Run("", before="served", shell="ask '{\"verb\": \"set\", \"watch_size\": 1}'")),
]
