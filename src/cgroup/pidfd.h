// Processes by descriptor. glibc 2.36 declares these calls without C linkage, so that C++ cannot
// call them.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace ringloop::cgroup {

// -1 and errno, or a descriptor, close-on-exec.
inline int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// SIGKILL; harmless when the process has ended.
inline void pidfd_kill(int pidfd) { ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0); }

inline bool pidfd_ends_within(int pidfd, int timeout_ms) {
    pollfd process = {pidfd, POLLIN, 0};
    return ::poll(&process, 1, timeout_ms) > 0;
}

}  // namespace ringloop::cgroup
