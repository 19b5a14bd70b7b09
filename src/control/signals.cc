#include "control/signals.h"

#include <sys/signalfd.h>

#include <csignal>

namespace ringloop::control {

Result<Signals> Signals::block() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM}) sigaddset(&set, number);
    struct sigaction hangup{};
    // Ignored before we began: nohup(1).
    const bool kept = ::sigaction(SIGHUP, nullptr, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    if (!kept) sigaddset(&set, SIGHUP);
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
        return fail_errno(errno, "cannot block signals");
    // A reader that went away is an error of one write, not the end of a device.
    ::signal(SIGPIPE, SIG_IGN);
    UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) return fail_errno(errno, "cannot wait for signals");
    return Signals(std::move(fd));
}

int Signals::arrived() {
    signalfd_siginfo info{};
    if (arrived_ == 0 && ::read(fd_.get(), &info, sizeof info) == sizeof info) {
        arrived_ = static_cast<int>(info.ssi_signo);
    }
    return arrived_;
}

}  // namespace ringloop::control
