#include "control/seccomp.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "abi/seccomp.h"

// A sanitizer's runtime makes calls of its own: it forks and traces the process to look for leaks.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RINGLOOP_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RINGLOOP_SANITIZED 1
#endif
#endif
#ifndef RINGLOOP_SANITIZED
#define RINGLOOP_SANITIZED 0
#endif

namespace ringloop::control {
namespace {

#if defined(__x86_64__)
constexpr u32 architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr u32 architecture = AUDIT_ARCH_AARCH64;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr u32 architecture = AUDIT_ARCH_RISCV64;
#else
constexpr u32 architecture = 0;  // nobody has looked which numbers it has
#endif

constexpr u32 refused = SECCOMP_RET_ERRNO | EPERM;
// So that the C library makes threads by clone, whose flags a filter can see.
constexpr u32 unknown = SECCOMP_RET_ERRNO | ENOSYS;
constexpr u32 set_vma_name = 0x53564d41;  // PR_SET_VMA, include/uapi/linux/prctl.h
constexpr u32 x32_bit = 0x40000000;       // another table of numbers on the same architecture

// On these, only what the sections say. No open_tree, io_uring_setup, execve, connect, ptrace,
// mount, kill, fork: what is not here is refused.
constexpr auto always = std::to_array<long>({
    // the data path
    SYS_io_uring_enter,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_preadv,
    SYS_pwritev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_lseek,
    SYS_futex,
    SYS_clock_gettime,
    // rings that exist: buffers, files and workers of them
    SYS_io_uring_register,
    // files and folders; which ones, landlock says
    SYS_close,
    SYS_close_range,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_statfs,
    SYS_fstatfs,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_getdents64,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_fcntl,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_memfd_create,  // what the next server is told of clients (hand_over.h)
    SYS_umask,
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_getcwd,
    // block devices: their size, their caches
    SYS_ioctl,
    // clients that have connected, the control socket
    SYS_accept4,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_sendto,
    SYS_recvfrom,
    SYS_shutdown,
    SYS_getsockname,
    SYS_getpeername,
    SYS_getsockopt,
    SYS_setsockopt,
    // waiting
    SYS_ppoll,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_create1,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_signalfd4,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_restart_syscall,
    SYS_wait4,
    SYS_waitid,
    // memory
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_membarrier,
    // threads and their ends
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_exit,
    SYS_exit_group,
    // who and what this process is
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    SYS_getrandom,
    SYS_capget,
    SYS_getcpu,
#if defined(__x86_64__)
    // the older names of some of the above, which its C library still calls
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_readlink,
    SYS_unlink,
    SYS_rename,
    SYS_poll,
    SYS_epoll_wait,
    SYS_dup2,
    SYS_time,
    SYS_getrlimit,
#endif
});

// The program that the kernel runs on each system call.
class Filter {
public:
    Filter() {
        load(offsetof(seccomp_data, arch));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 1, 0));
        answer(refused);
        load(offsetof(seccomp_data, nr));
#if defined(__x86_64__)
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, x32_bit, 0, 1));
        answer(refused);
#endif
    }

    void allow(long call) { reply(call, SECCOMP_RET_ALLOW); }
    void reply(long call, u32 action) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<u32>(call), 0, 1));
        answer(action);
    }
    // Where argument `index` is one of `values`.
    void allow_if_one_of(long call, u32 index, const std::vector<u32>& values) {
        std::vector<sock_filter> tests;
        for (std::size_t i = 0; i < values.size(); ++i) {
            const auto over = static_cast<u8>(values.size() - i);
            tests.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, values[i], over, 0));
        }
        condition(call, index, tests);
    }
    // Where argument `index` has `bit`.
    void allow_if_set(long call, u32 index, u32 bit) {
        condition(call, index, {BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bit, 1, 0)});
    }
    // Where it has not.
    void allow_if_clear(long call, u32 index, u32 bit) {
        condition(call, index, {BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bit, 0, 1)});
    }

    // The last one: of all other calls.
    Status install() {
        answer(refused);
        const sock_fprog program{.len = static_cast<u16>(code_.size()), .filter = code_.data()};
        const long installed =
            ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
        if (installed == 0) return {};
        if (installed > 0) return fail(EBUSY, "thread {} has a filter of its own", installed);
        return fail_errno(errno, "seccomp");
    }

private:
    void load(u32 offset) { code_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
    void answer(u32 action) { code_.push_back(BPF_STMT(BPF_RET | BPF_K, action)); }

    // `tests` jump over the refusal that follows them, or fall into it. The lower half of an
    // argument: what is looked at here are the kernel's ints and flags below 2^32.
    void condition(long call, u32 index, const std::vector<sock_filter>& tests) {
        const auto length = static_cast<u8>(tests.size() + 3);
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<u32>(call), 0, length));
        constexpr u32 argument_bytes = sizeof(u64);
        load(u32{offsetof(seccomp_data, args)} + index * argument_bytes);
        code_.insert(code_.end(), tests.begin(), tests.end());
        answer(refused);
        answer(SECCOMP_RET_ALLOW);
    }

    std::vector<sock_filter> code_;
};

}  // namespace

Status system_call_filter_available() {
    if (architecture == 0) return fail(ENOTSUP, "not written for this architecture");
    if (RINGLOOP_SANITIZED != 0) return fail(ENOTSUP, "this program was built with a sanitizer");
    const u32 action = SECCOMP_RET_ERRNO;
    if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0) return {};
    return fail(ENOTSUP, "this kernel was built without seccomp filters (CONFIG_SECCOMP_FILTER)");
}

Status filter_system_calls(SystemCallsNeeded needed) {
    TRY(system_call_filter_available());
    Filter filter;
    for (const long call : always) filter.allow(call);
    // O_PATH asks landlock for nothing, and with such a descriptor the opener could be asked.
    filter.allow_if_clear(SYS_openat, 2, O_PATH);
#if defined(__x86_64__)
    filter.allow_if_clear(SYS_open, 1, O_PATH);
#endif
    // Threads, not processes: the search for data and holes, a question to the nbd driver.
    filter.allow_if_set(SYS_clone, 0, CLONE_THREAD);
    filter.reply(SYS_clone3, unknown);
    if (needed.disk) {
        // Who opens it, from when --autoclear is set.
        filter.allow(SYS_inotify_add_watch);
        filter.allow(SYS_inotify_rm_watch);
    }
    // No new code.
    filter.allow_if_clear(SYS_mmap, 2, PROT_EXEC);
    filter.allow_if_clear(SYS_mprotect, 2, PROT_EXEC);
    // Names of threads and of memory.
    filter.allow_if_one_of(SYS_prctl, 0, {PR_SET_NAME, set_vma_name});
    // The end of an assertion that failed: to itself.
    filter.allow_if_one_of(SYS_tgkill, 0, {static_cast<u32>(::getpid())});
    // Limits are read, not set: the new one is a pointer, and this is its lower half.
    filter.allow_if_one_of(SYS_prlimit64, 2, {0});
    if (needed.netlink) {
        filter.allow_if_one_of(SYS_socket, 0, {AF_NETLINK});
        filter.allow(SYS_bind);
        filter.allow(SYS_socketpair);  // a connection that the driver gave up is made anew
    }
    if (needed.cgroups) {
        filter.allow(SYS_open_by_handle_at);
        filter.allow(SYS_name_to_handle_at);
        filter.allow(SYS_pidfd_send_signal);  // a lane that answers no more
    }
    return filter.install();
}

}  // namespace ringloop::control
