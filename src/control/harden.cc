#include "control/harden.h"

#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ctime>
#include <span>

#include "abi/capability.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "control/capabilities.h"
#include "control/files.h"
#include "control/mounts.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57  // Linux 5.6, include/uapi/linux/prctl.h
#endif

namespace ringloop::control {
namespace {

Protection off(i32 number, const char* what) {
    return {false, fmt::format("{}: {}", what, errno_text(number))};
}

Protection set_io_flusher() {
    if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) return off(errno, "PR_SET_IO_FLUSHER");
    return {true, ""};
}

// Parsing options and linking libraries touched code that is never needed again; what is in memory
// when it is locked stays there. Nobody writes to a segment without PF_W (the loader's relocations
// are in writable ones), so its pages come back from the page cache when they are needed.
int release_segments(dl_phdr_info* object, std::size_t, void*) {
    const auto page = static_cast<u64>(::sysconf(_SC_PAGESIZE));
    for (const auto& segment : std::span(object->dlpi_phdr, object->dlpi_phnum)) {
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
        const u64 begin = align_down(object->dlpi_addr + segment.p_vaddr, page);
        const u64 end = align_up(object->dlpi_addr + segment.p_vaddr + segment.p_memsz, page);
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return 0;
}

Protection lock_memory() {
    ::dl_iterate_phdr(release_segments, nullptr);
    // Under a finite limit MCL_FUTURE would make a later mapping fail instead of this call.
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && !has_capability(CAP_IPC_LOCK)) {
        return {false, "RLIMIT_MEMLOCK is finite (ulimit -l) and CAP_IPC_LOCK is missing"};
    }
    // ONFAULT: buffers are large and touched as the load needs them.
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) return off(errno, "mlockall");
    return {true, ""};
}

Protection refuse_oom_kill() {
    const UniqueFd fd(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), "-1000", 5) != 5) return off(errno, "oom_score_adj");
    return {true, ""};
}

Protection leave_mounts() {
    if (::unshare(CLONE_NEWNS) != 0) return off(errno, "unshare(CLONE_NEWNS)");
    // Before anything is detached: on a shared table the detach would reach everyone.
    if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) {
        return off(errno, "mount(MS_PRIVATE)");
    }
    const auto table = read_text("/proc/self/mountinfo");
    if (!table) return {false, table.error().message};
    for (const std::string& path : mounts_to_detach(parse_mountinfo(*table))) {
        // EINVAL: it went with the mount that it stood on.
        ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    return {true, ""};
}

}  // namespace

bool may_administer() { return has_capability(CAP_SYS_ADMIN); }

Hardening harden_process() {
    ::tzset();  // reads the time zone's file while its path still means something
    // Never fails for "/", and a working directory would pin its filesystem.
    [[maybe_unused]] const int moved = ::chdir("/");
    Hardening hardening;
    hardening.io_flusher = set_io_flusher();
    hardening.memory_locked = lock_memory();
    hardening.oom_protected = refuse_oom_kill();
    hardening.private_mounts = leave_mounts();
    return hardening;
}

}  // namespace ringloop::control
