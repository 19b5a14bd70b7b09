#include "control/attention.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>

namespace ringloop::control {

Result<Attention> Attention::create() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return fail_errno(errno, "eventfd");
    return Attention(std::move(fd));
}

void Attention::raise() const {
    // EAGAIN: raised 2^64-2 times and never looked at.
    [[maybe_unused]] const int written = ::eventfd_write(fd_.get(), 1);
}

void Attention::clear() const {
    eventfd_t count = 0;
    [[maybe_unused]] const int read = ::eventfd_read(fd_.get(), &count);
}

Result<UniqueFd> watch_either(int first, int second) {
    UniqueFd both(::epoll_create1(EPOLL_CLOEXEC));
    if (!both) return fail_errno(errno, "epoll_create1");
    for (const int fd : {first, second}) {
        TRY(watch_too(both.get(), fd));
    }
    return both;
}

Status watch_too(int watched, int fd) {
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(watched, EPOLL_CTL_ADD, fd, &event) == 0) return {};
    return fail_errno(errno, "epoll_ctl");
}

}  // namespace ringloop::control
