#include "control/attention.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>

namespace ringloop::control {

Result<Attention> Attention::create() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return fail_errno(errno, "no eventfd for the server");
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

Result<UniqueFd> watch_any(std::span<const int> fds) {
    UniqueFd any(::epoll_create1(EPOLL_CLOEXEC));
    if (!any) return fail_errno(errno, "no epoll for the server");
    for (const int fd : fds) {
        epoll_event event{.events = EPOLLIN, .data = {}};
        if (::epoll_ctl(any.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
            return fail_errno(errno, "the server cannot watch its descriptors");
        }
    }
    return any;
}

}  // namespace ringloop::control
