#include "control/watching.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

namespace ringloop::control {

UniqueFd process_of(const RuntimeDir& directory, const DeviceState& state) {
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, state.pid, 0)));
    if (!process) return {};
    // Asked for afterwards: while the server lives, its pid belongs to nobody else.
    const auto now = directory.read_state(state.name);
    if (!now || now->pid != state.pid || !directory.is_locked(state.name)) return {};
    return process;
}

Result<Woken> wait_beside(const Signals& signals, const UniqueFd& process,
                          const Deadline& deadline) {
    for (;;) {
        std::array<pollfd, 2> fds = {{{signals.fd(), POLLIN, 0}, {process.get(), POLLIN, 0}}};
        const int ready = ::poll(fds.data(), fds.size(), deadline.poll_timeout_ms());
        if (ready < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for the device");
        if (ready < 0) continue;
        if (fds[0].revents != 0) return Woken::signal;
        if (fds[1].revents != 0) return Woken::ended;
        if (ready == 0) return Woken::timeout;
    }
}

Error end_of(const RuntimeDir& directory, const DeviceState& state) {
    const auto left = directory.read_state(state.name);
    if (!left && left.error().number == ENOENT) {
        return {ENODEV, fmt::format("{} was detached meanwhile", state.device)};
    }
    return {ESRCH, fmt::format("{}: its server died meanwhile: ringloop recover {}", state.device,
                               state.name)};
}

}  // namespace ringloop::control
