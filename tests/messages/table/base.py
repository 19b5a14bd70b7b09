from row import ERRNO, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

ROWS["src/base/assert.cc"] = [
    Row("ringloop: broken invariant at %s:%d: %s\n",
        "%s:%d",
        "broken invariant",
        NoRemedy("a bug of ringloop itself: the line is for its report"),
        Cannot("a program that can be brought to it has a bug")),
]

ROWS["src/base/library.cc"] = [
    Row("{}; install the Debian package {}, or {}",
        "{}", "{}", "install the Debian package {}, or {}",
        Test("unit Library.that_is_missing_is_named_with_its_package_and_the_way_out")),
]

ROWS["src/base/log.cc"] = [
    Row("cannot write the log: {}; see that its folder can be written to",
        "disk.log", "cannot write the log", "see that its folder can be written to",
        Run("attach --transport socket --name disk image",
            before='mkdir -p "$RINGLOOP_RUNTIME_DIR/disk.log"')),
]

ROWS["src/base/result.cc"] = [
    Row("run as a user who may, or as root",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("try again, or raise ulimit -u",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("make space, or raise the quota",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("move that directory away",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("see where its symbolic links lead",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("use a shorter name",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("raise the sysctl fs.file-max",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("use a file system that has locks",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("free memory, or raise the limit of the cgroup",
        how=Part("the way out of an errno, behind what fail_errno says")),
    Row("choose a place that can be written to",
        how=Part("the way out of an errno, behind what fail_errno says")),
]

ROWS["src/base/shared_memory.cc"] = [
    Row("cannot create {} bytes of shared memory",
        "shared memory", "Cannot allocate memory", "free memory",
        Run("serve --nbd unix:s.sock --transport socket --charge issuer image",
            denied="memfd_create:ENOMEM", root=True)),
    Row("cannot map {} bytes",
        "{} bytes", ERRNO, ERRNO,
        Cannot("mmap fails only when memory or address space runs out")),
]

ROWS["src/base/size.cc"] = [
    Row("{} '{}': not a size; write bytes or a number with K, M, G or KB, MB",
        "--offset", "not a size", "write bytes or a number with K, M, G",
        Run("attach --offset many image")),
    Row("{} '{}': larger than any device; give a smaller one",
        "--offset", "larger than any device", "give a smaller one",
        Run("attach --offset 99999999999999999999G image")),
]
