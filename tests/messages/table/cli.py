from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

ROWS["src/cli/arguments.cc"] = [
    Row("--ublk and --transport {}: choose one",
        "--transport nbd", "--ublk and", "choose one",
        Run("attach --ublk --transport nbd image")),
    Row("--nbd: {}",
        "--nbd", "unknown kind", "write unix:PATH",
        Run("attach --nbd udp:1 image")),
    Row("--sector-size 0: use 512, 1024, 2048 or 4096",
        "--sector-size 0", "use 512, 1024", "use 512, 1024",
        Run("attach --sector-size 0 image")),
    Row("--partscan {}: use on or off",
        "--partscan", "maybe", "use on or off",
        Run("attach --partscan maybe image")),
    Row("{}: {}; see ringloop {} --help",
        "detach", "name the devices", "see ringloop detach --help",
        Run("detach", code=2)),
    Row("--config NAME: the file says everything else",
        "--config", "the file says everything else", "see ringloop serve --help",
        Run("serve --config disk --queues 2", code=2)),
    Row("no image given",
        "serve", "no image given", "see ringloop serve --help",
        Run("serve", code=2)),
    Row("--stdio is one connection: no --transport, --ublk, --nbd, --name, --charge or "
        "--metrics",
        "--stdio", "is one connection", "no --transport",
        Run("serve --stdio --charge issuer image", code=2)),
    Row("--take-over is of --recover, --force of --take-over",
        "--take-over", "is of --recover", "see ringloop serve --help",
        Run("serve --take-over image", code=2)),
    Row("name the devices, or give --all",
        "recover", "name the devices", "or give --all",
        Run("recover", code=2)),
    Row("{}",
        "disk.conf:2",
        "--queues = many",
        NoRemedy("the words of the parser: what could not be read of which option"),
        Run("up disk --config-dir etc", before='conf disk "image = $PWD/image" "queues = many"')),
    Row("{}; see ringloop --help",
        "--no-such", "not expected", "see ringloop --help",
        Run("attach --no-such image", code=2)),
    Row("--preallocate is for what is written, not for --read-only",
        "--preallocate", "is for what is written", "not for --read-only",
        Run("attach --preallocate --read-only image", code=2)),
]

ROWS["src/cli/arguments_look.cc"] = [
    Row("--interval {}: use {} to {} seconds",
        "--interval 0", "0.1 to 3600", "use 0.1 to 3600 seconds",
        Run("stats --interval 0 disk", code=2)),
    Row("name a device, or give --all",
        "metrics", "name a device", "or give --all",
        Run("metrics", code=2)),
]

ROWS["src/cli/attach.cc"] = [
    Row("{}: {}",
        "image", "beyond its end", "use a smaller --offset",
        Run("attach --transport socket --preallocate --offset 2M image")),
]

ROWS["src/cli/background.cc"] = [
    Row("the server said something else than its device: {}; see ringloop list",
        "the server said",
        "the server said something else than its device: {}",
        "see ringloop list",
        Cannot("the server is of the same program")),
]

ROWS["src/cli/config.cc"] = [
    Row("{}: {} '{}': relative to nothing here; write a path that begins with /",
        "disk.conf", "relative to nothing here", "write a path that begins with /",
        Run("up disk", before='conf disk "image = image"')),
    Row("{}: no image; write a line image = PATH",
        "disk.conf", "no image", "write a line image = PATH",
        Run("up disk", before='conf disk "offset = 1M"')),
    Row("{}: {}",
        "disk.conf:1", "use 1 to", "use 1 to",
        Run("up disk", before='conf disk "queues = 0" "image = $PWD/image"')),
]

ROWS["src/cli/device_status.cc"] = [
    Row("{}: {}",
        "s.sock", "cannot reach the server", "ringloop list",
        Run("status disk", before="served", denied="connect:ECONNREFUSED")),
    Row("{}: its server answers something else than a status; see ringloop upgrade",
        "s.sock", "something else than a status", "see ringloop upgrade",
        Run("status disk", before="strange 'no object'")),
]

ROWS["src/cli/down.cc"] = [
    Row("{}; remove this file",
        "disk.json", "not a state file", "remove this file",
        Run("down disk", before="rubbish disk")),
    Row("'{}': neither attached, nor is there {}; see ringloop list",
        "'disk'", "neither attached", "see ringloop list",
        Run("down disk")),
]

ROWS["src/cli/live_change.cc"] = [
    Row("{}: its server died: ringloop recover {}",
        "s.sock", "its server died", "ringloop recover disk",
        Run("resize disk", before="dead")),
    Row("{}: {}",
        "s.sock", "Cannot allocate memory", "free memory",
        Run("resize disk", before="served", denied="poll,ppoll:ENOMEM")),
    Row("{}: its server answers no object; see ringloop upgrade",
        "s.sock", "answers no object", "see ringloop upgrade",
        Run("resize disk", before="strange 'no object'")),
    Row("{}",
        "s.sock", "no lanes", "attach it with --charge",
        Run("set disk --lane-idle 5", before="served")),
    Row("{}: its server is older than this question; detach it and attach the image again",
        "s.sock", "older than this question", "attach the image again",
        Run("metrics disk", before="strange '{\"error\": \"not understood\"}'")),
]

ROWS["src/cli/log.cc"] = [
    Row("{}: keeps no log: its server runs in the foreground and writes it to its own standard "
        "error",
        "{}", "keeps no log", "writes it to its own standard error",
        Test("blackbox the_log_tells_what_happened.sh")),
    Row("{}: cannot be watched: {}",
        "run", "Too many open files", "raise ulimit -n",
        Run("log --follow", before="served", denied="inotify_init1:EMFILE")),
    Row("cannot wait for the log: {}",
        "the log", "Cannot allocate memory", "free memory",
        Run("log --follow", before="served", denied="poll,ppoll:ENOMEM")),
]

ROWS["src/cli/metrics.cc"] = [
    Row("{}: its server answers something else than metrics; see ringloop upgrade",
        "s.sock", "something else than metrics", "see ringloop upgrade",
        Run("metrics disk", before="strange '{}'")),
]

ROWS["src/cli/recover.cc"] = [
    Row("{}: its server (pid {}) lives; nothing to recover",
        "s.sock", "lives", "nothing to recover",
        Run("recover disk", before="served")),
]

ROWS["src/cli/resize.cc"] = [
    Row(": its server answers something else than a size; see ringloop upgrade",
        "s.sock", "something else than a size", "see ringloop upgrade",
        Run("resize disk", before="strange '{}'")),
]

ROWS["src/cli/serve.cc"] = [
    Row("'{}' runs already: {} is served by {} (pid {}); stop that first",
        "'{}'", "runs already", "stop that first",
        Cannot("it needs a service manager whose unit serves it")),
]

ROWS["src/cli/set.cc"] = [
    Row("{}: cannot be looked up, and the device keeps the image it has",
        "loop", "Too many levels", "see where its symbolic links lead",
        Run("set disk --backing-file loop --force", before="served; ln -s loop loop")),
    Row("{}: has no absolute path",
        "{}", ERRNO, ERRNO,
        Cannot("realpath of a descriptor fails only without /proc")),
    Row(": its server answers something else than a policy; see ringloop upgrade",
        "s.sock", "something else than a policy", "see ringloop upgrade",
        Run("set disk --policy auto", before="strange '{}'")),
    Row(": its server is older than lanes; detach it and attach the image again",
        "s.sock", "older than lanes", "attach the image again",
        Run("set disk --lane-idle 5",
            before="strange '{\"policy\": \"auto\", \"previous_policy\": \"auto\", "
                   "\"workers\": 16, \"previous_workers\": 16, \"pause_us\": 1}'")),
    Row(": its server is older than this change; detach it and attach the image again",
        "s.sock", "older than this change", "attach the image again",
        Run("set disk --read-only on",
            before="strange '{\"policy\": \"auto\", \"previous_policy\": \"auto\", "
                   "\"workers\": 16, \"previous_workers\": 16, \"pause_us\": 1}'")),
]

ROWS["src/cli/set_options.cc"] = [
    Row("{} {}: use on or off",
        "--read-only maybe", "maybe", "use on or off",
        Run("set disk --read-only maybe")),
]

ROWS["src/cli/stats.cc"] = [
    Row("{}: {}",
        "s.sock", "these are no counters", "see ringloop upgrade",
        Run("stats disk", before="strange '{}'")),
]

ROWS["src/cli/system_helpers.cc"] = [
    Row("{}",
        "image/a", "Not a directory", "check the path",
        Run("systemd-generator image/a image/b image/c", before='conf disk "image = $PWD/image"')),
]

ROWS["src/cli/terminal.cc"] = [
    Row("the terminal",
        "the terminal", ERRNO, ERRNO,
        Cannot("reading a terminal fails only when it is gone")),
    Row("cannot block signals",
        "signals", ERRNO, ERRNO,
        Cannot("the mask of signals can always be changed")),
    Row("cannot wait for signals",
        "signals", ERRNO, ERRNO,
        OUT),
]

ROWS["src/cli/top.cc"] = [
    Row("no answer",
        how=Part("a cell of the table of top")),
    Row("cannot wait for the terminal",
        "the terminal", ERRNO, ERRNO,
        OUT),
]

ROWS["src/cli/up.cc"] = [
    Row("'{}' is attached already, as {}",
        "'disk'", "attached already", NoRemedy("nothing is wrong: it says as what"),
        Run("up disk",
            before='conf disk "image = $PWD/image" "transport = socket"; "$RINGLOOP" up disk '
                   ">first",
            code=0)),
    Row("'{}' is attached already, as {}, and left to {}",
        "'{}'", "is attached already", NoRemedy("nothing is wrong: it says as what, and by whom"),
        Cannot("it needs a service manager whose unit serves it")),
]

ROWS["src/cli/upgrade.cc"] = [
    Row("{}: its server died: ringloop recover {}",
        "s.sock", "its server died", "ringloop recover disk",
        Run("upgrade disk", before="dead")),
]

ROWS["src/cli/verify.cc"] = [
    Row("{}: {}",
        "{}", "{}", NoRemedy("the second half has it"),
        Cannot("of a device whose image was cut short before its beginning")),
    Row("{}: {} bytes cannot be read; copy what is left with ddrescue and attach the copy",
        "{}", "{} bytes cannot be read", "copy what is left with ddrescue",
        Test("guest verify-finds-what-a-disk-cannot-read.sh")),
    Row("{}: {} bytes are not those of {}; one of them has changed since",
        "/image", "are not those of", "one of them has changed since",
        Run("verify image --against other", before="head -c 1M /dev/zero >image; "
            "truncate -s 1M other; echo x | dd of=other conv=notrunc")),
    Row("{} has {} bytes and {} has {}; give two of one size",
        "/image", "bytes and", "give two of one size",
        Run("verify image --against other", before="truncate -s 2M other")),
]
