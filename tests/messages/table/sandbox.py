"""What the parts of the sandbox say."""

from row import ERRNO, OUT, Cannot, NoRemedy, Part, Row, Run, Test

ROWS = {}

OF_STATUS = Part("the reason that status and --sandbox=require give for a part that is missing")
KEPT = Part("status: why a capability is kept")
OTHER_HOST = Cannot("it needs another kernel, or another build of the program")

ROWS["src/control/capabilities.cc"] = [
    Row("capset", "capset", ERRNO, ERRNO, OF_STATUS),
]

ROWS["src/control/landlock.cc"] = [
    Row("landlock is not enabled; add it to lsm= on the kernel's command line",
        "landlock", "is not enabled", "add it to lsm= on the kernel's command line", OTHER_HOST),
    Row("this kernel was built without landlock (CONFIG_SECURITY_LANDLOCK)",
        "this kernel", "was built without landlock",
        NoRemedy("doctor says to boot another kernel"), OTHER_HOST),
    Row("landlock", "landlock", ERRNO, ERRNO, OF_STATUS),
    Row("landlock_add_rule", "landlock_add_rule", ERRNO, ERRNO, OF_STATUS),
    Row("landlock_restrict_self", "landlock_restrict_self", ERRNO, ERRNO, OF_STATUS),
]

ROWS["src/control/opener.cc"] = [
    Row("no sockets for the process that opens images again",
        "the process that opens images again", "Too many open files", "raise ulimit -n",
        Run("serve --transport socket image", denied="socketpair:EMFILE")),
    Row("cannot start the process that opens images again",
        "the process that opens images again", ERRNO, ERRNO, OUT),
    Row("cannot watch the process that opens images again",
        "the process that opens images again", "Too many open files", "raise ulimit -n",
        Run("serve --transport socket image", denied="pidfd_open:EMFILE")),
    Row("the process that opens images again has died; ringloop upgrade starts another",
        "the process that opens images again", "has died", "ringloop upgrade starts another",
        Test("blackbox a_server_outlives_its_opener.sh")),
]

ROWS["src/control/sandbox.cc"] = [
    Row("the driver of the device takes orders from nobody else: resize, stop, remove", how=KEPT),
    Row("a cgroup is found by its number (open_by_handle_at)", how=KEPT),
    Row("a socket is in a folder of another user, and is removed with the device", how=KEPT),
    Row("memory is locked and RLIMIT_MEMLOCK could not be lifted", how=KEPT),
    Row("no_new_privs", "no_new_privs", ERRNO, ERRNO, OF_STATUS),
    Row("this kernel does not restrict rings", how=OF_STATUS),
    Row("--sandbox=require: {}: {}; --sandbox=on does without what cannot be had",
        "--sandbox=require: {}", "{}", "--sandbox=on does without what cannot be had",
        OTHER_HOST),
]

ROWS["src/control/seccomp.cc"] = [
    Row("thread {} has a filter of its own", how=OF_STATUS),
    Row("seccomp", "seccomp", ERRNO, ERRNO, OF_STATUS),
    Row("not written for this architecture", how=OF_STATUS),
    Row("this program was built with a sanitizer", how=OF_STATUS),
    Row("this kernel was built without seccomp filters (CONFIG_SECCOMP_FILTER)",
        "this kernel", "was built without seccomp filters",
        NoRemedy("doctor says to boot another kernel"), OTHER_HOST),
]
