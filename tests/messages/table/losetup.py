from row import OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

ROWS["src/cli/losetup.cc"] = [
    Row("{}: failed to use device: {}",
        "/dev/null", "No such device", NoRemedy("losetup's own words"),
        Run("losetup -l /dev/null", begin="losetup: ")),
    Row("{}: failed to set up loop device: {}",
        "missing", "No such file", NoRemedy("losetup's own words"),
        Run("losetup -f missing", begin="losetup: ")),
    Row("the server said something else than its device",
        "the server", "said something else", NoRemedy("the server is of the same program"),
        Cannot("the server is of the same program")),
    Row("{}: overlapping loop device exists",
        "{}", "overlapping loop device exists", NoRemedy("losetup's own words"),
        Cannot("losetup-speaks-as-util-linux-does.sh of the guest compares it with what "
               "losetup says")),
    Row("{}: {}",
        how=Part("carries why an image cannot be opened")),
    Row("cannot find an unused loop device: ",
        "an unused loop device", "cannot find", NoRemedy("the second half has it"),
        Cannot("of hosts without block devices; where one exists it is found")),
    Row("{}: detach failed: {}",
        "{}", "detach failed: {}", NoRemedy("losetup's own words"),
        Cannot("losetup-speaks-as-util-linux-does.sh of the guest looks at the words before it")),
    Row("{}: {} failed: {}",
        "{}", "{} failed: {}", NoRemedy("losetup's own words"),
        Cannot("it needs a device of losetup that refuses a change")),
    Row("{}: set logical block size failed: it has sectors of {} bytes for as long as it "
        "lives: detach it and attach the image with --sector-size",
        "{}",
        "set logical block size failed: it has sectors of {} bytes for as long as it lives",
        NoRemedy("losetup's own words"),
        Test("unit UblkErrors.NameTheDeviceTheCauseAndTheWayOut")),
    Row("{}: remove failed: {}",
        "{}", "remove failed: {}", NoRemedy("losetup's own words"),
        Cannot("losetup-speaks-as-util-linux-does.sh of the guest compares it with what "
               "losetup says")),
]

ROWS["src/cli/losetup_arguments.cc"] = [
    Row("mutually exclusive arguments: --detach-all --all --set-capacity --detach --find "
        "--associated",
        "--detach-all --all", "mutually exclusive", NoRemedy("losetup's own words"),
        Run("losetup -a -d /dev/loop0", begin="losetup: ")),
    Row("the options --{sizelimit,partscan,read-only,show} are allowed during loop device "
        "setup only",
        "read-only", "during loop device setup only", NoRemedy("losetup's own words"),
        Run("losetup -r /dev/loop0", begin="losetup: ")),
    Row("the option --offset is not allowed in this context",
        "--offset", "not allowed in this context", NoRemedy("losetup's own words"),
        Run("losetup -o 1 /dev/loop0", begin="losetup: ")),
    Row("failed to parse {}: '{}': Invalid argument",
        "offset: 'foo'", "Invalid argument", NoRemedy("losetup's own words"),
        Run("losetup -o foo -f image", begin="losetup: ")),
    Row("unknown column: {}",
        "NOPE", "unknown column", NoRemedy("losetup's own words"),
        Run("losetup -O NOPE -l", begin="losetup: ")),
    Row("argument error: '{}'",
        "'maybe'", "argument error", NoRemedy("losetup's own words"),
        Run("losetup --direct-io=maybe /dev/loop0", begin="losetup: ")),
    Row("Try 'losetup --help' for more information.\n",
        "foo", "unrecognized option", "Try 'losetup --help'",
        Run("losetup --foo", lines=2, begin="losetup: ")),
    Row("unexpected arguments",
        "losetup", "unexpected arguments", NoRemedy("losetup's own words"),
        Run("losetup -f a b", begin="losetup: ")),
    Row("no loop device specified",
        "loop device", "no loop device specified", NoRemedy("losetup's own words"),
        Run("losetup -v", begin="losetup: ")),
]

ROWS["src/cli/losetup_table.cc"] = [
    Row("use ringloop list, or losetup -a",
        how=Part('the way out of "{}; install the Debian package {}, or {}"')),
    Row("no memory for the list; free some",
        "no memory for", "no memory for the list", "free some",
        OUT),
    Row("the list could not be printed; see where standard output goes",
        "the list", "could not be printed", "standard output",
        Cannot("libsmartcols does not tell of errors of its stream")),
]
